"""Groups in the gate: rates as Fairlearn has them, a gap beyond its bound is held, small groups are said, nobody is left out."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from baton.errors import BatonError
from baton.families.fairness import by_groups
from baton.families.tabular.gate import decide
from baton.registry.card import gate_table
from baton.specs.policy import FairnessSpec, GateSpec

PLAIN: dict[str, Any] = {"resamples": 50, "min_positives": 10, "floor": 0.1}
# two groups of 200 rows with 40 positives each; in b three of four positives go unseen
GROUP = np.repeat(["a", "b"], 200)
Y = np.tile(np.repeat([1, 0], [40, 160]), 2)
EVEN = np.where(Y == 1, 0.9, 0.1) + np.linspace(0, 0.01, 400)
UNEVEN = np.where((GROUP == "b") & (np.arange(400) % 4 > 0), 0.05, EVEN)


def rule(**fields: Any) -> FairnessSpec:
    return FairnessSpec.model_validate({"name": "branch", "column": "branch", "max_gap": 0.2, "min_rows": 20} | fields)


def judged(scores: np.ndarray, champion: np.ndarray | None = None, group: Any = GROUP, **fields: Any) -> Any:
    spec = GateSpec.model_validate(PLAIN | {"fairness": [rule(**fields).model_dump()]})
    return decide(spec, Y, champion, scores, slices=pd.DataFrame({"branch": group}))


def test_a_gap_beyond_its_bound_is_held_champion_or_not() -> None:
    assert judged(EVEN).decision == "PROMOTE"
    for champion in (None, EVEN[::-1]):
        verdict = judged(UNEVEN, champion)
        assert verdict.decision == "HOLD"
        assert verdict.reasons[0].startswith("By branch the challenger's true positive rate is ")
        assert "more than the 0.2000 allowed" in verdict.reasons[0]
    assert ("the champion's: " in judged(UNEVEN, EVEN).reasons[0]) is True
    assert judged(UNEVEN, max_gap=1.0).decision == "PROMOTE"
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_the_table_has_a_row_for_each_group_and_the_gap() -> None:
    verdict = judged(UNEVEN, EVEN)
    rows = {row["metric"]: row for row in verdict.table}
    assert rows["true positive rate, branch a (40)"]["challenger"] == 1.0
    gap = rows["gap of true positive rate, branch"]
    assert gap["champion"] == 0.0
    assert gap["difference"] == gap["challenger"] == verdict.fairness[0]["gaps"]["challenger"]
    assert len({frozenset(row) for row in verdict.table}) == 1, "one kind of row, whatever it measures"
    assert any("branch b (40)" in line for line in gate_table(verdict.table))
    assert verdict.table[0]["metric"] == "average_precision"


def test_too_few_rows_are_said_and_never_pass_in_silence() -> None:
    few = GROUP.astype(object).copy()
    few[[0, 201, 202]] = "c"
    verdict = judged(EVEN, group=few)
    (note,) = [one for one in verdict.reasons if "Fairness" in one]
    assert note == "Fairness by branch: not judged for want of 20 rows that the true positive rate counts: c (3)."
    assert any(row["metric"] == "true positive rate, branch c (3, too few)" for row in verdict.table)
    alone = judged(UNEVEN, group=np.repeat("a", 400))
    assert any("is not judged: fewer than two groups" in one for one in alone.reasons)
    assert alone.fairness[0]["gaps"] == {"challenger": None}


def test_rows_without_a_group_are_a_group() -> None:
    some = pd.Series(GROUP, dtype=object).where(GROUP == "a")
    verdict = judged(UNEVEN, group=some)
    assert verdict.decision == "HOLD"
    assert {one["group"] for one in verdict.fairness[0]["groups"]} == {"a", "(empty)"}


@pytest.mark.parametrize(("value", "group"), [("unknown", "(empty)"), ("(empty)", "((empty))")])
def test_no_value_falls_into_the_group_of_rows_without_one(value: str, group: str) -> None:
    some = pd.Series(np.tile([value, None], 200), dtype=object)
    assert {one["group"]: one["counted"] for one in judged(EVEN, group=some).fairness[0]["groups"]} == {
        value: 40,
        group: 40,
    }


@pytest.mark.parametrize(
    ("metric", "counts"), [("true_positive_rate", 1), ("false_positive_rate", 0), ("selection_rate", None)]
)
@pytest.mark.parametrize("seed", range(5))
def test_rates_are_those_of_counting_by_hand(metric: str, counts: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, said, amount = rng.integers(0, 2, 300), rng.integers(0, 2, 300).astype(bool), rng.exponential(50, 300)
    amount[:5] = np.nan
    found = by_groups(rule(metric=metric, bins=[10.0, 50.0]), pd.DataFrame({"branch": amount}), y, {"challenger": said})
    where = {
        "below 10": amount < 10, "10 to 50": (amount >= 10) & (amount < 50), "50 and above": amount >= 50, "(empty)": np.isnan(amount),
    }  # fmt: skip
    assert {one["group"] for one in found["groups"]} == set(where)
    for one in found["groups"]:
        mine = where[one["group"]] & (True if counts is None else y == counts)
        assert one["counted"] == mine.sum()
        assert one["challenger"] == (pytest.approx(said[mine].mean()) if mine.any() else None)
        assert one["judged"] == (mine.sum() >= 20)
    assert sum(one["counted"] for one in found["groups"]) == (300 if counts is None else (y == counts).sum())


def test_what_cannot_be_groups_is_refused() -> None:
    with pytest.raises(BatonError, match="needs the column 'branch'"):
        by_groups(rule(), pd.DataFrame({"x": Y}), Y, {"challenger": Y == 1})
    with pytest.raises(BatonError, match="has 400 values, at most 30"):
        by_groups(rule(), pd.DataFrame({"branch": range(400)}), Y, {"challenger": Y == 1})
    for bins in ([1.0], [2.0, 1.0]):
        with pytest.raises(ValidationError, match="edges should rise"):
            rule(bins=bins)
