"""Publishing: a partition is replaced whole, in the transaction of the head; people see what needs them."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.data import objects, parts
from baton.errors import BatonError, DatasetCorrupt
from baton.feedback import cases
from baton.record import ledger, tables
from baton.stages import slots
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import StageResult

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
commit, rows, job, FLOW, HOURS = (STAGE[name] for name in ("commit", "rows", "job", "FLOW", "HOURS"))


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        yield folder


def scores(model: str, version: int, values: dict[str, float]) -> pd.DataFrame:
    reasons = [json.dumps([["amount", 1.5]]) if value > 0.5 else None for value in values.values()]
    columns = {"entity_key": list(values), "model": model, "version": version, "score": list(values.values())}
    return pd.DataFrame({**columns, "reasons": pd.Series(reasons, dtype=object), "_row": range(1, len(values) + 1)})


def decisions(routes: dict[str, str]) -> pd.DataFrame:
    columns = {"entity_key": list(routes), "risk": 0.25, "route": list(routes.values()), "money": 12.5}
    return pd.DataFrame({**columns, "reasons": pd.Series([None] * len(routes), dtype=object)})


def publication(hour: int, routes: dict[str, str], version: int = 1, **how: Any) -> StageJob:
    """Decisions with the scores of two models behind them: late_order says 0.9 and strange 0.1 of everybody."""
    risky, plain = (dict.fromkeys(routes, value) for value in (0.9, 0.1))
    inputs = {
        "late_order": commit("score__late_order", hour, scores("late_order", version, risky)),
        "strange": commit("score__strange", hour, scores("strange", 3, plain)),
        "decisions": commit("decide", hour, decisions(routes)),
    }
    return job(
        step="baton.steps.publish:publish", hour=hour, inputs=inputs, models={"late_order": version, "strange": 3},
        options={"case_routes": ["review", "block"], "resolutions": ANSWERS}, **how,
    )  # fmt: skip


ANSWERS = {"fraud": {"is_fraud": 1}, "legitimate": {"is_fraud": 0}}


def publish(*args: Any, **how: Any) -> StageResult:
    return run(publication(*args, **how))


def seen() -> list[list[tuple[Any, ...]]]:
    """All that other systems and people see."""
    return [rows(table) for table in ("decisions", "predictions", tables.cases)]


def in_force(*kinds: str) -> dict[str, str]:
    """Content hash by kind of what is published of the first hour, as its manifests' parts give it."""
    (refs,) = rows(tables.published, *kinds)
    found = {kind: ref["content_sha256"] for kind, ref in zip(kinds, refs, strict=True)}
    for kind, ref in zip(kinds, refs, strict=True):
        assert parts.of_manifest(ref["uri"], found[kind])
    return found


def test_decisions_and_the_scores_of_every_model_behind_them_are_published() -> None:
    result = publish(0, {"1": "clear", "2": "review"})
    assert result.facts == {
        "published": 2, "routes": {"clear": 1, "review": 1}, "money": {"clear": 12.5, "review": 12.5},
        "models": {"late_order": 1, "strange": 3},
    }  # fmt: skip
    found = rows("decisions", "entity_key", "route", "risk", "money", "models", "commit_id")
    assert found == [
        ("1", "clear", 0.25, 12.5, {"late_order": 1, "strange": 3}, result.commit_id),
        ("2", "review", 0.25, 12.5, {"late_order": 1, "strange": 3}, result.commit_id),
    ]
    found = rows("predictions", "entity_key", "model", "version", "score", "reasons", commit_id=result.commit_id)
    assert found == [
        ("1", "late_order", 1, 0.9, [["amount", 1.5]]),
        ("1", "strange", 3, 0.1, None),
        ("2", "late_order", 1, 0.9, [["amount", 1.5]]),
        ("2", "strange", 3, 0.1, None),
    ]
    (record,) = ledger.entries(subject=f"{FLOW}/{HOURS[0]}", kind="decisions_published")
    assert record.payload["commit"] == result.commit_id
    assert record.payload["routes"] == {"clear": 1, "review": 1}
    assert record.payload["datasets"] == in_force("decisions", "predictions")
    groups = record.payload["row_groups"]
    assert {kind: (one["size"], len(one["root"])) for kind, one in groups.items()} == {
        "decisions": (1, 64), "predictions": (1, 64)}  # fmt: skip


@pytest.mark.parametrize(("versions", "used"), [([0, 0, 1], 1), ([0, 2, 2], 0), ([1, 0, 0], 1)])
def test_the_version_of_a_partition_is_the_fixed_one_if_it_scored_any_row(versions: list[int], used: int) -> None:
    given = publication(0, {"1": "clear", "2": "clear", "3": "clear"})
    said = scores("late_order", 1, dict.fromkeys("123", 0.4)).assign(version=versions)
    given.inputs["late_order"] = commit("score__late_order", 0, said)  # type: ignore[index]
    assert run(given).facts["models"] == {"late_order": used, "strange": 3}
    assert sorted(rows("predictions", "version", model="late_order")) == [(version,) for version in sorted(versions)]


