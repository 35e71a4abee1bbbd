"""The ladder of a flow with a fallback: champion, another champion, rules; each rung said, on record, and left again.

The registry is a shelf of versions here; `tests/integration/test_ladder.py` goes the same way with a real one.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from baton.data import parts
from baton.data.datasets import read
from baton.errors import BatonError, ModelError, RegistryRefused, ServiceError
from baton.lifecycle import windows
from baton.packs.pack import find_model
from baton.record import ledger, tables, warehouse
from baton.registry import rungs
from baton.registry.client import ALIAS_MOVED, CHAMPION
from baton.stages.run import run
from baton.stages.slots import StageResult
from baton.steps import ingest, ladder
from baton.steps.ingest import choose_models

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
commit, job, rows, FLOW, HOURS = (STAGE[name] for name in ("commit", "job", "rows", "FLOW", "HOURS"))
MODEL, RULES = "late_order", "shop_pack.rules:late"
SCORES = """\
contract: scores
version: 1
owner: tests
description: one score for each order
key: entity_key
columns:
  entity_key: {type: str}
  version: {type: int}
  score: {type: float}
  source: {type: str}
expectations:
  - type: expect_column_values_to_be_between
    kwargs: {column: score, min_value: 0, max_value: 1}
    severity: critical
    meta: {rule: score_range}
"""
RULE = """\
import pandas as pd


def late(data: pd.DataFrame) -> pd.DataFrame:
    score = (data["amount"] > 10).astype(float)
    return pd.DataFrame({"entity_key": data["order_id"], "score": score, "reasons": '[["amount", 1.0]]'})
