"""A gate judges on rows that neither version has seen, and says what it left out."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.families.base import JUDGED
from baton.families.tabular.family import Tabular
from baton.families.tabular.learner import Scores
from baton.families.tabular.selection import learner
from baton.feedback.known_rows import HOLDOUT, TRAIN
from baton.lifecycle import promote
from baton.packs.pack import find_model
from baton.settings import settings
from baton.stages.slots import Slot, StageOutput, run_stage

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
FLOW, HOURS = "late_order_train", STAGE["HOURS"]
START = pd.Timestamp("2026-11-01", tz="UTC")


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with STAGE["warehouse_and_pack"](home, monkeypatch):
        yield


def orders(first: int, end: int, part: str = "") -> pd.DataFrame:
    """Orders by the minute, every fifth late; checked, as a training gets them."""
    keys = np.arange(first, end)
    frame = pd.DataFrame({"order_id": keys, "ordered_at": START + pd.to_timedelta(keys, unit="min"), "amount": 1.0})
    return frame.assign(late=(keys % 5 == 0) * 1, _part=part, _weight=1.0, _partition="")


@dataclass
class Model:
    """Scores with so much skill, and knows by heart what it has learnt."""

    skill: float
    learnt: set[int] = field(default_factory=set)

    def predict(self, frame: pd.DataFrame) -> Scores:
        late, keys = frame["late"].to_numpy(), frame["order_id"].to_numpy()
        noise = np.random.default_rng(3).normal(size=100_000)[keys]
        said = np.where([key in self.learnt for key in keys], 6.0 * late, self.skill * late + noise)
        return Scores(said, 1 / (1 + np.exp(-said)))


class Models:
    """A registry of two versions, and the family that opens them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **versions: Model) -> None:
        self.datasets, self.home = dict[int, str](), settings().home
        maker = Tabular(learner("classification"))
        monkeypatch.setattr(maker, "load", lambda folder: versions[folder.name])
        monkeypatch.setattr(promote, "family", lambda name: maker)

    def verified(self, model: str, version: int) -> Path:
        return self.home / f"v{version}"

    def identity(self, model: str, version: int) -> Any:
        return SimpleNamespace(dataset=self.datasets[version], created=(START + pd.Timedelta("33h")).isoformat())

    def trained(self, version: int, frame: pd.DataFrame, spec: Any, kept: bool = True) -> None:
        """Commit what a training of so many rows leaves behind."""
        hour = HOURS[version]
        checked = STAGE["committed"]("contract", version, frame.reset_index(drop=True), FLOW)
        self.datasets[version] = checked.ref.content_sha256 if kept else "gone"
        state = {"spec": spec.model_dump(mode="json")}
        run_stage(
            Slot(FLOW, "register", hour), lambda inputs: StageOutput(frame.head(1), {"version": version}),
            inputs={}, params={"state": state}, models={}, code="test", run_id="test",
        )  # fmt: skip


def spec(**training: Any) -> Any:
    found = find_model("late_order")[1]
    gate = found.gate.model_copy(update={"min_positives": 20, "floor": 0.1, "resamples": 100})
    return found.model_copy(update={"gate": gate, "training": found.training.model_copy(update=training)})


def test_rows_that_the_champion_learnt_from_do_not_keep_it_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The champion trained on all of the history, because recent rows judged it; now the history judges again."""
    before = pd.concat([orders(0, 2000), orders(2000, 2050, TRAIN), orders(2050, 2100, HOLDOUT)])
    registry = Models(monkeypatch, v1=Model(1.5, set(range(2050))), v2=Model(3.0))
    registry.trained(1, before, spec())
    registry.trained(2, orders(0, 2400), spec())
    verdict = promote.compare(spec(), registry, 2, 1)
    assert verdict.decision == "PROMOTE", verdict.reasons
    assert (verdict.rows, verdict.positives) == (350, 70)  # held out: 1800 to 2399
    assert verdict.reasons[-1] == (
        "250 of 600 held-out rows are left out, because the champion has learnt from them; rows that neither has seen come "
        "with new partitions whose truth is known."
    )


@pytest.mark.parametrize("end", [2050, 2140])
def test_too_few_rows_that_neither_knows_are_more_data_and_no_hold(monkeypatch: pytest.MonkeyPatch, end: int) -> None:
    registry = Models(monkeypatch, v1=Model(1.5, set(range(2050))), v2=Model(3.0))
    registry.trained(1, pd.concat([orders(0, 2050), orders(9000, 9100, HOLDOUT)]), spec())
    registry.trained(2, orders(0, end), spec())
    verdict = promote.compare(spec(), registry, 2, 1)
    assert verdict.decision == "MORE_DATA"
    assert f"The holdout of {end - 2050} rows holds {(end - 2050) // 5} positives" in verdict.reasons[0]
    assert "the champion has learnt from them" in verdict.reasons[1]


def test_what_the_champion_knows_is_cut_by_the_spec_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Models(monkeypatch, v1=Model(1.5), v2=Model(3.0), v3=Model(1.5))
    registry.trained(1, orders(0, 2000), spec(holdout=0.5))
    registry.trained(2, orders(0, 2000), spec())
    assert promote.compare(spec(), registry, 2, 1).rows == 500  # it learnt 0 to 999
    registry.trained(3, orders(0, 1999), spec(holdout=0.05))
    assert promote.compare(spec(), registry, 2, 3).rows == 101


def test_a_champion_whose_rows_are_gone_counts_as_knowing_all_that_was_there_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = Models(monkeypatch, v1=Model(1.5), v2=Model(3.0))
    registry.trained(1, orders(0, 100), spec(), kept=False)
    registry.trained(2, orders(0, 2400), spec())
    verdict = promote.compare(spec(), registry, 2, 1)
    assert verdict.rows == 2400 - 33 * 60 - 1
    assert verdict.reasons[-1] == (
        "What version 1 was trained from is not in the store any more: it counts as knowing all rows up to 2026-11-02 09:00."
    )


def test_a_first_version_is_judged_on_all_that_was_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Models(monkeypatch, v2=Model(3.0))
    registry.trained(2, orders(0, 400), spec())
    verdict = promote.compare(spec(), registry, 2, None)
    assert (verdict.decision, verdict.rows) == ("PROMOTE", 100)


def test_what_is_judged_of_a_version_is_the_model_without_the_held_out_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a champion that scores with all of them is asked only about rows that came later."""
    registry = Models(monkeypatch, v1=Model(1.5), v2=Model(0.0), judged=Model(3.0))
    (registry.home / "v2" / JUDGED).mkdir(parents=True)
    registry.trained(1, orders(0, 2000), spec(refit=True))
    registry.trained(2, orders(0, 2400), spec(refit=True))
    verdict = promote.compare(spec(refit=True), registry, 2, 1)
    assert (verdict.decision, verdict.rows) == ("PROMOTE", 400)
