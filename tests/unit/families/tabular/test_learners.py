"""Families: what is saved is what scores, probabilities keep the order, nothing foreign is opened, errors name columns."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor

from baton.errors import ModelError
from baton.families import family, load
from baton.families.base import Rows
from baton.families.tabular.anomaly import QuantileTable
from baton.families.tabular.calibration import Calibration, expit, logit, undo_sampling
from baton.families.tabular.selection import learner, select
from baton.specs.tabular import TabularSpec

LINEAR = "sklearn.linear_model.LogisticRegression"
FOREST = "sklearn.ensemble.RandomForestClassifier"
EXTRA = "sklearn.ensemble.ExtraTreesClassifier"
HISTOGRAM = "sklearn.ensemble.HistGradientBoostingClassifier"
BOOSTING = "lightgbm.LGBMClassifier"
ISOLATION = "sklearn.ensemble.IsolationForest"
PCA = "sklearn.decomposition.PCA"
SMALL: dict[str, dict[str, Any]] = {
    LINEAR: {}, FOREST: {"n_estimators": 10, "min_samples_leaf": 5}, EXTRA: {"n_estimators": 10, "min_samples_leaf": 5},
    HISTOGRAM: {"max_iter": 10},
    BOOSTING: {"n_estimators": 20, "num_leaves": 7}, ISOLATION: {"n_estimators": 20}, PCA: {"n_components": 2},
}  # fmt: skip


def spec(*candidates: dict[str, Any], kind: str = "classification", **validation: Any) -> TabularSpec:
    return TabularSpec.model_validate({
        "model": "toy", "family": kind, "owner": "tests", "description": "a toy",
        "data": {"entity": "id", "time": "t", "target": "y", "features": ["x*", "shop"], "money": "amount"},
        "training": {"contract": "toy", "history": {"source": "toy"}},
        "candidates": list(candidates), "validation": {"folds": 3, **validation},
        "gate": {"cost": {"missed": "amount", "review": 1.0}},
    })  # fmt: skip


def one(path: str, **more: Any) -> dict[str, Any]:
    return {"name": "one", "estimator": path, "params": SMALL[path], **more}


def rows(n: int = 2000, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Two informative numbers, noise, and a shop of which `c` is risky."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 4)), columns=["x0", "x1", "x2", "x3"])
    frame["shop"] = rng.choice(["a", "b", "c"], n)
    frame["t"], frame["id"], frame["amount"] = np.arange(n), np.arange(n), rng.exponential(50, n)
    risk = 1.5 * frame.x0 + frame.x1 + 1.5 * (frame.shop == "c") - 4
    return frame, (rng.random(n) < expit(risk.to_numpy())).astype(int)


FRAME, Y = rows()


@pytest.mark.parametrize("path", [LINEAR, FOREST, EXTRA, HISTOGRAM, BOOSTING])
def test_classifier_survives_saving_bit_for_bit_and_without_pickle(path: str, tmp_path: Path) -> None:
    toy = spec(one(path, calibration="sigmoid"))
    model = learner("classification").fit(toy, toy.candidates[0], Rows(FRAME, Y), seed=3)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    other, _ = rows(seed=9)
    assert np.array_equal(model.predict(other).score, again.predict(other).score)
    assert model.explain(other.head(5)) == again.explain(other.head(5))
    assert again.features == ["x0", "x1", "x2", "x3", "shop"]
    for file in (tmp_path / "model").iterdir():
        assert file.suffix in {".json", ".txt", ".skops"}
        with pytest.raises((pickle.UnpicklingError, ValueError, KeyError, IndexError, EOFError)):
            pickle.loads(file.read_bytes())


@pytest.mark.parametrize("path", [LINEAR, FOREST, BOOSTING, ISOLATION, PCA])
def test_scoring_looks_at_no_other_columns_than_it_says(path: str) -> None:
    toy = spec(one(path), kind="anomaly" if path in (ISOLATION, PCA) else "classification")
    maker = family(toy.family)
    fitted: Any = learner(toy.family).fit(toy, toy.candidates[0], Rows(FRAME, Y), seed=3)
    rows = FRAME.head(200).assign(_row=range(200), _row_sha="text that costs")
    looked_at = maker.columns(toy, fitted)
    assert looked_at == ["x0", "x1", "x2", "x3", "shop", "id", "_row"]
    pd.testing.assert_frame_equal(maker.score(toy, fitted, rows, 0.1), maker.score(toy, fitted, rows[looked_at], 0.1))


@pytest.mark.parametrize("path", [LINEAR, FOREST, EXTRA, HISTOGRAM, BOOSTING, ISOLATION, PCA])
def test_the_seed_decides_everything(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = spec(one(path), kind="anomaly" if path in (ISOLATION, PCA) else "classification")
    maker = learner(toy.family)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    first = maker.fit(toy, toy.candidates[0], Rows(FRAME, Y), seed=3).predict(FRAME).score
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert np.array_equal(first, maker.fit(toy, toy.candidates[0], Rows(FRAME, Y), seed=3).predict(FRAME).score)
    if path in (FOREST, EXTRA, ISOLATION):
        other = maker.fit(toy, toy.candidates[0], Rows(FRAME, Y), seed=4).predict(FRAME).score
        assert not np.array_equal(first, other)
        own = toy.candidates[0].model_copy(update={"seed": 4})  # a candidate's own seed goes first
        assert np.array_equal(other, maker.fit(toy, own, Rows(FRAME, Y), seed=3).predict(FRAME).score)


def test_average_lies_between_its_parts_and_survives_saving(tmp_path: Path) -> None:
    parts = [
        {"name": "a", "estimator": LINEAR, "calibration": "sigmoid"},
        {"name": "b", "estimator": BOOSTING, "params": SMALL[BOOSTING], "calibration": "isotonic"},
    ]
    toy = spec(*parts, {"name": "both", "ensemble": ["a", "b"]})
    maker = learner("classification")
    board = select(toy, Rows(FRAME, Y), FRAME.t.to_numpy(), FRAME.amount.to_numpy())
    a, b, both = (maker.fit(toy, c, Rows(FRAME, Y), 7, board.oof) for c in toy.candidates)
    parts_said = np.stack([a.predict(FRAME).score, b.predict(FRAME).score])
    middle = both.predict(FRAME).score
    assert (middle >= parts_said.min(axis=0) - 1e-7).all()
    assert (middle <= parts_said.max(axis=0) + 1e-7).all()
    both.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.skops", "b.lightgbm.txt", "model.json"]
    assert np.array_equal(load(tmp_path).predict(FRAME).score, middle)


def test_few_negatives_do_not_inflate_probabilities() -> None:
    toy = spec(one(BOOSTING, negatives=300), one(BOOSTING, negatives=300, calibration="sigmoid") | {"name": "two"})
    maker = learner("classification")
    for candidate in toy.candidates:
        mean = maker.fit(toy, candidate, Rows(FRAME, Y)).predict(FRAME).probability.mean()
        assert mean == pytest.approx(Y.mean(), rel=0.35)


@pytest.mark.parametrize("weight", ["balanced", 20.0])
def test_class_weight_is_taken_back_by_calibration(weight: Any) -> None:
    toy = spec(
        one(LINEAR, class_weight=weight), one(LINEAR, class_weight=weight, calibration="sigmoid") | {"name": "two"}
    )
    raw, calibrated = (learner("classification").fit(toy, c, Rows(FRAME, Y)).predict(FRAME) for c in toy.candidates)
    assert raw.probability.mean() > 2 * Y.mean()
    assert calibrated.probability.mean() == pytest.approx(Y.mean(), rel=0.2)
    assert np.array_equal(np.argsort(raw.score), np.argsort(calibrated.score))


@pytest.mark.parametrize("path", [LINEAR, FOREST, EXTRA, HISTOGRAM, BOOSTING])
def test_reason_codes_name_what_makes_a_row_risky(path: str) -> None:
    toy = spec(one(path))
    model = learner("classification").fit(toy, toy.candidates[0], Rows(*rows(6000)))
    risky = FRAME.head(1).assign(x0=3.0, x1=0.0, x2=0.0, x3=0.0, shop="c")
    (codes,) = model.explain(risky, top=2)
    assert codes[0][0] == "x0"
    assert codes[0][1] >= codes[1][1]
    assert len(codes) == 2
    assert model.explain(risky.head(0)) == []


@pytest.mark.parametrize(("path", "link"), [(FOREST, lambda p: p), (BOOSTING, logit), (LINEAR, logit)])
def test_contributions_add_up_to_the_score(path: str, link: Any) -> None:
    toy = spec(one(path))
    model: Any = learner("classification").fit(toy, toy.candidates[0], Rows(FRAME, Y))
    (member,) = model.members
    score = link(member.raw(FRAME))
    rest = score - member.contributions(FRAME).sum(axis=1)
    assert np.allclose(rest, rest[0], atol=1e-6)  # one constant, the same for every row


@pytest.mark.parametrize("path", [LINEAR, FOREST, BOOSTING, ISOLATION])
@pytest.mark.parametrize("column", ["x1", "shop"])
def test_nulls_are_refused_by_name_unless_training_had_them(path: str, column: str) -> None:
    toy = spec(one(path), kind="anomaly" if path == ISOLATION else "classification")
    maker, holes = learner(toy.family), FRAME.copy()
    holes.loc[::10, column] = None
    clean = maker.fit(toy, toy.candidates[0], Rows(FRAME, Y))
    with pytest.raises(ModelError, match=f"'{column}': 200 of 2000 rows are null"):
        clean.predict(holes)
    tolerant = maker.fit(toy, toy.candidates[0], Rows(holes, Y))
    assert np.isfinite(tolerant.predict(holes).score).all()
    assert np.isfinite(tolerant.predict(FRAME).score).all()


def test_unusable_columns_are_named() -> None:
    toy = spec(one(LINEAR))
    model = learner("classification").fit(toy, toy.candidates[0], Rows(FRAME, Y))
    with pytest.raises(ModelError, match="lacks the feature columns x2"):
        model.predict(FRAME.drop(columns="x2"))
    with pytest.raises(ModelError, match="'x2': 1 rows are infinite"):
        model.predict(FRAME.assign(x2=[np.inf, *FRAME.x2[1:]]))
    with pytest.raises(ModelError, match="'x2' was a number in training"):
        model.predict(FRAME.assign(x2="much"))
    with pytest.raises(ModelError, match="'shop' has 2000 distinct texts"):
        learner("classification").fit(toy, toy.candidates[0], Rows(FRAME.assign(shop=FRAME.id.astype(str)), Y))
    with pytest.raises(ModelError, match="'x3': all 2000 training rows are null"):
        learner("classification").fit(toy, toy.candidates[0], Rows(FRAME.assign(x3=np.nan), Y))
    with pytest.raises(ModelError, match="'x3' is a time"):
        learner("classification").fit(toy, toy.candidates[0], Rows(FRAME.assign(x3=pd.Timestamp(0)), Y))


def test_an_unknown_category_is_scored_like_none_of_the_known_ones() -> None:
    toy = spec(one(LINEAR))
    model = learner("classification").fit(toy, toy.candidates[0], Rows(FRAME, Y))
    known = {shop: model.predict(FRAME.head(1).assign(shop=shop)).score[0] for shop in "abcz"}
    assert known["z"] < known["c"]


def test_labels_must_be_two_classes() -> None:
    toy = spec(one(LINEAR))
    fit = learner("classification").fit
    for labels, words in ((None, "needs labels"), (Y * 0, "one class"), (Y + 1, "0 or 1"), (Y[:5], "for 2000 rows")):
        with pytest.raises(ModelError, match=words):
            fit(toy, toy.candidates[0], Rows(FRAME, labels))
    with pytest.raises(ModelError, match="0 or 1"):
        fit(toy, toy.candidates[0], Rows(FRAME, np.where(Y == 1, np.nan, 0.0)))


@pytest.mark.parametrize("path", [LINEAR, BOOSTING, FOREST])
def test_a_misspelt_parameter_is_an_error(path: str) -> None:
    toy = spec(one(path) | {"params": {"num_leafs": 3}})
    with pytest.raises(ModelError, match="num_leafs"):
        learner("classification").fit(toy, toy.candidates[0], Rows(FRAME, Y))


def test_foreign_types_and_files_are_not_opened(tmp_path: Path) -> None:
    toy = spec(one(LINEAR))
    learner("classification").fit(toy, toy.candidates[0], Rows(FRAME, Y)).save(tmp_path)
    skops.io.dump(GaussianProcessRegressor(kernel=None, optimizer=print), tmp_path / "one.skops")
    with pytest.raises(ModelError, match="not trusted"):
        load(tmp_path)
    document = json.loads((tmp_path / "model.json").read_text())
    for wrong in ("../one.skops", "/etc/passwd", "absent.skops"):
        document["members"][0]["file"] = wrong
        (tmp_path / "model.json").write_text(json.dumps(document))
        with pytest.raises(ModelError, match="missing or not a plain file name"):
            load(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(document | {"format": 99}))
    with pytest.raises(ModelError, match="format 99"):
        load(tmp_path)
    with pytest.raises(ModelError, match=r"model\.json is missing"):
        load(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="there are: anomaly, classification"):
        learner("oracle")


def test_saved_files_hold_no_code(tmp_path: Path) -> None:
    toy = spec(one(FOREST))
    learner("classification").fit(toy, toy.candidates[0], Rows(FRAME, Y)).save(tmp_path)
    with zipfile.ZipFile(tmp_path / "one.skops") as archive:
        assert all(name.endswith((".json", ".npy")) for name in archive.namelist())


scores = st.lists(st.floats(0, 1), min_size=2, max_size=30)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), method=st.sampled_from(["sigmoid", "isotonic"]), raw=scores)
def test_calibration_keeps_the_order_and_stays_in_0_1(seed: int, method: str, raw: list[float]) -> None:
    rng = np.random.default_rng(seed)
    p = rng.random(300)
    calibration = Calibration.fit(method, p, (rng.random(300) < p).astype(int), "c")
    again = Calibration.from_json(json.loads(json.dumps(calibration.to_json())))
    ordered = np.unique(np.round(raw, 6))
    result = again(ordered)
    assert ((result >= 0) & (result <= 1)).all()
    assert (np.diff(result) > 0).all() or method == "sigmoid"
    assert (np.diff(result) >= 0).all()
    assert np.array_equal(result, calibration(ordered))


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration_of_a_sample_is_that_of_all_rows_it_stands_for(method: str) -> None:
    rng = np.random.default_rng(5)
    p = rng.beta(1, 15, 40_000)
    y = (rng.random(len(p)) < p).astype(int)
    kept = (y == 1) | (rng.random(len(p)) < 0.1)
    weights = np.where(y == 1, 1.0, 10.0)[kept]
    whole, sample = (
        Calibration.fit(method, *rows, "c", w) for rows, w in (((p, y), None), ((p[kept], y[kept]), weights))
    )
    at = np.array([0.02, 0.05, 0.1, 0.2])
    assert sample(at) == pytest.approx(whole(at), rel=0.25)
    assert Calibration.fit(method, p[kept], y[kept], "c")(at).min() > 5 * whole(at).min()


def test_calibration_refuses_scores_that_do_not_rise_with_the_label() -> None:
    p = np.linspace(0.01, 0.99, 200)
    for method in ("sigmoid", "isotonic"):
        with pytest.raises(ModelError, match="do not rise"):
            Calibration.fit(method, p, (p < 0.5).astype(int), "c")
        with pytest.raises(ModelError, match="both classes"):
            Calibration.fit(method, p, np.zeros(200, dtype=int), "c")


@given(st.floats(0, 1), st.floats(0.001, 1))
def test_undone_sampling_is_bayes(p: float, rate: float) -> None:
    corrected = undo_sampling(np.array([p]), rate)[0]
    assert 0 <= corrected <= p + 1e-12
    if 0 < corrected < 1 and 1e-6 < p < 1 - 1e-6:
        assert corrected / (1 - corrected) == pytest.approx(rate * p / (1 - p), rel=1e-6)


@pytest.mark.parametrize("path", [ISOLATION, PCA])
def test_detector_ranks_the_strange_names_why_and_ignores_labels(path: str, tmp_path: Path) -> None:
    toy = spec(one(path), kind="anomaly")
    # correlated features, so that PCA has something to keep
    frame = FRAME.assign(x1=FRAME.x0 * 2 + 0.1 * FRAME.x1, x3=FRAME.x2 - 0.1 * FRAME.x3)
    model = learner("anomaly").fit(toy, toy.candidates[0], Rows(frame, Y))
    assert np.array_equal(
        model.predict(frame).score,
        learner("anomaly").fit(toy, toy.candidates[0], Rows(frame, 1 - Y)).predict(frame).score,
    )
    usual = frame.head(200)
    strange = usual.assign(x1=20.0, x2=-9.0)
    assert np.median(model.predict(strange).score) > 0.95
    assert np.median(model.predict(usual).score) == pytest.approx(0.5, abs=0.15)
    # a reconstruction shares the blame between a feature and the one it is correlated with
    first = {feature for codes in model.explain(strange, top=1) for feature, _ in codes}
    assert first <= ({"x1", "x2"} if path == ISOLATION else {"x0", "x1", "x2", "x3"})
    model.save(tmp_path)
    assert np.array_equal(load(tmp_path).predict(strange).score, model.predict(strange).score)
    assert len(model.predict(frame.head(0)).score) == 0


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=400, unique=True), st.lists(st.floats(-1e7, 1e7), max_size=50)
)
@settings(max_examples=60, deadline=None)
def test_quantiles_rise_with_the_score_and_stay_inside_0_1(training: list[float], new: list[float]) -> None:
    table = QuantileTable.fit(np.array(training))
    ordered = np.sort(np.array([*training, *new]))
    found = table(ordered)
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) >= 0).all()
    assert table(np.array([max(training) * 2 + 1e7]))[0] >= table(np.array([max(training)]))[0]


def test_detector_refuses_what_needs_labels_or_has_nothing_to_rank() -> None:
    toy = spec(one(ISOLATION, negatives=10), kind="anomaly")
    with pytest.raises(ModelError, match="need labels"):
        learner("anomaly").fit(toy, toy.candidates[0], Rows(FRAME))
    with pytest.raises(ModelError, match="constant"):
        QuantileTable.fit(np.ones(10))