def test_what_a_model_accepts_is_published_with_how_strange_each_text_is() -> None:
    said = scores("late_order", 1, {"1": 0.9, "2": 0.6, "3": 0.4}).assign(
        category="parcel", accepted=[True, False, False], strangeness=[0.1, 0.7, None]
    )
    inputs = {
        "late_order": commit("score__late_order", 0, said),
        "strange": commit("score__strange", 0, scores("strange", 3, {"1": 0.1})),
    }
    run(
        job(
            step="baton.steps.publish:publish_predictions",
            hour=0,
            inputs=inputs,
            models={"late_order": 1, "strange": 3},
        )
    )
    assert rows("predictions", "entity_key", "model", "accepted", "strangeness") == [
        ("1", "late_order", 1, 0.1),
        ("1", "strange", None, None),
        ("2", "late_order", 0, 0.7),
        ("3", "late_order", 0, None),
    ]


def test_superseding_replaces_the_whole_partition_and_no_other() -> None:
    publish(0, {"1": "clear", "2": "clear", "3": "clear"})
    publish(1, {"4": "clear"})
    second = publish(0, {"2": "block"}, version=2)
    assert rows("decisions", "partition", "entity_key", "route") == [(HOURS[0], "2", "block"), (HOURS[1], "4", "clear")]
    assert rows("predictions", "entity_key", "version", model="late_order") == [("2", 2), ("4", 1)]
    assert rows("predictions", "commit_id", partition=HOURS[0]) == [(second.commit_id,)] * 2


def test_cases_are_opened_for_their_routes_only_and_keep_what_a_person_decided() -> None:
    publish(0, {"1": "clear", "2": "review", "3": "block", "4": "review"})
    assert rows(tables.cases, "entity_key", "route", "status") == [
        ("2", "review", "open"),
        ("3", "block", "open"),
        ("4", "review", "open"),
    ]
    cases.decide(FLOW, "3", "legitimate", "ada")
    publish(0, {"1": "review", "2": "clear", "3": "clear", "4": "block"}, version=2)
    assert rows(tables.cases, "entity_key", "route", "status", "resolution") == [
        ("1", "review", "open", None),
        ("2", "review", "withdrawn", None),
        ("3", "block", "closed", "legitimate"),
        ("4", "block", "open", None),
    ]


def test_a_partition_without_decisions_is_published_too() -> None:
    publish(0, {"1": "review"})
    assert publish(0, {}).facts["published"] == 0
    assert rows("decisions") == rows("predictions") == []
    assert cases.counts(FLOW) == {"withdrawn": 1}


def test_the_same_again_changes_nothing_and_a_dry_run_nothing_at_all() -> None:
    first = publish(0, {"1": "review"})
    before = seen()
    assert publish(0, {"1": "review"}).commit_id == first.commit_id
    publish(0, {"1": "clear", "2": "block"}, dry_run=True)
    assert seen() == before


def test_published_rows_that_are_damaged_are_built_anew() -> None:
    first = publish(0, {"1": "review"})
    before = seen()
    for item in list(objects.listed(lambda name: ".predictions.000" in name)):
        objects.delete(item.uri)
    with pytest.raises(DatasetCorrupt, match="missing"):
        seen()
    assert publish(0, {"1": "review"}).commit_id > first.commit_id
    assert [row[:6] for row in seen()[1]] == [row[:6] for row in before[1]]


def test_nothing_is_seen_of_a_publication_that_does_not_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(0, {"1": "review"})
    before = seen()

    second = publication(0, {"1": "clear", "2": "block"}, version=2)

    def lose_power(point: str) -> None:
        if point == "before_commit":
            raise RuntimeError("lost power")

    monkeypatch.setattr(slots, "FAULT", lose_power)
    with pytest.raises(RuntimeError, match="lost power"):
        run(second)
    assert seen() == before


def test_a_key_that_no_index_can_hold_is_named_and_not_published() -> None:
    for key, why in (("x" * 501, "has 501 characters"), ("a\x00", "U\\+0000")):
        with pytest.raises(BatonError, match=f"row 2 of what is published.*{why}"):
            publish(0, {"1": "review", key: "clear"})


def test_scores_alone_are_published_without_decisions_and_cases() -> None:
    def publish_scores(version: int, keys: str) -> StageResult:
        one = commit("score__late_order", 0, scores("late_order", version, dict.fromkeys(keys, 0.7)))
        other = commit("score__strange", 0, scores("strange", 3, dict.fromkeys(keys, 0.2)))
        return run(
            job(step="baton.steps.publish:publish_predictions", inputs={"late_order": one, "strange": other},
                models={"late_order": version, "strange": 3})
        )  # fmt: skip

    result = publish_scores(1, "abc")
    assert result.facts == {"published": 3, "models": {"late_order": 1, "strange": 3}}
    assert result.ref.rows == 6
    assert len(rows("predictions")) == 6
    publish_scores(2, "ab")
    found = rows("predictions", "entity_key", "model", "version")
    assert found == [("a", "late_order", 2), ("a", "strange", 3), ("b", "late_order", 2), ("b", "strange", 3)]
    assert rows("decisions") == rows(tables.cases) == []
    newest, before = ledger.entries(subject=f"{FLOW}/{HOURS[0]}", kind="predictions_published")
    assert newest.payload["datasets"] == in_force("predictions") != before.payload["datasets"]
