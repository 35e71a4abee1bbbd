"""The gate for text models."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from baton.families.text.judging import judge
from baton.families.text.measures import resampled, value

TRUTH = np.repeat(np.array(["a", "b", "c"], dtype=object), 60)


def wrong(share: float, seed: int = 0, only: str | None = None) -> np.ndarray:
    """The truth with a share of the classes turned into another one."""
    said = TRUTH.copy()
    rng = np.random.default_rng(seed)
    at = (rng.random(len(said)) < share) & ((said == only) if only else True)
    said[at] = np.where(said[at] == "a", "b", "a")
    return said


def said_c(count: int) -> np.ndarray:
    """The truth but for the first `count` texts."""
    return np.where(np.arange(len(TRUTH)) < count, "c", TRUTH).astype(object)


@pytest.mark.parametrize(
    ("champion", "challenger", "decision", "said"),
    [
        (None, wrong(0.1), "PROMOTE", "First version"),
        (None, wrong(0.7), "HOLD", "below the floor"),
        (None, np.full(180, "a", dtype=object), "HOLD", "gives all 180 texts the class 'a'"),
        (wrong(0.3), wrong(0.05, 1), "PROMOTE", "is better"),
        (wrong(0.1), wrong(0.1), "HOLD", "is not better"),
        (said_c(10), said_c(9), "MORE_DATA", "do not show it"),
        (wrong(0.3), wrong(0.5, 3, only="c"), "HOLD", "In class c"),
    ],
)
def test_decisions(case, champion, challenger, decision, said):
    verdict = judge(case.spec(), TRUTH, champion, challenger)
    assert (verdict.decision, said in verdict.reasons[0]) == (decision, True), verdict.reasons
    assert verdict.table == [] or verdict.table[0]["metric"] == "accuracy"
    assert verdict.to_dict()["rows"] == 180


def test_few_texts_and_broken_scores(case):
    assert judge(case.spec(), TRUTH[:5], None, TRUTH[:5]).decision == "MORE_DATA"
    broken = judge(case.spec(), TRUTH, None, TRUTH, broken=3)
    assert (broken.decision, "no finite scores" in broken.reasons[0]) == ("HOLD", True)


def test_a_class_with_few_texts_is_listed_but_not_judged(case):
    truth = TRUTH.copy()
    truth[:2] = "rare"
    challenger = truth.copy()
    challenger[:2] = "a"
    verdict = judge(case.spec(), truth, wrong(0.3), challenger)
    rare = next(row for row in verdict.slices if row["slice"] == "rare")
    assert (rare["judged"], rare["rows"]) == (False, 2)


def test_macro_f1_of_resamples_is_that_of_the_drawn_rows():
    from sklearn.metrics import f1_score

    said = wrong(0.2)
    counts = np.random.default_rng(0).multinomial(180, np.full(180, 1 / 180), size=5).astype(float)
    for row, found in zip(counts.astype(int), resampled("macro_f1", TRUTH, said, counts), strict=True):
        drawn = np.repeat(np.arange(180), row)
        assert found == pytest.approx(f1_score(TRUTH[drawn], said[drawn], average="macro"))
    assert value("accuracy", TRUTH, said) == pytest.approx((said == TRUTH).mean())


def test_the_family_judges_on_held_out_texts(made, case):
    first = made.family.judge(made.spec, made.frame, None, made.model)
    assert (first.decision, first.rows) == ("PROMOTE", 100)
    assert made.family.judge(made.spec, made.frame, made.model, made.model).decision == "HOLD"


def test_texts_that_the_champion_knows_are_left_out(made, case):
    """By their key, or by heart: the same words under another key."""
    late = made.frame.tail(100)  # held out when the challenger was trained
    learnt = pd.concat([late.head(60), late.iloc[60:70].assign(mail_id="other", at=late["at"].max())]).assign(
        _part="train"
    )
    judged = pd.DataFrame([made.frame.iloc[0]]).assign(_part="holdout", body="nobody's")
    seen = made.family.seen(made.spec, made.frame, pd.concat([learnt, judged]))
    assert (int(seen.sum()), seen[-100:-30].all(), seen[-30:].any()) == (70, True, False)
    verdict = made.family.judge(made.spec, made.frame.assign(_seen=seen), made.model, made.model)
    assert verdict.rows == 30
    assert any(one.startswith("70 of 100 held-out rows are left out") for one in verdict.reasons)
    nothing = made.family.judge(made.spec, made.frame.assign(_seen=True), made.model, made.model)
    assert (nothing.decision, nothing.rows) == ("MORE_DATA", 0)