"""


class Shelf:
    """Versions that score 0.1 times their number, unless something is wrong with them: an error, or a score."""

    def __init__(self) -> None:
        self.wrong: dict[int, Exception | float] = {}
        self.asked: list[int] = []

    def __call__(self, **_: Any) -> Shelf:
        return self

    def alias(self, model: str, name: str) -> int | None:
        if isinstance(self.wrong.get(0), Exception):
            raise self.wrong[0]  # type: ignore[misc]
        return 2

    def require_promoted(self, model: str, version: int) -> None:
        pass

    def version_url(self, model: str, version: int) -> str:
        return f"http://mlflow/{version}"

    def download(self, model: str, version: int, consumer: str) -> int:
        self.asked.append(version)
        problem = self.wrong.get(version, self.wrong.get(0))
        if isinstance(problem, Exception):
            raise problem
        return version

    def load(self, version: int) -> int:
        return version

    def score(self, spec: Any, version: int, data: pd.DataFrame, explain: float) -> pd.DataFrame:
        score = self.wrong.get(version, version / 10)
        columns = {"entity_key": data["order_id"].astype(str), "score": score, "reasons": None, "_row": data["_row"]}
        return pd.DataFrame(columns)


@pytest.fixture
def shelf(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """Version 1 was champion before version 2 is."""
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        (folder / "contracts/scores.yaml").write_text(SCORES)
        (folder / "rules.py").write_text(RULE)
        made = Shelf()
        for module in (ladder, ingest):
            monkeypatch.setattr(module, "Registry", made)
        monkeypatch.setattr(ladder, "family", lambda name: made)
        with warehouse.write() as conn:
            for version, before in ((1, None), (2, 1)):
                move = {"alias": CHAMPION, "version": version, "before": before, "actor": "ada", "reason": "better"}
                ledger.append(conn, ALIAS_MOVED, MODEL, move)
        yield made


def score(hour: int = 0, fixed: int | None = 2, fallback: str = RULES, **given: Any) -> StageResult:
    frame = pd.DataFrame({"order_id": [1, 2], "amount": [5.0, 50.0], "_row": [1, 2]})
    data = commit("contract", hour, frame)
    models = {} if fixed is None else {MODEL: fixed}
    options = {"model": MODEL, "fallback": fallback} if fallback else {"model": MODEL}
    return run(job("score__late_order", "baton.steps.score:score", hour, inputs={"data": data}, options=options,
                   models=models, output_contract="scores", **given))  # fmt: skip


def who(result: StageResult) -> tuple[Any, ...]:
    frame = read(result.ref)
    return (*frame[["source", "version"]].drop_duplicates().itertuples(index=False, name=None),)


def heard(*kinds: str) -> list[tuple[str, dict[str, Any]]]:
    return [(one.kind, one.payload) for one in ledger.entries()[::-1] if one.kind in kinds]


def test_the_champion_scores_and_nothing_is_said(shelf: Shelf) -> None:
    result = score()
    assert who(result) == (("champion", 2),)
    assert result.facts == {"rung": "champion", "version": 2, "mlflow": "http://mlflow/2"}
    assert rows(tables.rungs) == []
    assert rows(tables.usage, "commit_id", "asset", "version", "rows") == [
        (result.commit_id, "model:late_order", "2", 2)
    ]
    assert score().cached


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (RegistryRefused("late_order version 2: model.json was changed"), "model.json was changed"),
        (ModelError("boosted.txt cannot be loaded"), "boosted.txt cannot be loaded"),
        (ValueError("could not convert string to float: 'Ada Lovelace'"), "does not score: ValueError"),
        (1.5, "its scores break contract scores (score_range)"),
        (float("nan"), "its scores break contract scores"),
    ],
)
def test_whatever_is_wrong_with_the_champion_the_one_before_it_scores(
    shelf: Shelf, problem: Exception | float, reason: str
) -> None:
    shelf.wrong = {2: problem}
    result = score()
    assert who(result) == (("previous", 1),)
    (sentence,) = result.facts["degraded"]
    assert sentence.startswith("late_order version 2 does not score: ")
    assert reason in sentence
    assert sentence.endswith("; version 1, another champion, scores instead")
    assert "Ada" not in sentence
    assert rows(tables.rungs, "flow", "model", "rung", "version", "partition") == [
        (FLOW, MODEL, "previous", 1, HOURS[0])
    ]
    assert bool(heard("version_refused")) == isinstance(problem, RegistryRefused)


def test_of_a_batch_in_parts_the_rows_that_a_rung_cannot_score_and_those_behind_have_the_next(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROWS", 1)
    monkeypatch.setattr(parts, "STEP", 1)
    asked = list(shelf.asked)
    real = Shelf.score

    def fails_at_the_second(self: Shelf, spec: Any, version: int, data: pd.DataFrame, explain: float) -> pd.DataFrame:
        if version == 2 and 2 in set(data["order_id"]):
            raise ModelError("it cannot")
        return real(self, spec, version, data, explain)

    monkeypatch.setattr(Shelf, "score", fails_at_the_second)
    result = score()
    assert who(result) == (("champion", 2), ("previous", 1))
    assert shelf.asked == [*asked, 2, 1], "each is fetched once"
    assert (result.facts["rung"], result.facts["version"]) == ("previous", 1)
    assert result.facts["degraded"] == [
        "late_order version 2 does not score from row 2 on: it cannot; version 1, another champion, scores instead"
    ]
    assert [row[3] for row in rows(tables.rungs, "flow", "model", "rung", "version")] == [1]
    assert rows(tables.usage, "version", "rows") == [("1", 1), ("2", 1)]
    monkeypatch.setattr(Shelf, "score", real)
    assert who(score()) == (("champion", 2),)


def test_without_any_version_the_rules_score_and_are_marked(shelf: Shelf) -> None:
    shelf.wrong = {1: ModelError("broken"), 2: ModelError("broken too")}
    result = score()
    frame = read(result.ref)
    assert frame["score"].tolist() == [0.0, 1.0]
    assert frame["entity_key"].tolist() == ["1", "2"]
    assert (set(frame["source"]), set(frame["version"]), set(frame["model"])) == ({"rules"}, {0}, {MODEL})
    assert rows(tables.usage) == []
    assert json.loads(frame["reasons"][0]) == [["amount", 1.0]]
    assert frame["_row"].tolist() == [1, 2]
    assert (result.facts["rung"], result.facts["version"], "mlflow" in result.facts) == ("rules", None, False)
    assert result.facts["degraded"][0].endswith(f"the rules {RULES} score instead")


def test_a_registry_that_is_down_is_asked_once_and_the_rules_score(shelf: Shelf) -> None:
    shelf.wrong = {0: ServiceError("MLflow does not answer")}
    assert score().facts["rung"] == "rules"
    assert shelf.asked == [2]


def test_a_model_without_a_champion_is_stood_in_for(shelf: Shelf) -> None:
    with warehouse.write() as conn:
        conn.execute(tables.ledger.delete())
    result = score(fixed=None)
    assert who(result) == (("rules", 0),)
    assert result.facts["degraded"] == [f"late_order has no champion yet; the rules {RULES} score instead"]


def test_a_degraded_partition_that_is_repeated_tries_the_champion_again(shelf: Shelf) -> None:
    shelf.wrong = {2: ModelError("broken")}
    first = score()
    again = score()
    assert (first.facts["rung"], again.facts["rung"], again.cached) == ("previous", "previous", False)
    shelf.wrong = {}
    healed = score()
    assert (healed.facts["rung"], healed.cached) == ("champion", False)
    assert score().cached, "what became whole is found again"
    assert score().commit_id == healed.commit_id


def test_the_ledger_hears_of_each_change_of_the_rung_and_how_long_it_took(shelf: Shelf) -> None:
    shelf.wrong = {2: ModelError("broken")}
    score(0)
    score(1)
    shelf.wrong = {2: ModelError("broken"), 1: ModelError("broken")}
    score(2)
    with warehouse.read() as conn:
        (one,) = rungs.in_force(conn)
    assert (one["rung"], one["version"], one["partition"]) == ("rules", None, HOURS[2])
    shelf.wrong = {}
    score(3)
    assert rows(tables.rungs) == []
    told = heard(rungs.DEGRADED, rungs.RECOVERED)
    assert [(kind, said["rung"], said["partition"]) for kind, said in told] == [
        ("model_degraded", "previous", HOURS[0]), ("model_degraded", "rules", HOURS[2]),
        ("model_recovered", "rules", HOURS[3]),
    ]  # fmt: skip
    assert told[-1][1]["seconds"] >= 0


def test_a_dry_run_puts_nothing_on_record(shelf: Shelf) -> None:
    shelf.wrong = {2: ModelError("broken")}
    assert score(dry_run=True).facts["rung"] == "previous"
    assert rows(tables.rungs) == []
    assert heard(rungs.DEGRADED) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return data", "its result has no column entity_key"),
        ("return pd.DataFrame({'entity_key': ['1'], 'score': [0.0], 'reasons': [None]})", "1 scores of 2 rows"),
        ("return pd.DataFrame({'entity_key': ['1', '2'], 'score': [7.0, 0], 'reasons': [None, None]})", "score_range"),
    ],
)
def test_rules_that_give_no_scores_stop_the_flow_and_say_why(shelf: Shelf, body: str, words: str, home: Path) -> None:
    shelf.wrong = {1: ModelError("broken"), 2: ModelError("broken")}
    (home / "site/shop_pack/strange.py").write_text(f"import pandas as pd\n\n\ndef odd(data):\n    {body}\n")
    with pytest.raises(BatonError, match=words):
        score(fallback="shop_pack.strange:odd")


def test_without_a_fallback_a_broken_model_stops_the_flow_as_before(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from baton.steps import score as step

    monkeypatch.setattr(step, "Registry", shelf)
    shelf.wrong = {2: RegistryRefused("not those that were signed")}
    with pytest.raises(RegistryRefused, match="not those that were signed"):
        score(fallback="")
    assert shelf.asked == [2]


# --- the first stage ---


def choose(**given: Any) -> Any:
    return choose_models(FLOW, HOURS[0], [MODEL], given.pop("choice", "recorded"), fallbacks=[MODEL], **given)


def test_the_first_stage_fixes_the_champion_whether_it_can_score_or_not(shelf: Shelf) -> None:
    shelf.wrong = {2: RegistryRefused("changed")}
    assert choose() == ({MODEL: 2}, [], False)
    assert choose(choice="champion") == ({MODEL: 2}, [], True)
    assert shelf.asked == []
    shelf.wrong = {0: ServiceError("MLflow does not answer")}
    assert choose() == ({MODEL: 2}, [], False)
    with warehouse.write() as conn:
        conn.execute(tables.ledger.delete())
    assert choose() == ({}, [], False)


def test_a_version_that_a_person_names_is_scored_with_or_refused(shelf: Shelf) -> None:
    shelf.wrong = {1: RegistryRefused("changed")}
    with pytest.raises(RegistryRefused, match="changed"):
        choose(choice=f"{MODEL}=1")


# --- the monitor ---


def test_what_rules_scored_is_no_window_of_the_model(shelf: Shelf) -> None:
    shelf.wrong = {1: ModelError("broken"), 2: ModelError("broken")}
    score()
    _, spec = find_model(MODEL)
    ((window, page),) = windows.judge(spec, FLOW, {HOURS[0]: "published"})
    assert (window.status, window.version, page) == ("missing", None, None)


def test_what_another_version_scored_is_judged_for_that_version(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.wrong = {2: ModelError("broken")}
    score()
    asked: list[int] = []
    monkeypatch.setattr(
        windows,
        "Registry",
        lambda: SimpleNamespace(verified=lambda model, version: asked.append(version) or Path("none")),
    )
    _, spec = find_model(MODEL)
    list(windows.judge(spec, FLOW, {HOURS[0]: "published"}))
    assert asked == [1]
