"""Candidates that cannot be fitted: the others go on, and where none is left the training says why of each."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.data.datasets import read
from baton.errors import ModelError
from baton.lifecycle.fit import usable
from baton.stages.run import run
from baton.stages.slots import StageResult

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
ROWS = pd.DataFrame({
    "order_id": range(400), "ordered_at": pd.date_range("2026-01-01", periods=400, freq="h", tz="UTC"),
    "amount": 1.5, "late": [0, 1] * 200, "_part": "", "_weight": 1.0,
})  # fmt: skip


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        model = folder / "models" / "late_order.yaml"
        model.write_text(model.read_text().replace("LogisticRegression}", "LogisticRegression, params: {C: -1}}"))
        yield folder


def stage(name: str, step: str, **given: Any) -> StageResult:
    return run(STAGE["job"](name, f"baton.lifecycle.fit:{step}", **given))


def test_a_training_without_a_usable_candidate_says_why_of_each() -> None:
    data = STAGE["commit"]("contract", 0, ROWS)
    options = {"model": "late_order", "candidate": "logistic"}
    tried = stage("candidate__logistic", "candidate", options=options, inputs={"data": data})
    assert "C of LogisticRegression cannot be -1" in tried.facts["error"]
    assert read(tried.ref)["refused"].tolist() == [tried.facts["error"]]
    said = "model late_order: no candidate could be fitted: logistic: .*C of LogisticRegression cannot be -1"
    with pytest.raises(ModelError, match=said):
        stage("register", "register", options={"model": "late_order"}, inputs={"data": data, "logistic": tried.ref})


def test_a_refused_candidate_has_no_rows_and_a_reason() -> None:
    scores = pd.DataFrame({"row": [1], "raw": [0.5]})
    found, refused = usable({"good": scores, "bad": pd.DataFrame({"refused": ["too few rows"]})})
    assert found["good"] is scores
    assert found["bad"].empty
    assert refused == {"bad": "too few rows"}
