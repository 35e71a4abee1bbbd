"""The drift statistics: what is found, what is left alone, and every shape that a column can take."""

from __future__ import annotations

import json
from functools import reduce
from itertools import pairwise
from operator import add
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from baton.drift import compare as drift
from baton.drift.report import report_html
from baton.drift.table import DriftRow
from baton.errors import BatonError

SPEC = SimpleNamespace(min_rows=500, p_value=0.001, effect=0.2, fdr=0.01)


def normal(rows: int, columns: int = 6, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(rng.normal(size=(rows, columns)), columns=[f"x{i}" for i in range(columns)])


def judged(before: pd.Series | list, after: pd.Series | list) -> DriftRow:
    ref = drift.reference(pd.DataFrame({"x": before}), ["x"])
    table = drift.compare(json.loads(json.dumps(ref)), pd.DataFrame({"x": after}), SPEC)
    return table.rows[0]


@pytest.mark.parametrize("rows", [2_000, 10_000, 100_000])
def test_effect_does_not_depend_on_the_number_of_rows(rows: int) -> None:
    train = normal(50_000)
    window = normal(rows, seed=1)
    window["x2"] += 0.3
    window["x4"] *= 1.3
    table = drift.compare(drift.reference(train, list(train)), window, SPEC)
    effects = {row.feature: row.effect for row in table.rows}
    assert set(table.drifted) == {"x2", "x4"}
    assert effects["x2"] == pytest.approx(0.30, abs=0.05)
    assert effects["x4"] == pytest.approx(0.33, abs=0.05)
    assert max(value for name, value in effects.items() if name not in ("x2", "x4")) < 0.12


@pytest.mark.parametrize("seed", range(20))
def test_counts_of_parts_add_up_to_those_of_all_rows_however_these_are_cut(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = 3_000

    def some(shift: float) -> pd.DataFrame:
        frame = normal(rows, 2, int(rng.integers(1 << 30))) + shift
        frame.loc[rng.random(rows) < 0.1, "x0"] = rng.choice([np.nan, np.inf, -np.inf])
        whole = pd.Series(rng.integers(0, 9, rows)).astype(object).where(rng.random(rows) < 0.8)
        kinds = pd.Series(rng.choice(list("abcdefg"), rows)).where(rng.random(rows) < 0.9)
        return frame.assign(whole=whole, kind=kinds, flag=rng.random(rows) < 0.3)

    train, window, said = some(0.0), some(0.4), rng.random(rows)
    ref = json.loads(json.dumps(drift.reference(train, list(train), rng.random(rows))))
    edges = [0, *np.sort(rng.integers(0, rows, 5)).tolist(), rows]
    counts = [drift.count(ref, window[a:b], said[a:b]) for a, b in pairwise(edges)]
    rng.shuffle(counts)
    assert drift.judged(ref, reduce(add, counts), SPEC) == drift.compare(ref, window, SPEC, said)


def test_shift_and_spread_say_how_it_moved() -> None:
    train, window = normal(50_000), normal(50_000, seed=1)
    window["x0"] -= 0.5
    window["x1"] *= 1.3
    rows = {row.feature: row for row in drift.compare(drift.reference(train, list(train)), window, SPEC).rows}
    assert rows["x0"].shift == pytest.approx(-0.5, abs=0.05)
    assert rows["x1"].spread is not None
    assert rows["x1"].spread > 1.15
    assert "-0.4" in rows["x0"].sentence() or "-0.5" in rows["x0"].sentence()


@pytest.mark.parametrize(
    ("limit", "value", "met"), [("fdr", "q_value", True), ("p_value", "p_value", True), ("effect", "effect", False)]
)
def test_each_condition_of_drift_alone_decides_at_its_limit(limit: str, value: str, met: bool) -> None:
    """q <= fdr, p <= p_value, effect > threshold: at the very value, and a hair beside it."""
    train, window = normal(20_000), normal(1_000, seed=1)
    window["x0"] += 0.3
    window["x1"] += 0.25  # so that q is not p
    ref = drift.reference(train, list(train))

    def row(**limits: float) -> DriftRow:
        spec = SimpleNamespace(**{"min_rows": 500, "p_value": 1.0, "effect": 0.0, "fdr": 1.0, **limits})
        return next(one for one in drift.compare(ref, window, spec).rows if one.feature == "x1")

    assert row().drifted
    exact = getattr(row(), value)
    assert 0 < exact < 1
    assert row(**{limit: exact}).drifted is met
    assert row(**{limit: float(np.nextafter(exact, 0 if met else 1))}).drifted is False
    assert row(**{limit: float(np.nextafter(exact, 1 if met else 0))}).drifted is True


def test_null_windows_are_left_alone() -> None:
    train = normal(20_000, 20)
    ref = drift.reference(train, list(train))
    flagged = sum(bool(drift.compare(ref, normal(1_000, 20, seed), SPEC).drifted) for seed in range(1, 101))
    assert flagged <= 1


def test_a_monotone_transformation_and_heavy_tails_change_nothing() -> None:
    train, window = normal(30_000, 1), normal(8_000, 1, seed=3)
    window += 0.4
    plain = judged(train["x0"], window["x0"])
    skewed = judged(np.exp(4 * train["x0"]), np.exp(4 * window["x0"]))
    assert skewed.effect == pytest.approx(plain.effect, abs=1e-9)
    rng = np.random.default_rng(0)
    assert not judged(rng.standard_cauchy(30_000), rng.standard_cauchy(5_000)).drifted


def test_ties_have_a_bin_of_their_own() -> None:
    rng = np.random.default_rng(0)
    amounts = np.where(rng.random(20_000) < 0.6, 0.0, rng.gamma(2.0, size=20_000))
    window = np.where(rng.random(5_000) < 0.35, 0.0, rng.gamma(2.0, size=5_000))
    assert judged(amounts, window).drifted
    assert not judged(amounts, amounts[:5_000]).drifted
    nudged = np.where(amounts == 0, 1e-12, amounts)  # the atom moves by less than any bin is wide
    assert judged(amounts, nudged).drifted


@pytest.mark.parametrize(("after", "drifted"), [(3.0, False), (2.9, True), (3.1, True), (np.nan, True)])
def test_constant(after: float, drifted: bool) -> None:
    assert judged([3.0] * 2_000, [after] * 1_000).drifted is drifted


@pytest.mark.parametrize("value", [np.nan, None])
def test_all_null_stays_all_null(value: object) -> None:
    assert not judged([value] * 2_000, [value] * 1_000).drifted


def test_nulls_appear() -> None:
    values = normal(20_000, 1)["x0"]
    window = values.iloc[:2_000].copy()
    window.iloc[::5] = np.nan
    row = judged(values, window)
    assert row.drifted
    assert row.nulls == pytest.approx(0.2)


def test_infinities_are_far_out_and_no_error() -> None:
    values = normal(20_000, 1)["x0"]
    values.iloc[:10] = np.inf
    window = values.copy()
    window.iloc[::3] = -np.inf
    assert judged(values, window).drifted
    assert not judged(values, values).drifted


def test_categories_new_rare_and_null() -> None:
    rng = np.random.default_rng(0)
    names = pd.Series(rng.choice(["a", "b", "c"], p=[0.6, 0.3, 0.1], size=20_000))
    names.iloc[:30] = [f"rare{i}" for i in range(30)]
    same = judged(names, names.sample(3_000, random_state=1))
    assert not same.drifted
    assert same.new_levels == 0.0
    window = names.sample(3_000, random_state=1).copy()
    window.iloc[::8] = "brand new"
    new = judged(names, window)
    assert new.drifted
    assert new.new_levels == pytest.approx(0.125, abs=0.01)
    one = names.sample(3_000, random_state=1).copy()
    one.iloc[0] = "one stranger"
    assert not judged(names, one).drifted
    missing = names.sample(3_000, random_state=1).astype("category").mask(np.arange(3_000) % 5 == 0)
    assert judged(names, missing).drifted


def test_booleans_and_nullable_integers() -> None:
    rng = np.random.default_rng(0)
    assert judged(rng.random(9_000) < 0.2, rng.random(3_000) < 0.5).drifted
    whole = pd.Series(rng.poisson(3, 9_000)).astype("Int64")
    assert not judged(whole, whole.sample(3_000, random_state=0)).drifted
    assert judged(whole, (whole + 1).mask(np.arange(9_000) % 50 == 0)).drifted


def test_a_small_window_is_not_judged() -> None:
    train = normal(20_000)
    table = drift.compare(drift.reference(train, list(train)), normal(499) + 9, SPEC)
    assert table.too_few
    assert table.drifted == []
    empty = drift.compare(drift.reference(train, list(train)), normal(0), SPEC)
    assert empty.too_few


def test_ordinary_movement_by_the_hour_is_no_drift_but_a_shift_is() -> None:
    def hour(at: int, seed: int) -> pd.DataFrame:
        frame = normal(2_000, 4, seed)
        frame["x0"] += 2.0 * np.sin(at / 24 * 2 * np.pi)
        frame["at"] = at
        return frame

    train = pd.concat([hour(at, at) for at in range(48)], ignore_index=True)
    ref = drift.reference(train, ["x0", "x1", "x2", "x3"], windows="at")
    quiet = [drift.compare(ref, hour(at, 100 + at), SPEC).drifted for at in range(24)]
    assert not any(quiet)
    moved = hour(6, 200)
    moved["x1"] += 0.5
    assert drift.compare(ref, moved, SPEC).drifted == ["x1"]
    pooled = drift.reference(train, ["x0", "x1", "x2", "x3"])
    assert drift.compare(pooled, hour(6, 106), SPEC).drifted == ["x0"]  # what the sub-windows are for


def test_sub_windows_are_joined_until_they_are_large_enough() -> None:
    frame = normal(5_000)
    keys = np.repeat(np.arange(50), 100)
    ref = drift.reference(frame, ["x0"], windows=keys, min_rows=500)
    sizes = np.sum(ref["features"]["x0"]["counts"], axis=1)
    assert ref["windows"] == [str(i) for i in range(0, 50, 5)]
    assert sizes.min() >= 500
    assert sizes.sum() == 5_000


def test_of_very_many_sub_windows_64_evenly_spaced_ones_are_kept_the_first_and_the_last_among_them() -> None:
    ref = drift.reference(normal(650, 1), ["x0"], windows=np.repeat(np.arange(65), 10), min_rows=10)
    assert len(ref["windows"]) == 64
    assert (ref["windows"][0], ref["windows"][-1]) == ("0", "64")


def test_three_sub_windows_of_training_are_named_as_most_alike() -> None:
    ref = drift.reference(normal(6_000, 1), ["x0"], windows=np.repeat(np.arange(6), 1_000))
    assert len(drift.compare(ref, normal(1_000, 1, seed=1), SPEC).alike) == 3


def test_the_statistic_is_the_likelihood_ratio_also_where_a_bin_holds_one_row() -> None:
    before, after = ["a"] * 600 + ["b"] * 399 + ["c"] * 40, ["a"] * 500 + ["b"] * 299 + ["c"]
    row = judged(before, after)
    expected = stats.chi2_contingency([[600, 399, 40], [500, 299, 1]], correction=False, lambda_="log-likelihood")
    assert row.statistic == pytest.approx(expected.statistic)
    assert row.p_value == pytest.approx(expected.pvalue)


def test_a_row_says_in_words_all_that_moved() -> None:
    sure = {"psi": 0.1, "statistic": 9.0, "p_value": 0.0, "q_value": 0.0, "drifted": True}
    number = DriftRow("amount", "number", 0.31, 0.2, shift=0.5, spread=1.3, nulls=0.25, new_levels=0.0, **sure)
    assert number.sentence() == (
        "amount: effect 0.31, ordinary up to 0.20, moved by +0.50 sd, spread x 1.30, 25.0% null"
    )
    level = DriftRow("country", "category", 0.4, 0.2, shift=None, spread=None, nulls=0.0, new_levels=0.125, **sure)
    assert level.sentence() == "country: effect 0.40, ordinary up to 0.20, 12.5% new values"


def test_predictions_are_compared_like_a_feature() -> None:
    train, window = normal(20_000), normal(3_000, seed=1)
    rng = np.random.default_rng(0)
    scores, later = rng.beta(1, 50, 20_000), rng.beta(2, 50, 3_000)
    scores[:10_000] = np.nan  # rows that the model was fitted on
    ref = drift.reference(train, list(train), scores)
    assert drift.compare(ref, window, SPEC, later).drifted == [drift.PREDICTION]
    assert drift.compare(ref, window, SPEC, rng.beta(1, 50, 3_000)).drifted == []
    assert drift.PREDICTION not in [row.feature for row in drift.compare(ref, window, SPEC).rows]
    with pytest.raises(BatonError, match="2 scores for 3000 rows"):
        drift.compare(ref, window, SPEC, [0.1, 0.2])


def test_errors_name_the_column() -> None:
    train = normal(1_000)
    ref = drift.reference(train, list(train))
    with pytest.raises(BatonError, match="'x3' is not in the frame"):
        drift.compare(ref, train.drop(columns="x3"), SPEC)
    with pytest.raises(BatonError, match="'x1' holds text"):
        drift.compare(ref, train.assign(x1="much"), SPEC)
    with pytest.raises(BatonError, match="timestamp"):
        drift.reference(train.assign(t=pd.Timestamp("2026-01-01")), ["t"])
    with pytest.raises(BatonError, match="no rows"):
        drift.reference(train.head(0), list(train))
    with pytest.raises(BatonError, match="no window"):
        drift.reference(train, list(train), windows=[None] * 1_000)


def test_reference_and_table_survive_json() -> None:
    train, window = normal(5_000), normal(2_000, seed=1) + 1
    ref = drift.reference(train, list(train), windows=np.arange(5_000) // 1_000)
    table = drift.compare(json.loads(json.dumps(ref)), window, SPEC)
    assert json.loads(json.dumps(table.to_dict(), allow_nan=False)) == table.to_dict()


def test_report_is_small_and_calls_no_foreign_host() -> None:
    train = normal(5_000, 200)
    names = {f"x{i}": f"<script>{i}" for i in range(200)}
    train = train.rename(columns=names)
    window = normal(2_000, 200, seed=1).rename(columns=names) + 1
    table = drift.compare(drift.reference(train, list(train)), window, SPEC)
    page = report_html(table, model="card_fraud", partition="2026-11-20T09:00:00", version=3)
    assert len(page.encode()) < 300_000
    assert "http" not in page
    assert "<script" not in page
    assert "200 of 200 features moved" in page
    assert page.index("<h2>What moved</h2>") < page.index("<h2>Shares per bin</h2>")
