"""The fast way to score forests says what LightGBM and scikit-learn say themselves."""

import lightgbm
import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from baton.families import trees


def table(rng: np.random.Generator, rows: int, nulls: float = 0.0) -> np.ndarray:
    """Numbers of few and of many values, zeros among them."""
    matrix = np.column_stack(
        [rng.normal(size=(rows, 3)), rng.integers(-2, 3, rows), rng.integers(0, 5, rows), rng.exponential(9, rows)]
    )
    matrix[rng.random(matrix.shape) < nulls] = np.nan
    return matrix


def booster(seed: int = 3, nulls: float = 0.0, categories: tuple[int, ...] = (), **params: object) -> lightgbm.Booster:
    rng = np.random.default_rng(seed)
    matrix = table(rng, 2000, nulls)
    y = (np.nan_to_num(matrix).sum(axis=1) + rng.normal(size=2000) > 9).astype(int)
    given = {"objective": "binary", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5, **params}
    return lightgbm.train(given, lightgbm.Dataset(matrix, y, categorical_feature=list(categories)), 12)


@pytest.fixture(autouse=True)
def from_the_first_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "ROWS", 1)
    monkeypatch.setattr(trees, "_BINNED", 64)
    monkeypatch.setattr(trees, "_JUDGED", 16)


def agree(model: lightgbm.Booster, matrix: np.ndarray) -> None:
    np.testing.assert_allclose(trees.boosted(model, matrix), model.predict(matrix, num_threads=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("leaves", [2, 8, 9, 16, 31, 33, 64])
@pytest.mark.parametrize("nulls", [0.0, 0.2])
def test_tables_of_a_booster_say_what_the_booster_says(leaves: int, nulls: float) -> None:
    model = booster(num_leaves=leaves, nulls=nulls)
    assert trees._bits(model.dump_model())[0] is not None
    for rows in (1, 15, 16, 130):
        agree(model, table(np.random.default_rng(rows), rows, nulls))


def test_a_value_on_a_threshold_a_zero_and_a_null_go_where_the_booster_sends_them() -> None:
    for nulls in (0.0, 0.2):
        model = booster(num_leaves=16, nulls=nulls)
        edges = np.concatenate([feature.thresholds for feature in trees._bits(model.dump_model())[0].features])
        around = np.concatenate([edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf), [0.0, -0.0, np.nan]])
        agree(model, np.repeat(around[:, None], 6, axis=1))


def test_a_model_without_any_split_is_scored_too() -> None:
    agree(booster(min_data_in_leaf=1500), table(np.random.default_rng(1), 40))


def test_another_slope_of_the_link_is_kept() -> None:
    agree(booster(sigmoid=2.0), table(np.random.default_rng(1), 40))


@pytest.mark.parametrize(
    "params",
    [
        {"num_leaves": 65, "min_data_in_leaf": 2, "min_sum_hessian_in_leaf": 0},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
        {"linear_tree": True},
        {"zero_as_missing": True},
        {"categories": (4,)},
        {"objective": "cross_entropy"},
    ],
)
def test_what_the_tables_cannot_say_is_left_to_the_booster(params: dict[str, object]) -> None:
    model = booster(**params)
    assert trees._bits(model.dump_model())[0] is None
    matrix = table(np.random.default_rng(1), 40)
    assert trees.boosted(model, matrix).tolist() == model.predict(matrix, num_threads=1).tolist()


def test_few_rows_are_left_to_the_booster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "ROWS", 41)
    monkeypatch.setattr(trees, "_bits", lambda model: pytest.fail("tables for 40 rows"))
    agree(booster(), table(np.random.default_rng(1), 40))


@pytest.mark.parametrize("kind", [ExtraTreesClassifier, RandomForestClassifier])
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("least", [1, 1000])
def test_a_forest_says_what_it_says_row_by_row(kind: type, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "ROWS", least)
    rng = np.random.default_rng(5)
    matrix = table(rng, 400, 0.1)
    forest = kind(10, min_samples_leaf=3, random_state=1, class_weight="balanced")
    forest.fit(matrix, rng.integers(0, 2, 400), sample_weight=rng.random(400))
    fresh = table(rng, 130, 0.1)
    np.testing.assert_allclose(trees.positives(forest, fresh), forest.predict_proba(fresh)[:, 1], rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="infinity"):
        trees.positives(forest, np.full((1, 6), 1e300))
