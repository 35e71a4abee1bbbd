"""The ladder of a batch that several tasks share, with a real registry and in Airflow: one record of all, and a death before it.

The tests build on each other, in the order of the file. Store and pack are those of `test_ladder.py`.
"""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG

from baton.airflow.operators.stage import StageOperator, whole_result
from baton.data import parts
from baton.data.datasets import DatasetRef, read
from baton.errors import ModelError
from baton.families import family
from baton.record import ledger
from baton.record import warehouse as records
from baton.registry import rungs
from baton.settings import settings
from baton.stages import groups, slots
from baton.stages.slots import Slot, StageResult, head, history
from baton.steps import ladder

pytestmark = pytest.mark.timeout(300)

LADDER: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("test_ladder.py")))
yaml, home, MODEL, HOURS, DAG_FILE = (LADDER[name] for name in ("yaml", "home", "MODEL", "HOURS", "DAG"))
in_airflow, orders, step, PUBLISHED = (LADDER[name] for name in ("in_airflow", "orders", "step", "PUBLISHED"))
FLOW, STAGE = "shop_laddered", f"score__{MODEL}"


@pytest.fixture(autouse=True)
def _three_groups(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of 50 orders each."""
    monkeypatch.setattr(parts, "ROWS", 50)
    monkeypatch.setattr(parts, "STEP", 10)
    monkeypatch.setenv("BATON_SCORING_SLOTS", "2")
    settings.cache_clear()
    yield
    settings.cache_clear()


def deliver(home: Path, hour: int) -> None:
    orders(hour).drop(columns="late").to_parquet(home / f"landing/shop/orders-{HOURS[hour].replace(':', '-')}.parquet")


def cannot_score(patch: pytest.MonkeyPatch, order: int) -> None:
    """No version scores rows with this order."""

    class Picky:
        def __init__(self, name: str) -> None:
            self.load, self.real = family(name).load, family(name)

        def score(self, spec: Any, model: Any, data: Any, explain: float) -> Any:
            if order in set(data["order_id"]):
                raise ModelError("it meets what it has never seen")
            return self.real.score(spec, model, data, explain)

    patch.setattr(ladder, "family", Picky)


def results(hour: int) -> tuple[StageResult, list[StageResult]]:
    """The whole, and its groups."""
    own = Slot(FLOW, STAGE, HOURS[hour])
    whole = head(own)
    assert whole is not None
    return whole, slots.heads_of_groups(own, 9)


def standing() -> list[tuple[Any, ...]]:
    with records.read() as conn:
        return [(one["model"], one["rung"], one["version"], one["partition"]) for one in rungs.in_force(conn)]


def told() -> list[tuple[str, str, str]]:
    found = [one for kind in (rungs.DEGRADED, rungs.RECOVERED) for one in ledger.entries(kind=kind)]
    return [(one.kind, one.payload["rung"], one.payload["partition"]) for one in sorted(found, key=lambda one: one.seq)]


def test_the_rows_that_the_champion_cannot_score_have_the_rules_and_all_others_the_champion(
    home: Path, yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LADDER["train"]().facts["version"] == 1
    LADDER["judge"](1)
    LADDER["ANSWER"](MODEL, 1, "ada")
    LADDER["move"](1)
    deliver(home, 0)
    cannot_score(monkeypatch, 100_060)
    tasks = in_airflow(tmp_path, FLOW, DAG_FILE, HOURS[0])
    assert [number for task_id, number in tasks if task_id == STAGE] == [0, 1, 2]
    whole, made = results(0)
    assert [one.facts["rung"] for one in made] == ["champion", "rules", "champion"]
    why = f"{MODEL} version 1 does not score: it meets what it has never seen"
    assert whole.facts == {
        "rung": "rules", "version": None, "degraded": [f"{why}; the rules shop_pack.rules:late score instead (rows 51 to 100)"],
        "versions": {"0": 50, "1": 100},
    }  # fmt: skip
    sources = read(whole.ref)["source"]
    assert [set(sources[start : start + 50]) for start in (0, 50, 100)] == [{"champion"}, {"rules"}, {"champion"}]
    versions = PUBLISHED["read_all"]("predictions", "version", flow=FLOW, partition=HOURS[0])
    assert sorted(versions) == [(0,)] * 50 + [(1,)] * 100
    assert standing() == [(MODEL, "rules", None, HOURS[0])]
    assert told() == [("model_degraded", "rules", HOURS[0])]


def test_repeated_with_a_champion_that_can_the_other_groups_are_found_again(home: Path, tmp_path: Path) -> None:
    _, before = results(0)
    in_airflow(tmp_path, FLOW, DAG_FILE, HOURS[0])
    whole, made = results(0)
    assert [one.commit_id == old.commit_id for one, old in zip(made, before, strict=True)] == [True, False, True]
    assert {name: whole.facts[name] for name in ("rung", "version")} == {"rung": "champion", "version": 1}
    assert "degraded" not in whole.facts
    assert set(PUBLISHED["read_all"]("predictions", "version", flow=FLOW, partition=HOURS[0])) == {(1,)}
    assert standing() == []
    assert told() == [("model_degraded", "rules", HOURS[0]), ("model_recovered", "rules", HOURS[0])]
    in_airflow(tmp_path, FLOW, DAG_FILE, HOURS[0])
    assert results(0)[0].commit_id == whole.commit_id


def test_what_no_task_named_before_it_died_is_named_by_who_reads_it_and_recorded_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(home, 1)
    raw = step(FLOW, "ingest", HOURS[1], "steps.ingest:ingest", source="orders", models={MODEL: 1})
    good = step(FLOW, "contract", HOURS[1], "steps.contract:contract", contract="orders", data=raw, models={MODEL: 1})
    cannot_score(monkeypatch, 101_010)
    returned = [execute(good.ref, number) for number in (0, 1)]

    def dies(point: str) -> None:
        if point == "looked" and len(slots.heads_of_groups(Slot(FLOW, STAGE, HOURS[1]), 3)) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(slots, "FAULT", dies)
        with pytest.raises(KeyboardInterrupt):
            execute(good.ref, 2)
    returned.append(execute(good.ref, 2))  # as Airflow tries it again
    assert returned[2]["cached"]
    assert head(Slot(FLOW, STAGE, HOURS[1])) is None
    assert standing() == []
    found = [whole_result(returned) for _ in range(2)]
    whole, _ = results(1)
    assert [one["commit"] for one in found] == [whole.commit_id] * 2
    assert found[0]["facts"] == whole.facts
    assert (whole.facts["rung"], whole.ref.rows, len(whole.facts["degraded"])) == ("rules", 150, 1)
    assert standing() == [(MODEL, "rules", None, HOURS[1])]
    assert told()[2:] == [("model_degraded", "rules", HOURS[1])]
    assert len(history(Slot(FLOW, STAGE, HOURS[1]))) == 1


def execute(data: DatasetRef, number: int) -> dict[str, Any]:
    """What a task returns to Airflow."""
    share = groups.split(data, 4)[number]
    given = {"ref": data.to_dict(), "facts": {}, "models": {MODEL: 1}, "partition": HOURS[1]}
    asked = SimpleNamespace(partition=HOURS[1], files=(), since=None, until=None, dry_run=False, model="recorded")
    operator = StageOperator(
        task_id=STAGE, step="baton.steps.score:score", pack="shop", inputs={"data": given}, output_contract="scores",
        options={"model": MODEL, "fallback": LADDER["RULES"]}, group={**given, "group": {"number": number, "edges": share.edges}},
        run_key=SimpleNamespace(asked=lambda context, earlier: asked, partitioned=True), dag=DAG(FLOW, schedule=None),
    )  # fmt: skip
    made: Any = operator.execute({"dag_run": SimpleNamespace(run_id="r"), "ti": SimpleNamespace(map_index=number)})
    return made
