"""Model cards: what they say, and that no value breaks out of its cell."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from baton.registry.card import MAX_DESCRIPTION, CardFacts, gate_table, model_card, with_gate


class Decision(Enum):
    PROMOTE = "PROMOTE"


@dataclass
class Verdict:
    decision: Any = Decision.PROMOTE
    reasons: list[str] = field(default_factory=lambda: ["average precision 0.81 over 0.74"])
    table: list[dict[str, Any]] = field(default_factory=lambda: [{"check": "gain", "value": 0.07123456, "ok": True}])


def facts(**changes: Any) -> CardFacts:
    values: dict[str, Any] = {
        "model": "card_fraud",
        "family": "classification",
        "owner": "fraud team",
        "description": "Probability that a card transaction is fraud.",
        "candidate": "boosted",
        "estimator": "lightgbm.LGBMClassifier",
        "occasion": "2026-01-01T00:00:00",
        "approval": "either",
        "intended_use": "Scores one row per transaction_id.",
        "data": {"rows": 1000, "sha256": "ab" * 32},
        "metrics": {"average_precision": 0.8123456},
        "leaderboard": [
            {"candidate": "boosted", "average_precision": 0.81},
            {"candidate": "linear", "average_precision": 0.7},
        ],
        "features": ["v1", "v2", "amount"],
        "meanings": {"amount": "euros"},
        "limits": ["Trained on two days."],
    }
    return CardFacts(**{**values, **changes})


def test_card_has_what_a_reviewer_needs() -> None:
    card = model_card(facts())
    assert card.startswith("## card_fraud\n")
    for line in (
        "- **owner:** fraud team",
        "- **candidate:** boosted (lightgbm.LGBMClassifier)",
        "- **rows:** 1000",
        "- **average_precision:** 0.8123",
        "| candidate | average_precision |",
        "| linear | 0.7 |",
        "- v1, v2",
        "- amount: euros",
        "- Trained on two days.",
    ):
        assert line in card.splitlines(), line


def test_values_stay_in_their_cells() -> None:
    card = model_card(facts(owner="a | b\n# c <script>alert(1)</script> [x](javascript:y)"))
    owner = next(line for line in card.splitlines() if line.startswith("- **owner"))
    assert owner == "- **owner:** a \\| b \\# c \\<script\\>alert(1)\\</script\\> \\[x\\](javascript:y)"


def test_gate_section_is_replaced_not_repeated() -> None:
    once = with_gate(model_card(facts()), Verdict())
    twice = with_gate(once, Verdict(decision="HOLD", reasons=["too few positives"], table=[]))
    assert once.startswith("## Gate: PROMOTE\n\nTo answer, set the tag `baton.review`")
    assert "| gain&nbsp;&nbsp; | 0.07123&nbsp;&nbsp; | True |" in once
    assert twice.startswith("## Gate: HOLD\n\nNo answer is asked: the champion stays; ")
    assert "\n\n- too few positives\n\n## card_fraud\n" in twice
    assert "PROMOTE" not in twice
    assert with_gate(twice, None) == with_gate(model_card(facts()), None)


def test_the_gates_table_is_one_for_all_its_readers() -> None:
    lines = gate_table([{"metric": "recall | of c", "low": None, "value": 0.07123456}, {"metric": "cost"}])
    assert lines == [
        "| metric | low | value |",
        "| --- | --- | --- |",
        "| recall \\| of c |  | 0.07123 |",
        "| cost |  |  |",
    ]
    shown = with_gate(model_card(facts()), Verdict(table=[{"metric": 1, "low": 2, "value": 3}]))
    assert "\n".join(lines[:2]) in shown.replace("&nbsp;", "")
    assert gate_table([]) == []


def test_description_fits_and_keeps_the_verdict() -> None:
    card = model_card(facts(leaderboard=[{"candidate": f"c{n}", "ap": n / 1000} for n in range(1000)]))
    text = with_gate(card, Verdict(reasons=["because"] * 1000))
    assert len(text) <= MAX_DESCRIPTION
    assert "Shortened" in text
    assert "## Gate: PROMOTE" in text
