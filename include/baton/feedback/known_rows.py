"""Rows whose truth is known: the history, and what people and time said about later partitions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from baton.data.cells import as_text
from baton.data.datasets import DatasetRef, read
from baton.errors import BatonError
from baton.families import family
from baton.feedback.labels import ALL, Bounds, digest, known_labels
from baton.packs.pack import Pack
from baton.sources.reading import history_state, read_history
from baton.specs.model import ModelSpec
from baton.stages.slots import Slot, head, partitions

TRAIN, HOLDOUT = "train", "holdout"
ASIDE = "aside"  # held out in other trainings: neither learnt from nor judged on in this one
LABELLED = 0.5  # share of a partition's rows: those whose truth is known first are not like the others


class NothingKnown(BatonError):
    """There is no row yet whose truth is known."""


def known_state(pack: Pack, spec: ModelSpec, bounds: Bounds = ALL) -> dict[str, Any]:
    """Fingerprint of everything that `known_rows` reads."""
    state: dict[str, Any] = {}
    if spec.training.history:
        state["history"] = history_state(pack, spec.training.history.source)
    if spec.training.recent:
        recent = Recent.of(spec, bounds)
        state["recent"] = {partition: ref.content_sha256 for partition, ref in recent.refs.items()}
        if recent.labels is not None:
            state["labels"] = digest(recent.labels)
    return state


def known_rows(
    pack: Pack, spec: ModelSpec, *, since: str | None = None, bounds: Bounds = ALL, labelled: float = LABELLED
) -> pd.DataFrame:
    """All rows whose truth is known: the history, and the recent partitions, which replace rows of the same key.

    Where rows carry their own truth, the history counts up to the first recent partition: what a recording knows of
    later times has not happened yet.

    Args:
        since: labelled rows of earlier partitions are not held out.
        bounds: which partitions and labels count; of the history, rows that are not later.
        labelled: a labelled partition counts once this share of its rows is labelled.

    Returns:
        the columns of the sources and `_part` (train | holdout for labelled recent rows, else ''), `_weight`,
        `_partition` ('' for history).

    Raises:
        NothingKnown: there are none.
    """
    parts: list[pd.DataFrame] = []
    known = Recent.of(spec, bounds) if spec.training.recent else None
    recent = known.rows(spec, since, labelled) if known else None
    if spec.training.history:
        history = read_history(pack, spec.training.history.source)
        own = min(known.refs, default=None) if known and known.labels is None else None
        first = min((end for end in (own, bounds.before) if end), default=None)
        history = _before(history, spec.data.time, first, bounds.upto)
        if recent is not None:
            # a backfill may reach into the history: no row may train and be held out as well
            history = _without(history, recent, spec.data.key)
            recent = _as_written(recent, history)
        parts.append(history.assign(_part="", _weight=1.0, _partition=""))
    if recent is not None:
        parts.append(recent[recent["_part"] != ASIDE])
    if not parts:
        raise NothingKnown(
            f"model {spec.model}: there is no history and no partition with its truth yet, so nothing to learn from"
        )
    return pd.concat(parts, ignore_index=True).drop(columns=["_source", "_row", "_row_sha"], errors="ignore")


def _before(history: pd.DataFrame, time: str, first: str | None, upto: str | None) -> pd.DataFrame:
    """Rows of the history before the partition `first` and not after the partition `upto`."""
    if time not in history or not (first or upto):
        return history
    at = pd.to_datetime(history[time], utc=True, errors="coerce")
    late = at.isna() & False
    if first:
        late |= at >= pd.Timestamp(first, tz="UTC")
    if upto:
        late |= at > pd.Timestamp(upto, tz="UTC")
    return history[~late]


def _without(history: pd.DataFrame, recent: pd.DataFrame, key: tuple[str, ...]) -> pd.DataFrame:
    """The history but for rows whose key is among the recent ones."""
    if not set(key) <= set(history):
        return history  # the contract will say which column is missing

    def keys(frame: pd.DataFrame) -> pd.Series:
        return frame[list(key)].astype(str).agg("\x1f".join, axis=1)

    return history[~keys(history).isin(set(keys(recent)))]


def _as_written(recent: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Recent rows as text where the history came as text: the contract gives both their types in one go."""
    written = recent.copy(deep=False)
    for name in recent:
        if name in history and history[name].dtype == object and recent[name].dtype != object:
            written[name] = [as_text(cell) for cell in recent[name]]
    return written


@dataclass(frozen=True)
class Recent:
    """Committed partitions of a flow whose truth is known by now; `labels` is None where rows carry their own."""

    refs: dict[str, DatasetRef]
    labels: pd.DataFrame | None

    @classmethod
    def of(cls, spec: ModelSpec, bounds: Bounds = ALL) -> "Recent":
        recent = spec.training.recent
        assert recent is not None
        labelled = family(spec.family).truth == "labels"
        labels = known_labels(recent.flow, spec.data.target, bounds=bounds) if labelled else None
        known = partitions(recent.flow, recent.stage) if labels is None else sorted(labels["partition"].unique())
        refs = {}
        for partition in known:
            result = head(Slot(recent.flow, recent.stage, partition)) if bounds.hold(partition) else None
            if result is not None and result.ref.rows:
                refs[partition] = result.ref
        return cls(refs, labels)

    def rows(self, spec: ModelSpec, since: str | None, labelled: float) -> pd.DataFrame | None:
        """The rows with `_part`, `_weight`, `_partition`; `labelled` as of `known_rows`."""
        parts = []
        for partition, ref in self.refs.items():
            whole = read(ref)
            if self.labels is None:
                frame: pd.DataFrame | None = whole.assign(_part="", _weight=1.0)
            else:
                frame = _labelled(spec, whole, self.labels, labelled, judge=partition >= (since or ""))
            if frame is not None:
                parts.append(frame.assign(_partition=partition))
        return pd.concat(parts, ignore_index=True) if parts else None


def _labelled(
    spec: Any, frame: pd.DataFrame, labels: pd.DataFrame, share: float, *, judge: bool
) -> pd.DataFrame | None:
    """Labelled rows of one partition, a fixed share of them held out; None while none, or less than `share`, is labelled."""
    known = frame[spec.data.entity].astype(str).map(labels.set_index("entity_key")["label"])
    if not known.notna().any() or known.notna().mean() < share:
        return None
    frame = frame[known.notna()].copy()
    truth = known.dropna()
    frame[spec.data.target] = truth.astype("int64") if pd.api.types.is_numeric_dtype(truth) else truth.astype(str)
    held_out = held_out_by_hash(frame[spec.data.entity], spec.training.recent_holdout)
    frame["_part"] = pd.Series(held_out, index=frame.index).map({True: HOLDOUT, False: TRAIN})
    frame["_weight"] = spec.training.recent_weight
    if not judge:
        frame.loc[held_out, "_part"] = ASIDE
    return frame


def held_out_by_hash(keys: pd.Series, share: float) -> np.ndarray:
    """True for a fixed pseudo-random share of the keys: the same keys in every training, on every machine."""
    hashed = pd.util.hash_array(keys.astype(str).to_numpy(dtype=object)).astype("uint64")
    return (hashed % 10_000) < round(share * 10_000)
