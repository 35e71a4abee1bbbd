"""Reasons in words: declared sentences by what raised a score, few, the strongest first, kept as they were said."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from baton.feedback import cases, reasons
from baton.packs.pack import find_model
from baton.record import tables, warehouse
from baton.specs.tabular import ReasonSpec

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
SEED = runpy.run_path(str(Path(__file__).parents[2] / "published_rows.py"))["seed"]
FLOW, HOUR = STAGE["FLOW"], STAGE["HOURS"][0]
RULES = [
    ReasonSpec(code="amount", features=("amount",), text="The amount is unusual."),
    ReasonSpec(code="pattern", features=("v1*", "v2"), text="The pattern is known ({features})."),
]


def said(*codes: tuple[str, float]) -> list[str]:
    return [one["text"] for one in reasons.sentences(RULES, codes)]


def test_what_raised_the_score_is_said_strongest_first_and_each_sentence_once() -> None:
    assert said(("v14", 2.0), ("amount", 1.5), ("v2", 0.5), ("v99", -3.0)) == [
        "The pattern is known (v14, v2).", "The amount is unusual.",
    ]  # fmt: skip
    assert said(("amount", 3.0), ("v14", 2.0), ("v10", -1.9)) == [
        "The amount is unusual.",
        "The pattern is known (v14).",
    ]
    assert said(("v14", 2.0), ("v10", -2.5), ("amount", 0.1)) == ["The amount is unusual."], "together it lowered it"


def test_a_feature_without_a_sentence_is_named_and_no_reason_is_said() -> None:
    assert said(("new", 1.0)) == ["new raised the score."]
    assert said(("amount", -1.0)) == ["Nothing that the model sees raised this score."]
    for nothing in (None, []):
        (one,) = reasons.sentences(RULES, nothing)
        assert (one["code"], "No reasons were computed" in one["text"]) == ("none", True)
        assert "it is not among" not in one["text"], (
            "rules, and a stage that explains none, have scores among the highest"
        )
    assert reasons.sentences([], [("amount", 1.0)]) == []
    assert len(reasons.sentences(RULES, [(f"x{n}", 1.0) for n in range(9)])) == reasons.MOST


def test_a_sentence_has_an_end() -> None:
    with pytest.raises(ValidationError, match="at most 300"):
        ReasonSpec(code="a", features=("b",), text="x" * 301)


@pytest.fixture
def stage(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with STAGE["warehouse_and_pack"](home, monkeypatch):
        yield


def test_they_are_kept_on_the_case_and_on_none_that_needs_nobody(stage: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(reasons, "declared", lambda model: asked.append(model) or (RULES if model == "m" else ()))
    scores = [{"entity_key": key, "model": model, "score": 0.9, "reasons": '[["amount", 1.0]]' if key == "1" else None}
              for key in ("1", "2", "3") for model in ("m", "dumb")]  # fmt: skip
    SEED(FLOW, HOUR, decisions=[{"entity_key": key, "route": "review"} for key in ("1", "2", "3")], predictions=scores)
    decisions = pd.DataFrame({"entity_key": ["1", "2"], "route": "review", "risk": 0.5})
    with warehouse.write() as conn:
        cases.open_cases(conn, FLOW, HOUR, decisions, {"yes": {"late": 1}})
    whys = dict(STAGE["rows"](tables.cases, "entity_key", "why"))
    by_model = {key: {one["model"]: one.get("sentences") for one in why} for key, why in whys.items()}
    assert by_model["1"] == {"m": [{"code": "amount", "text": "The amount is unusual."}], "dumb": None}
    assert by_model["2"]["m"][0]["code"] == reasons.NONE
    assert set(by_model) == {"1", "2"}
    assert sorted(asked) == ["dumb", "m"], "a model is looked up once, however many cases there are"


def test_the_shipped_model_has_a_sentence_for_each_feature() -> None:
    pack, spec = find_model("card_fraud")
    assert reasons.declared("card_fraud") == spec.reasons != ()
    features = spec.features(pack.contracts[spec.training.contract])  # type: ignore[attr-defined]
    assert spec.unexplained(features) == []  # type: ignore[attr-defined]
    assert spec.model_copy(update={"reasons": spec.reasons[:1]}).unexplained(features)[0] == "v1"  # type: ignore[attr-defined]
    assert reasons.declared("nobody_has_it") == ()
