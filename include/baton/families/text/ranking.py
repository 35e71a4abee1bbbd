"""The ranking of candidates on texts that they did not see."""

import time
from typing import Any

import numpy as np
import pandas as pd

from baton.errors import ModelError
from baton.families.base import Leaderboard, Tried, parts_of, ranked
from baton.families.text import blend, measures
from baton.families.text.cases import Cases, folds
from baton.families.text.features import members
from baton.families.text.features.encoder import Encoder
from baton.progress import told
from baton.specs.text import TextCandidateSpec, TextSpec


def out_of_fold(
    spec: TextSpec, candidate: TextCandidateSpec, cases: Cases, encoder: Encoder | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Judge one estimator.

    Returns:
        columns row (position among the training texts), fold, raw_0 .. raw_{classes - 1}; facts metric, value, spread,
        seconds.

    Raises:
        ModelError: it cannot be fitted.
    """
    started = time.perf_counter()
    fold = folds(cases.texts, cases.y, spec.validation.folds, spec.training.seed)
    raw = np.empty((len(cases.y), len(cases.classes)))
    texts = np.array(cases.texts, dtype=object)
    for one in told(range(spec.validation.folds), f"candidate {candidate.name}", "folds"):
        learn, judge = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
        known = list(texts[learn]), cases.y[learn], cases.weights[learn], len(cases.classes)
        member = members.fit(candidate, *known, spec.training.seed, encoder, cases.names)
        raw[judge] = member.raw(list(texts[judge]), encoder)
    frame = pd.DataFrame(raw, columns=[f"raw_{at}" for at in range(raw.shape[1])])
    frame.insert(0, "row", np.arange(len(raw)))
    frame.insert(1, "fold", fold)
    values = _values(spec, cases.y, fold, blend.combine([raw], blend.learn([raw], cases.y, candidate.name)))
    seconds = round(time.perf_counter() - started, 2)
    facts = {"metric": spec.validation.metric, "value": float(np.mean(values)), "spread": float(np.std(values))}
    return frame, {**facts, "seconds": seconds}


def rank(spec: TextSpec, cases: Cases, found: Tried) -> Leaderboard:
    """Rank all candidates; an ensemble's weights are learnt from the same out-of-fold scores that judge it.

    That flatters an ensemble by next to nothing: it has one number per part to learn, from all training texts.

    Raises:
        ModelError: no candidate could be judged.
    """

    def judge(candidate: TextCandidateSpec) -> dict[str, Any]:
        scores, _, fold = blended(spec, candidate, cases, found)
        values = _values(spec, cases.y, fold, scores)
        return {"value": float(np.mean(values)), "spread": float(np.std(values)), "folds": values}

    metric = spec.validation.metric
    return ranked(metric, spec.candidates, judge, errors=metric == "log_loss")


def blended(
    spec: TextSpec, candidate: TextCandidateSpec, cases: Cases, found: Tried
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A candidate's blended out-of-fold scores (n, classes), its parts' weights, and the folds (n,).

    Raises:
        ModelError: a part has no out-of-fold scores.
    """
    raw, fold = [], np.zeros(len(cases.y), dtype=int)
    for part in parts_of(spec.candidates, candidate):
        frame = found.get(part.name)
        if frame is None or frame.empty:
            raise ModelError(f"candidate {part.name!r} could not be fitted; see its task's log")
        if len(frame) != len(cases.y):
            raise ModelError(f"candidate {part.name!r}: {len(frame)} out-of-fold scores for {len(cases.y)} texts")
        raw.append(frame.filter(regex=r"^raw_\d+$").to_numpy())
        fold = frame["fold"].to_numpy()
    weights = blend.learn(raw, cases.y, candidate.name)
    return blend.combine(raw, weights), weights, fold


def _values(spec: TextSpec, y: np.ndarray, fold: np.ndarray, scores: np.ndarray) -> list[float]:
    if not np.isfinite(scores).all():
        raise ModelError("its out-of-fold scores are not finite")
    metric, said = spec.validation.metric, scores.argmax(axis=1)
    values = []
    for one in np.unique(fold):
        at = fold == one
        if metric == "log_loss":
            values.append(measures.log_loss(scores[at], y[at]))
        else:
            values.append(measures.value(metric, y[at], said[at]))
    return values
