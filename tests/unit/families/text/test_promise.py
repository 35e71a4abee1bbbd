"""What `reject.max_false_rejects` promises against what is seen: the line, the figures on the card, the gate."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from baton.families.text.judging import judge
from baton.families.text.scope import Scope

TRUTH = np.repeat(np.array(["a", "b"], dtype=object), 200)


@pytest.fixture(scope="module")
def harder(case):
    """A model whose held-out texts are harder than its training texts, as the world's are: spec, rows, model, family."""
    one = case.spec(candidates=[case.spec().candidates[0].model_dump()])
    easy, held = case.texts(300, seed=1, noise=0.0), case.texts(400, seed=2, noise=0.3)
    frame = pd.concat([easy, held.assign(_part="holdout")], ignore_index=True)
    family, _, model = case.train(one, frame)
    return one, frame, model, family


def test_texts_that_come_later_are_rejected_as_seldom_as_promised(harder, case):
    _, _, model, _ = harder
    later = case.texts(1500, seed=3, noise=0.3)
    assert (~model.predict(later).accepted).mean() == pytest.approx(0.1, abs=0.03)


def test_the_figures_say_what_was_promised_and_what_was_seen(harder, tmp_path):
    one, frame, model, family = harder
    figures = family.evaluate(one, model, frame)
    assert figures["false_rejects_promised"] == 0.1
    assert figures["false_rejects"] == pytest.approx(0.1, abs=0.06)  # of the newer half, by the line of the older one
    assert figures["false_rejects_out_of_fold"] > 0.2  # what the line of the training texts alone would have done
    model.save(tmp_path)
    assert family.evaluate(one, family.load(tmp_path), frame) == figures


def test_without_held_out_texts_the_line_is_the_out_of_fold_one_and_no_figure_says_otherwise():
    found = np.random.default_rng(0).normal(size=200)
    drawn = Scope.draw("energy", found, 0.04)
    assert drawn.corrected(np.empty(0)).threshold == drawn.threshold
    assert drawn.figures == {"false_rejects_promised": 0.04}


def test_many_held_out_texts_move_the_line_few_hardly():
    rng = np.random.default_rng(1)
    drawn = Scope.draw("energy", rng.normal(size=5000), 0.05)
    harder = rng.normal(loc=1.0, size=4000)
    line = drawn.corrected(harder).threshold
    assert (rng.normal(loc=1.0, size=100_000) > line).mean() == pytest.approx(0.05, abs=0.01)
    assert drawn.threshold < drawn.corrected(harder[:10]).threshold < line


def test_a_text_without_words_is_rejected_whatever_the_line():
    drawn = Scope.draw("energy", np.arange(100.0), 0.05)
    held = np.where(np.arange(400) < 80, np.inf, np.arange(400) / 4)
    line = drawn.corrected(held).threshold
    assert np.isfinite(line)
    assert line == 99.75


def rejected(share: float, known: int = 400) -> np.ndarray:
    """Which texts are rejected; those behind `known` are of a class that the model has not learnt."""
    given = (np.arange(400) % 50 < 50 * share).astype(float)
    return np.where(np.arange(400) < known, given, np.nan)


def test_the_gate_says_what_was_seen_of_what_was_promised(case):
    verdict = judge(case.spec(), TRUTH, None, TRUTH, rejected={"challenger": rejected(0.08)})
    assert verdict.decision == "PROMOTE"
    note = "False rejects: 10.0 % at most are promised, 8.0 % of 400 held-out texts of known classes are seen."
    assert note in verdict.reasons
    row = verdict.table[-1]
    assert (row["metric"], row["champion"], row["challenger"]) == ("false_rejects", None, 0.08)


def test_the_gate_holds_a_challenger_that_breaks_its_promise(case):
    broken = judge(case.spec(), TRUTH, None, TRUTH, rejected={"challenger": rejected(0.2)})
    assert broken.decision == "HOLD"
    assert "rejects 20.0 % of 400 held-out texts of known classes" in broken.reasons[0]
    assert "reject.max_false_rejects promises 10.0 %" in broken.reasons[0]
    few = judge(case.spec(), TRUTH, None, TRUTH, rejected={"challenger": rejected(0.12, known=50)})
    assert few.decision == "PROMOTE"  # within noise: said, not held
    assert any("12.0 % of 50 held-out texts" in note for note in few.reasons)


def test_the_champion_stands_beside_it(case):
    said = {"champion": rejected(0.04), "challenger": rejected(0.08)}
    worse = TRUTH.copy()
    worse[:60] = "b"
    verdict = judge(case.spec(), TRUTH, worse, TRUTH, rejected=said)
    row = verdict.table[-1]
    assert (row["champion"], row["challenger"]) == (0.04, 0.08)
    assert row["difference"] == pytest.approx(0.04)
    assert row["low"] < row["difference"] < row["high"]


def test_the_family_tells_the_gate(harder):
    one, frame, model, family = harder
    verdict = family.judge(one, frame, model, model)
    assert any(reason.startswith("False rejects: 10.0 % at most are promised") for reason in verdict.reasons)
    free = one.model_copy(update={"reject": None})
    assert not any("False rejects" in reason for reason in family.judge(free, frame, None, model).reasons)
