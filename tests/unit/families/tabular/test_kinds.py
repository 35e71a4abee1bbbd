"""What is new: folds of kinds that nobody has seen, kinds that do not decide alone, estimators that learn what is usual."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from baton.errors import ModelError
from baton.families import load
from baton.families.base import Rows
from baton.families.tabular.encoding import FrameEncoder
from baton.families.tabular.selection import balanced, kind_folds, learner, select
from baton.specs.tabular import TabularSpec

DISTANCE = "sklearn.covariance.ShrunkCovariance"
LINEAR = "sklearn.linear_model.LogisticRegression"


def spec(kind: str = "classification", validation: dict[str, Any] | None = None, **candidate: Any) -> TabularSpec:
    one = {"name": "one", "estimator": DISTANCE, "params": {"shrinkage": 0.1}, **candidate}
    return TabularSpec.model_validate({
        "model": "toy", "family": kind, "owner": "tests", "description": "a toy",
        "data": {"entity": "id", "time": "t", "target": "y", "features": ["x*", "shop"]},
        "training": {"contract": "toy", "history": {"source": "toy"}},
        "candidates": [one], "validation": validation or {"scheme": "kinds", "kinds": "attack", "folds": 2},
    })  # fmt: skip


def rows(seed: int = 3, size: int = 600) -> pd.DataFrame:
    """Attacks of kind a are far out in x0, of kind b in x1, of kind c in the shop."""
    rng = np.random.default_rng(seed)
    kinds = np.where(rng.random(size) < 0.3, rng.choice(["a", "b", "c"], size, p=[0.6, 0.3, 0.1]), None)
    x = rng.lognormal(0, 1, (size, 2))
    x[kinds == "a", 0] *= 300
    x[kinds == "b", 1] *= 300
    shop = np.where(kinds == "c", "odd", rng.choice(["north", "south"], size))
    return pd.DataFrame(
        {"id": range(size), "t": range(size), "x0": x[:, 0], "x1": x[:, 1], "shop": shop, "attack": kinds,
         "y": (kinds != None).astype(int)}  # noqa: E711
    )  # fmt: skip


def test_a_fold_judges_kinds_that_its_training_has_none_of() -> None:
    frame = rows()
    kinds, y = frame["attack"].to_numpy(), frame["y"].to_numpy()
    folds = kind_folds(kinds, y, 3, 7)
    assert sorted(np.concatenate([judge for _, judge in folds])) == list(range(len(frame)))
    for learn, judge in folds:
        assert not set(kinds[learn][y[learn] == 1]) & set(kinds[judge][y[judge] == 1])
        assert not set(learn) & set(judge)
        assert (y[judge] == 0).sum() > 50


def test_of_fewer_kinds_than_folds_each_is_one_and_one_alone_is_refused() -> None:
    frame = rows()
    kinds, y = frame["attack"].to_numpy(), frame["y"].to_numpy()
    assert len(kind_folds(kinds, y, 9, 7)) == 3
    with pytest.raises(ModelError, match="1 kinds of positive rows"):
        kind_folds(np.where(y == 1, "same", None), y, 3, 7)


def test_positives_of_no_known_kind_are_dealt_at_random() -> None:
    y = np.array([1] * 40 + [0] * 60)
    kinds = np.array(["a"] * 10 + ["b"] * 10 + [None] * 80, dtype=object)
    parts = [len(set(judge) & set(range(20, 40))) for _, judge in kind_folds(kinds, y, 2, 7)]
    assert sum(parts) == 20
    assert min(parts) > 3


def test_kinds_weigh_as_the_root_of_their_number_and_the_sum_stays() -> None:
    kinds = np.array(["many"] * 100 + ["few"] * 4 + [None] * 50, dtype=object)
    y = np.array([1] * 104 + [0] * 50)
    weights = balanced(kinds, y, None)
    assert weights[y == 0].tolist() == [1.0] * 50
    assert weights[:104].sum() == pytest.approx(104)
    assert weights[:100].sum() / weights[100:104].sum() == pytest.approx(10 / 2)
    doubled = balanced(kinds, y, np.full(154, 2.0))
    np.testing.assert_allclose(doubled, 2 * weights)


def test_a_distance_finds_kinds_that_it_never_saw(tmp_path: Path) -> None:
    frame = rows()
    known = Rows(frame, frame["y"].to_numpy())
    one = spec(calibration="sigmoid", numbers="log")
    board = select(one, known, frame["t"].to_numpy())
    assert board.rows[0]["value"] > 0.95
    model = learner("classification").fit(one, one.candidates[0], known, 7, board.oof)
    model.save(tmp_path)
    later = rows(seed=8)
    np.testing.assert_array_equal(load(tmp_path).predict(later).probability, model.predict(later).probability)
    said = model.predict(later).probability
    assert ((said >= 0) & (said <= 1)).all()
    far = later.assign(x0=[1e9] * len(later)).iloc[:1]
    assert model.explain(far)[0][0][0] == "x0"


def test_what_a_one_class_estimator_learns_does_not_depend_on_the_positives() -> None:
    frame = rows()
    other = frame.copy()
    other.loc[other["y"] == 1, ["x0", "x1"]] = 5.0
    one = spec()
    first, second = (
        learner("classification").fit_raw(one.candidates[0], ["x0", "x1", "shop"], Rows(part, part["y"].to_numpy()), 7)
        for part in (frame, other)
    )
    np.testing.assert_array_equal(first.raw(frame), second.raw(frame))


def test_weights_of_classes_say_nothing_to_it() -> None:
    frame = rows()
    one = spec(class_weight="balanced").candidates[0]
    with pytest.raises(ModelError, match="say nothing to a one-class estimator"):
        learner("classification").fit_raw(one, ["x0"], Rows(frame, frame["y"].to_numpy()), 7)


def test_a_distance_serves_without_labels_too(tmp_path: Path) -> None:
    frame = rows()
    one = spec(kind="anomaly", validation={"scheme": "time", "folds": 2}, numbers="log")
    model = learner("anomaly").fit(one, one.candidates[0], Rows(frame), 7)
    model.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(frame).score, model.predict(frame).score)
    far = frame.iloc[:2].assign(x0=[1e9, -1e9])
    assert (model.predict(far).score > 0.99).all()


def test_logarithms_keep_sign_order_and_nulls() -> None:
    frame = pd.DataFrame({"x": [0.0, 9.0, -99.0, 1e6], "z": [1.0, np.nan, 3.0, 4.0]})
    plain = FrameEncoder.fit(frame[["x"]], ["x"], layout="ordinal", impute=False, log=True)
    np.testing.assert_allclose(plain.transform(frame)[:, 0], [0, np.log(10), -np.log(100), np.log(1e6 + 1)])
    gaps = FrameEncoder.fit(frame, ["x", "z"], layout="onehot", impute=True, log=True)
    again = FrameEncoder.from_json(gaps.to_json())
    np.testing.assert_array_equal(again.transform(frame), gaps.transform(frame))
    assert gaps.transform(frame)[1, 1] == pytest.approx(np.log(4))  # the median of 1, 3 and 4, as a logarithm


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"validation": {"scheme": "kinds"}}, "kinds: name the column"),
        ({"validation": {"kinds": "attack"}}, "kinds: name the column"),
        ({"validation": {"scheme": "kinds", "kinds": "attack", "folds": 1}}, "at least 2"),
        ({"validation": {"scheme": "kinds", "kinds": "shop", "folds": 2}}, "`shop` says what the label says"),
    ],
)
def test_what_does_not_go_together_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        spec(**change)


def test_linear_models_take_logarithms() -> None:
    frame = rows()
    one = spec(estimator=LINEAR, params={}, numbers="log")
    board = select(one, Rows(frame, frame["y"].to_numpy()), frame["t"].to_numpy())
    assert 0 <= board.rows[0]["value"] <= 1
