"""The fast way to explain small boosted trees says what LightGBM says itself."""

import runpy
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from baton.families import shapley

TREES = runpy.run_path(str(Path(__file__).with_name("test_trees.py")))
table, booster, from_the_first_row = (TREES[name] for name in ("table", "booster", "from_the_first_row"))


@pytest.fixture(autouse=True)
def explained_from_the_first_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapley, "ROWS", 1)


def agree(model: lightgbm.Booster, matrix: np.ndarray) -> None:
    said = model.predict(matrix, pred_contrib=True, num_threads=1)
    found = shapley.contributions(model, matrix)
    np.testing.assert_allclose(found, said[:, :-1], rtol=0, atol=1e-9)
    whole = found.sum(axis=1) + said[:, -1]
    np.testing.assert_allclose(whole, model.predict(matrix, raw_score=True, num_threads=1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("leaves", [2, 3, 5, 8, 9])
@pytest.mark.parametrize("nulls", [0.0, 0.2])
def test_a_boosters_shares_are_its_own(leaves: int, nulls: float) -> None:
    model = booster(num_leaves=leaves, nulls=nulls)
    assert shapley.shares(model.dump_model()) is not None
    for rows in (1, 15, 16, 130):
        agree(model, table(np.random.default_rng(rows), rows, nulls))


def test_shares_hold_on_thresholds_zeros_and_nulls_and_where_a_way_asks_a_feature_twice() -> None:
    for nulls in (0.0, 0.2):
        model = booster(num_leaves=9, nulls=nulls, bagging_fraction=0.6, bagging_freq=1)
        tables = shapley.shares(model.dump_model())
        assert tables is not None
        edges = np.concatenate([one.thresholds for one in tables.splits])
        around = np.concatenate([edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf), [0.0, -0.0, np.nan]])
        agree(model, np.repeat(around[:, None], 6, axis=1))


def test_a_tree_without_any_split_has_nothing_to_share() -> None:
    model = booster(min_data_in_leaf=1500)
    assert not shapley.contributions(model, table(np.random.default_rng(1), 40)).any()


@pytest.mark.parametrize(
    "params",
    [
        {"num_leaves": 10},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5, "num_leaves": 4},
        {"zero_as_missing": True, "num_leaves": 4},
        {"categories": (4,), "num_leaves": 4},
    ],
)
def test_what_the_tables_cannot_say_is_left_to_the_booster(params: dict[str, object]) -> None:
    model = booster(**params)
    assert shapley.shares(model.dump_model()) is None
    matrix = table(np.random.default_rng(1), 40)
    assert shapley.contributions(model, matrix).tolist() == model.predict(matrix, pred_contrib=True)[:, :-1].tolist()


def test_tables_are_made_once_for_a_booster_and_few_rows_are_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = booster(num_leaves=4), []
    dump = lightgbm.Booster.dump_model
    monkeypatch.setattr(lightgbm.Booster, "dump_model", lambda self: made.append(1) or dump(self))
    matrix = table(np.random.default_rng(1), 40)
    agree(model, matrix)
    agree(model, matrix)
    assert len(made) == 1
    monkeypatch.setattr(shapley, "ROWS", 41)
    assert shapley.contributions(model, matrix).tolist() == model.predict(matrix, pred_contrib=True)[:, :-1].tolist()
