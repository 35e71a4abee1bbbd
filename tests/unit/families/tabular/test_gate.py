"""The gate: what is promoted is better and not dearer, ties keep the champion, doubt asks for data, nonsense is held."""

import json
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from baton.errors import BatonError
from baton.families.tabular.bootstrap import compare
from baton.families.tabular.gate import decide
from baton.families.tabular.metrics import METRICS, cheapest, cost_at, thresholds_elsewhere
from baton.specs.policy import GateSpec

PLAIN: dict[str, Any] = {"resamples": 100, "min_positives": 10, "floor": 0.1}
PRICED = PLAIN | {"cost": {"missed": "amount", "review": 5.0}}


def gate(**fields: Any) -> GateSpec:
    return GateSpec.model_validate(PLAIN | fields)


def holdout(n: int = 2000, positives: int = 100, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and for each row noise to build scores from."""
    rng = np.random.default_rng(seed)
    y = np.zeros(n, dtype=int)
    y[rng.choice(n, positives, replace=False)] = 1
    return y, rng.normal(size=n)


def scores(y: np.ndarray, noise: np.ndarray, skill: float) -> np.ndarray:
    return 1 / (1 + np.exp(-(skill * y + noise)))


Y, NOISE = holdout()
GOOD, BAD = scores(Y, NOISE, 3.0), scores(Y, NOISE[::-1], 1.5)
MONEY = np.random.default_rng(5).exponential(80, len(Y))


def test_a_clearly_better_challenger_is_promoted_and_the_reverse_held() -> None:
    assert decide(gate(), Y, BAD, GOOD).decision == "PROMOTE"
    assert decide(gate(), Y, GOOD, BAD).decision == "HOLD"
    verdict = decide(GateSpec.model_validate(PRICED), Y, BAD, GOOD, MONEY)
    assert verdict.decision == "PROMOTE"
    assert [row["metric"] for row in verdict.table] == ["average_precision", "cost", "roc_auc"]
    assert verdict.cost["challenger"]["total"] < verdict.cost["champion"]["total"]
    row = next(row for row in verdict.table if row["metric"] == "cost")
    (words,) = [note for note in verdict.reasons if note.startswith("The challenger costs")]
    assert words.endswith(f"interval of the difference {row['low']:+.2f} to {row['high']:+.2f}).")
    json.dumps(verdict.to_dict(), allow_nan=False)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), skill=st.floats(0.0, 5.0), squeeze=st.floats(0.1, 10.0))
def test_a_challenger_that_ranks_alike_never_replaces_the_champion(seed: int, skill: float, squeeze: float) -> None:
    y, noise = holdout(400, 40, seed)
    champion = scores(y, noise, skill)
    assert decide(gate(floor=0.0), y, champion, champion).decision == "HOLD"
    assert decide(gate(floor=0.0), y, champion, champion**squeeze).decision == "HOLD"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), a=st.floats(0.0, 4.0), b=st.floats(0.0, 4.0))
def test_never_both_ways(seed: int, a: float, b: float) -> None:
    y, noise = holdout(400, 40, seed)
    one, two = scores(y, noise, a), scores(y, noise[::-1], b)
    money = np.abs(noise) * 100
    spec = GateSpec.model_validate(PRICED)
    verdicts = {decide(spec, y, one, two, money).decision, decide(spec, y, two, one, money).decision}
    assert verdicts != {"PROMOTE"}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), a=st.floats(0.0, 4.0), b=st.floats(0.0, 4.0))
def test_what_is_promoted_is_better_and_not_dearer(seed: int, a: float, b: float) -> None:
    y, noise = holdout(400, 40, seed)
    champion, challenger = scores(y, noise, a), scores(y, noise[::-1], b)
    verdict = decide(GateSpec.model_validate(PRICED), y, champion, challenger, np.abs(noise) * 100)
    if verdict.decision == "PROMOTE":
        row = verdict.table[0]
        assert row["difference"] > 0
        assert row["low"] >= 0
        assert row["challenger"] >= 0.1
        assert verdict.cost["challenger"]["total"] <= verdict.cost["champion"]["total"]


def test_better_ranking_that_costs_more_is_held() -> None:
    # the challenger finds many small frauds and loses the large ones
    y = np.zeros(1000, dtype=int)
    y[:40] = 1
    money = np.where(np.arange(1000) < 30, 6.0, 5000.0)
    noise = np.random.default_rng(2).random(1000) * 0.4
    challenger = np.where(np.arange(1000) < 30, 0.9, noise)
    champion = np.where((np.arange(1000) >= 30) & (y == 1), 0.9, noise)
    verdict = decide(GateSpec.model_validate(PRICED), y, champion, challenger, money)
    assert verdict.decision == "HOLD"
    assert verdict.reasons[0].startswith("The challenger costs more: ")


def test_looking_better_without_proof_asks_for_data() -> None:
    y, noise = holdout(2000, 12, 3)
    rng = np.random.default_rng(1)
    champion = scores(y, noise, 2.0)
    found = [decide(gate(), y, champion, scores(y, noise + 0.3 * rng.normal(size=2000), 2.1)) for _ in range(20)]
    doubtful = [v for v in found if v.decision == "MORE_DATA"]
    assert doubtful
    assert all("do not show it" in v.reasons[0] for v in doubtful)


def test_few_positives_or_no_negatives_ask_for_data() -> None:
    y, noise = holdout(500, 9)
    verdict = decide(gate(), y, None, scores(y, noise, 5.0))
    assert (verdict.decision, verdict.positives) == ("MORE_DATA", 9)
    assert "9 positives and 491 negatives" in verdict.reasons[0]
    assert decide(gate(min_positives=9), y, None, scores(y, noise, 5.0)).decision == "PROMOTE"
    assert decide(gate(), np.ones(50, dtype=int), None, noise[:50]).decision == "MORE_DATA"
    assert decide(gate(), np.array([], dtype=int), None, np.array([])).decision == "MORE_DATA"


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_held(broken: float) -> None:
    holes = GOOD.copy()
    holes[7] = broken
    assert "1 of 2000 scores are not finite" in decide(gate(), Y, BAD, holes).reasons[0]
    assert decide(gate(), Y, BAD, holes).decision == "HOLD"
    verdict = decide(gate(), Y, holes, GOOD)
    assert verdict.decision == "HOLD"
    assert "champion cannot be compared" in verdict.reasons[0]


def test_constant_scores_are_held_and_a_constant_champion_is_beaten() -> None:
    flat = np.full(len(Y), 0.3)
    assert "all 2000 scores equal 0.3" in decide(gate(), Y, BAD, flat).reasons[0]
    assert decide(gate(), Y, flat, GOOD).decision == "PROMOTE"


def test_the_floor_is_reached_by_equality_only_from_above() -> None:
    value = average_precision_score(Y, GOOD)
    assert decide(gate(floor=float(value)), Y, None, GOOD).decision == "PROMOTE"
    verdict = decide(gate(floor=float(np.nextafter(value, 1))), Y, None, GOOD)
    assert verdict.decision == "HOLD"
    assert "below the floor" in verdict.reasons[0]
    assert decide(gate(floor=0.99), Y, BAD, GOOD).decision == "HOLD"


def test_a_first_version_must_be_worth_having() -> None:
    useful = decide(GateSpec.model_validate(PRICED), Y, None, GOOD, MONEY)
    assert useful.decision == "PROMOTE"
    worthless = decide(GateSpec.model_validate(PRICED | {"cost": {"missed": 1.0, "review": 5.0}}), Y, None, GOOD)
    assert worthless.decision == "HOLD"
    assert "no less than needing no model" in worthless.reasons[0]
    assert worthless.to_dict()["thresholds"]["challenger"] is None  # alert nobody


def test_min_gain_is_what_the_lower_end_must_reach() -> None:
    low = decide(gate(), Y, BAD, GOOD).table[0]["low"]
    assert decide(gate(min_gain=low), Y, BAD, GOOD).decision == "PROMOTE"
    assert decide(gate(min_gain=low + 1e-6), Y, BAD, GOOD).decision == "MORE_DATA"
    assert decide(gate(min_gain=0.95), Y, BAD, GOOD).decision == "HOLD"


def test_a_slice_that_gets_clearly_worse_holds_the_challenger() -> None:
    y, noise = holdout(4000, 400)
    column = np.where(np.arange(4000) < 800, 5.0, 50.0)
    champion = scores(y, noise, 2.0)
    challenger = np.where(column < 10, scores(y, noise[::-1], 0.5), scores(y, noise, 4.0))
    frame = pd.DataFrame({"amount": column})
    sliced = {"slices": [{"name": "amount", "column": "amount", "bins": [0.0, 10.0, 50.0, 100.0]}]}
    assert decide(gate(), y, champion, challenger).decision == "PROMOTE"
    verdict = decide(gate(**sliced), y, champion, challenger, slices=frame)
    assert verdict.decision == "HOLD"
    assert "slice amount 0 to 10" in verdict.reasons[0]
    # the left edge belongs in, the right one does not
    assert [row["rows"] for row in verdict.slices] == [800, 0, 3200]
    assert [row["judged"] for row in verdict.slices] == [True, False, True]
    assert decide(gate(**sliced, slice_floor=1.0), y, champion, challenger, slices=frame).decision == "PROMOTE"
    with pytest.raises(BatonError, match="needs the column 'amount'"):
        decide(gate(**sliced), y, champion, challenger)


def test_a_slice_with_few_positives_is_listed_not_judged() -> None:
    column = np.where(Y == 1, 50.0, np.where(NOISE > 0, 5.0, 50.0))
    column[np.flatnonzero(Y == 1)[:3]] = 5.0
    spec = gate(slices=[{"name": "amount", "column": "amount", "bins": [0.0, 10.0]}])
    verdict = decide(spec, Y, BAD, GOOD, slices=pd.DataFrame({"amount": column}))
    assert verdict.decision == "PROMOTE"
    assert (verdict.slices[0]["positives"], verdict.slices[0]["judged"]) == (3, False)


def test_the_cost_is_that_of_thresholds_chosen_on_other_rows() -> None:
    spec = GateSpec.model_validate(PRICED)
    verdict = decide(spec, Y, BAD, GOOD, MONEY)
    assert not any("chosen on the judged rows" in reason for reason in verdict.reasons)
    for name, score in (("champion", BAD), ("challenger", GOOD)):
        best = cheapest(Y, score, MONEY, 5.0)
        assert verdict.thresholds[name] == best.threshold
        assert verdict.cost[name]["total"] >= best.total
    row = next(row for row in verdict.table if row["metric"] == "cost")
    assert (row["champion"], row["challenger"]) == tuple(verdict.cost[n]["total"] for n in ("champion", "challenger"))


def test_noise_saves_no_money() -> None:
    """To alert nobody costs 10,000, and so does it to alert everybody."""
    spec = GateSpec.model_validate(PLAIN | {"floor": 0.0, "cost": {"missed": 100.0, "review": 5.0}})
    cases = [holdout(seed=seed) for seed in range(40)]
    flattered = [cheapest(y, noise, np.full(2000, 100.0), 5.0).total for y, noise in cases]
    verdicts = [decide(spec, y, None, noise) for y, noise in cases]
    assert max(flattered) < 10_000
    assert np.mean(flattered) < 9_500
    assert np.mean([verdict.cost["challenger"]["total"] for verdict in verdicts]) == pytest.approx(10_000, rel=0.01)
    assert any("no less than needing no model at all" in verdict.reasons[0] for verdict in verdicts)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), positives=st.integers(1, 40))
def test_no_row_has_a_part_in_its_own_threshold(seed: int, positives: int) -> None:
    y, noise = holdout(300, positives, seed)
    loss, score = np.abs(noise) * 50, scores(y, noise, 1.0)
    found = thresholds_elsewhere(y, score, loss, 5.0, seed)
    row = seed % 300
    changed = np.where(np.arange(300) == row, 1 - score, score), np.where(np.arange(300) == row, 1e6, loss)
    again = thresholds_elsewhere(y, *changed, 5.0, seed)
    assert again[row] == found[row]


def test_shapes_and_labels_are_checked() -> None:
    with pytest.raises(BatonError, match="champion scores"):
        decide(gate(), Y, BAD[:5], GOOD)
    with pytest.raises(BatonError, match="labels must be"):
        decide(gate(), np.where(Y == 1, np.nan, 0.0), None, GOOD)
    with pytest.raises(BatonError, match="no amounts"):
        decide(GateSpec.model_validate(PRICED), Y, None, GOOD)


def test_the_same_seed_gives_the_same_verdict() -> None:
    assert decide(gate(), Y, BAD, GOOD, seed=3) == decide(gate(), Y, BAD, GOOD, seed=3)


pairs = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=40)


@settings(max_examples=80, deadline=None)
@given(rows=pairs, seed=st.integers(0, 100))
def test_each_resample_is_exact(rows: list[tuple[int, int, int]], seed: int) -> None:
    """Figures from counts of cells equal figures of the rows themselves."""
    y = np.array([0, 1, *[row[0] for row in rows]])
    score = np.array([3, 3, *[row[1] for row in rows]]) / 6
    # every row once is one possible resample: the figures of counts of one must be those of the rows
    every = SimpleNamespace(
        integers=lambda low, high, size, dtype: np.tile(np.arange(low, high), (size[0], 1)),
        multinomial=lambda total, shares, size: np.tile(np.rint(total * shares).astype(int), (size, 1)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np.random, "default_rng", lambda seed: every)
        figures = compare(y, score, resamples=1, confidence=1.0).challenger_interval
    assert figures["average_precision"] == pytest.approx((average_precision_score(y, score),) * 2)
    assert figures["roc_auc"] == pytest.approx((roc_auc_score(y, score),) * 2)
    drawn = compare(y, score, resamples=20, confidence=1.0, seed=seed).challenger_interval
    assert all(0 <= low <= high <= 1 + 1e-12 for low, high in drawn.values())


def test_intervals_agree_with_a_plain_bootstrap() -> None:
    flags, loss = {"challenger": 0.8, "champion": 0.8}, MONEY
    found = compare(Y, GOOD, BAD, thresholds=flags, loss=loss, review=5.0, resamples=2000, confidence=0.9, seed=1)
    rng, positives, negatives = np.random.default_rng(2), np.flatnonzero(Y == 1), np.flatnonzero(Y == 0)
    plain: dict[str, list[float]] = {"average_precision": [], "roc_auc": [], "cost": []}
    for _ in range(600):
        at = np.concatenate([rng.choice(positives, len(positives)), rng.choice(negatives, len(negatives))])
        for metric, function in METRICS.items():
            plain[metric].append(function(Y[at], GOOD[at]) - function(Y[at], BAD[at]))
        prices = [cost_at(Y[at], score[at], loss[at], 5.0, 0.8).total for score in (GOOD, BAD)]
        plain["cost"].append(prices[0] - prices[1])
    for name, values in plain.items():
        low, high = np.quantile(values, [0.05, 0.95])
        tolerance = 0.15 * (high - low)
        assert found.interval[name] == pytest.approx((low, high), abs=tolerance)


@pytest.mark.parametrize("positives", [80, 20_000])
def test_forty_thousand_rows_are_judged_within_seconds(positives: int) -> None:
    y, noise = holdout(40_000, positives)
    started = time.process_time()
    spec = GateSpec.model_validate(PRICED | {"resamples": 500})
    decide(spec, y, scores(y, noise[::-1], 2.0), scores(y, noise, 3.0), np.abs(noise) * 50)
    assert time.process_time() - started < 8  # about 0.3 s for rare, 3 s for even classes, on a quiet machine
