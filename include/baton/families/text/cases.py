"""Cases: what a text model learns from and is judged on, made of checked rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from baton.data.identity import row_keys
from baton.errors import ModelError
from baton.families.text.features.names import NOBODY, Names
from baton.specs.text import TextSpec

HOLDOUT = "holdout"


@dataclass(frozen=True)
class Cases:
    """Training texts of the classes that are learnt, in order of time.

    Attributes:
        classes: names, sorted; y: shape (n,), positions in `classes`; weights: shape (n,).
        left_out: classes with too few training texts, with their number.
        holdout: held-out rows, of whatever class.
        names: of people on record, in all rows of the training.
        repeated: rows that are not trained on, because their text is in the holdout.
    """

    texts: list[str]
    y: np.ndarray
    weights: np.ndarray
    classes: list[str]
    left_out: dict[str, int]
    train: pd.DataFrame
    holdout: pd.DataFrame
    repeated: int = 0
    names: Names = NOBODY


def texts_of(frame: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """One text per row: the columns joined by a line break, nulls left out. Raises ModelError: a column is missing."""
    _require(frame, columns, "text columns")
    parts = [frame[name].astype(object).where(frame[name].notna(), "").astype(str) for name in columns]
    return ["\n".join(cell for cell in row if cell) for row in zip(*parts, strict=True)]


def _require(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ModelError(f"the frame lacks the {what} {', '.join(missing)}")


def split(spec: TextSpec, frame: pd.DataFrame) -> Cases:
    """Cut checked rows into training and held-out ones.

    Without held-out recent rows the most recent share of the history is held out; else all of the history trains. A text
    that is held out is not trained on, whenever it came: who has learnt it by heart is not judged by it.

    Raises:
        ModelError: fewer training rows than the spec asks for, or fewer than two classes with enough texts.
    """
    _require(frame, spec.data.names, "columns with names")
    names = Names.of(frame, spec.data.names, texts_of(frame, spec.data.text)) if spec.data.names else NOBODY
    train, holdout, repeated = _cut(spec, frame)
    counts = train[spec.data.target].astype(str).value_counts()
    enough = counts >= spec.training.min_per_class
    classes = sorted(counts.index[enough])
    left_out = {name: int(counts[name]) for name in sorted(counts.index[~enough])}
    if len(train) < spec.training.min_rows or len(classes) < 2:
        raise ModelError(
            f"model {spec.model}: {len(train)} training texts and {len(classes)} classes of at least "
            f"{spec.training.min_per_class} texts; at least {spec.training.min_rows} texts and 2 classes are needed: "
            "wait for more labels, or lower training.min_rows or training.min_per_class"
        )
    train = train[train[spec.data.target].astype(str).isin(classes)].reset_index(drop=True)
    y = np.searchsorted(classes, train[spec.data.target].astype(str).to_numpy().astype(str))
    weights = train["_weight"].to_numpy(dtype=float)
    return Cases(texts_of(train, spec.data.text), y, weights, classes, left_out, train, holdout, repeated, names)


def seen(spec: TextSpec, frame: pd.DataFrame, learnt_from: pd.DataFrame) -> np.ndarray:
    """Rows of `frame` that a version trained from `learnt_from` knows: by their key, or by heart; shape (n,)."""
    learnt = learnt_from if spec.training.refit else _cut(spec, learnt_from)[0]
    keys, texts = set(row_keys(learnt, spec.data.key)), set(texts_of(learnt, spec.data.text))
    same = pd.Series(texts_of(frame, spec.data.text), index=frame.index, dtype=object).isin(texts)
    return (row_keys(frame, spec.data.key).isin(keys) | same).to_numpy()


def _cut(spec: TextSpec, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Rows to learn from, rows to judge on, and how many rows are neither, because their text is held out."""
    frame = frame.sort_values(spec.data.time, kind="stable").reset_index(drop=True)
    part = frame["_part"].astype(object)
    if not (part == HOLDOUT).any():
        history = (frame["_part"] == "").to_numpy().nonzero()[0]
        part.iloc[history[round(len(history) * (1 - spec.training.holdout)) :]] = HOLDOUT
    holdout = frame[part == HOLDOUT].reset_index(drop=True)
    train = frame[part != HOLDOUT]
    again = pd.Series(texts_of(train, spec.data.text), index=train.index, dtype=object).isin(
        texts_of(holdout, spec.data.text)
    )
    return train[~again], holdout, int(again.sum())


def folds(texts: Sequence[str], y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Number of the fold that judges each text, shape (n,): stratified by class, drawn with the seed.

    Texts are taken as independent of each other, so folds are not ordered by time; the holdout is what tests the
    future. Equal texts share a fold: a model must not be judged on a text that it has learnt by heart.
    """
    rng = np.random.default_rng(seed)
    fold = np.empty(len(y), dtype=int)
    groups = pd.Series(range(len(y))).groupby(np.asarray(texts, dtype=object), sort=True).first().sort_values()
    number = pd.Series(groups).to_dict()
    owner = np.array([number[text] for text in texts])
    dealt = 0
    for one in np.unique(y):
        first = np.unique(owner[y == one])
        first = first[y[first] == one]  # an equal text of an earlier class is dealt there
        for text in rng.permutation(first):
            fold[text] = dealt % count
            dealt += 1
    return fold[owner]
