"""The estimators a model spec may name, and their files: LightGBM's text format, skops for the rest."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import skops.io
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from baton.errors import ModelError
from baton.families import parameters, trees
from baton.families.base import threads

# Types beyond the ones skops trusts by itself; anything else in a file refuses the whole model.
TRUSTED_TYPES = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor", "sklearn.tree._tree.Tree")


@dataclass(frozen=True)
class EstimatorKind:
    """How an estimator wants its data and how it is explained."""

    name: str  # linear | forest | boosting | histogram | isolation | pca | distance | mixture
    layout: str  # how texts become numbers
    nulls: bool  # takes NaN
    parallel: bool = True  # has n_jobs
    seeded: bool = True  # has random_state
    one_class: bool = False  # learns what is usual: of labelled rows the negatives


ALLOWED = {
    "sklearn.linear_model.LogisticRegression": EstimatorKind("linear", "bent", nulls=False, parallel=False),
    "sklearn.ensemble.RandomForestClassifier": EstimatorKind("forest", "ordinal", nulls=True),
    "sklearn.ensemble.ExtraTreesClassifier": EstimatorKind("forest", "ordinal", nulls=True),
    "sklearn.ensemble.HistGradientBoostingClassifier": EstimatorKind(
        "histogram", "ordinal", nulls=True, parallel=False
    ),
    "lightgbm.LGBMClassifier": EstimatorKind("boosting", "ordinal", nulls=True),
    "sklearn.ensemble.IsolationForest": EstimatorKind("isolation", "onehot", nulls=False),
    "sklearn.decomposition.PCA": EstimatorKind("pca", "onehot", nulls=False, parallel=False),
    "sklearn.covariance.ShrunkCovariance": EstimatorKind(
        "distance", "onehot", nulls=False, parallel=False, seeded=False, one_class=True
    ),
    "sklearn.mixture.GaussianMixture": EstimatorKind("mixture", "onehot", nulls=False, parallel=False, one_class=True),
}


def kind_of(path: str | None, name: str) -> EstimatorKind:
    """Return what is known of the estimator at dotted `path`, named by candidate `name`.

    Raises:
        ModelError: it is not on the list.
    """
    if path not in ALLOWED:
        raise ModelError(f"candidate {name!r}: estimator {path!r} is not allowed; allowed are {', '.join(ALLOWED)}")
    return ALLOWED[path]


def build(path: str, params: dict[str, Any], seed: int, name: str) -> Any:
    """Return the unfitted estimator with the spec's parameters, a fixed seed and a bounded number of threads.

    Raises:
        ModelError: the estimator is not allowed or does not take a parameter.
    """
    kind = kind_of(path, name)
    parameters.refuse(name, path, params)
    module, _, attribute = path.rpartition(".")
    fixed: dict[str, Any] = {"random_state": seed} if kind.seeded else {}
    if kind.parallel:
        fixed["n_jobs"] = threads()
    if kind.name == "boosting":
        # the same trees whatever the machine's load: LightGBM otherwise picks its histogram layout by timing
        fixed |= {"deterministic": True, "force_row_wise": True, "verbosity": -1}
    try:
        estimator = getattr(importlib.import_module(module), attribute)(**(fixed | params))
    except (TypeError, ValueError) as error:
        raise ModelError(f"candidate {name!r}: {attribute} refuses its params: {error}") from error
    return make_pipeline(StandardScaler(), estimator) if kind.name == "linear" else estimator


def fit(
    estimator: Any, kind: EstimatorKind, matrix: np.ndarray, y: np.ndarray | None, weights: np.ndarray | None
) -> Any:
    """Fit and return what predicts: a Booster for LightGBM, the estimator itself for the rest."""
    if kind.name == "linear":
        return estimator.fit(matrix, y, logisticregression__sample_weight=weights)
    fitted = estimator.fit(matrix) if y is None or kind.one_class else estimator.fit(matrix, y, sample_weight=weights)
    if kind.name == "boosting":
        return lightgbm.Booster(model_str=fitted.booster_.model_to_string())
    # one thread from here on: waking a pool costs more than scoring a partition
    return fitted.set_params(n_jobs=1) if kind.parallel else fitted


def positives(predictor: Any, kind: EstimatorKind, matrix: np.ndarray) -> np.ndarray:
    """Probability of the positive class by what `fit` returned, shape (rows,); one thread."""
    if kind.name == "boosting":
        return trees.boosted(predictor, matrix)
    if kind.name == "forest":
        return trees.positives(predictor, matrix)
    return predictor.predict_proba(matrix)[:, 1]


def distances(predictor: Any, kind: EstimatorKind, matrix: np.ndarray) -> np.ndarray:
    """How far rows are from what a one-class estimator knows as usual, shape (rows,), no fixed unit.

    Of `distance` log(1 + squared Mahalanobis distance), of `mixture` the negative log-likelihood.
    """
    return -predictor.score_samples(matrix) if kind.name == "mixture" else np.log1p(predictor.mahalanobis(matrix))


def save(predictor: Any, kind: EstimatorKind, folder: Path, stem: str) -> str:
    """Write the predictor into `folder` and return the file's name."""
    if kind.name == "boosting":
        file = f"{stem}.lightgbm.txt"
        (folder / file).write_text(predictor.model_to_string(), encoding="utf-8")
        return file
    file = f"{stem}.skops"
    skops.io.dump(predictor, folder / file)
    return file


def restore(folder: Path, file: str) -> Any:
    """Read a predictor written by `save`.

    Raises:
        ModelError: the file is not a plain name inside the folder, or holds a type outside the pinned list.
    """
    path = folder / file
    if Path(file).name != file or not path.is_file():
        raise ModelError(f"{folder}: model file {file!r} is missing or not a plain file name")
    if file.endswith(".lightgbm.txt"):
        return lightgbm.Booster(model_str=path.read_text(encoding="utf-8"))
    foreign = sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED_TYPES))
    if foreign:
        raise ModelError(f"{path} holds types that are not trusted: {', '.join(foreign)}; it was not opened")
    return skops.io.load(path, trusted=list(TRUSTED_TYPES))
