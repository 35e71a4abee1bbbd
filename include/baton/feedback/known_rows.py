"""Rows whose truth is known: the history, and what people and time said about later partitions."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from baton.data.cells import as_text
from baton.data.datasets import DatasetRef, read
from baton.data.identity import row_keys
from baton.errors import BatonError
from baton.families import family
from baton.feedback import labels
from baton.feedback.labels import ALL, Bounds
from baton.jsontext import to_json
from baton.packs.pack import Pack
from baton.progress import told
from baton.sources.reading import history_state, read_history
from baton.specs.model import ModelSpec
from baton.stages.slots import heads_of

_OF_THE_SOURCE = ["_source", "_row", "_row_sha"]
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
        # one digest of them: a thousand would be kept with every commit
        state["recent"] = _digest({partition: ref.content_sha256 for partition, ref in recent.refs.items()})
        if recent.counts is not None:
            # whatever is written or taken back changes it, even where the counts stay
            state["labels"] = _digest(recent.counts)
    return state


def _digest(value: Any) -> str:
    return hashlib.sha256(to_json(value).encode()).hexdigest()


def known_rows(
    pack: Pack, spec: ModelSpec, *, bounds: Bounds = ALL, labelled: float = LABELLED,
    columns: Collection[str] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """All rows whose truth is known: see `taken_rows`."""
    return taken_rows(pack, spec, bounds=bounds, labelled=labelled, columns=columns)[0]


def taken_rows(
    pack: Pack, spec: ModelSpec, *, since: str | None = None, bounds: Bounds = ALL, labelled: float = LABELLED,
    at_most: int | None = None, columns: Collection[str] | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:  # fmt: skip
    """Rows whose truth is known: the history, and the newest recent partitions, which replace rows of the same key.

    Where rows carry their own truth, the history counts up to the first recent partition: what a recording knows of
    later times has not happened yet. And it is left out where there are more recent partitions than
    `recent.partitions`: series must have no hole.

    Args:
        since: labelled rows of earlier partitions are not held out.
        bounds: which partitions and labels count; of the history, rows that are not later.
        labelled: a labelled partition counts once this share of its rows is labelled.
        at_most: about so many labelled recent rows; of more, samples are taken, the same ones every time.
        columns: of the sources' columns only these, the key and the time; rows that lack one of them keep all.

    Returns:
        the columns of the sources and `_part` (train | holdout for labelled recent rows, else ''), `_weight`,
        `_partition` ('' for history), and where samples were taken `_share`, of how many rows of its kind a row is one;
        facts: what was left out.

    Raises:
        NothingKnown: there are none.
    """
    parts: list[pd.DataFrame] = []
    kept = None if columns is None else {*columns, *spec.data.key, spec.data.time}
    known = Recent.of(spec, bounds) if spec.training.recent else None
    shares = known.shares(at_most) if known else None
    recent = known.rows(spec, since, labelled, shares, kept) if known else None
    series = known is not None and known.counts is None
    if spec.training.history and not (series and known and known.older):
        history = _only(read_history(pack, spec.training.history.source), kept)
        own = min(known.refs, default=None) if known and series else None
        first = min((end for end in (own, bounds.before) if end), default=None)
        history = _before(history, spec.data.time, first, bounds.upto)
        if recent is not None:
            # a backfill may reach into the history: no row may train and be held out as well
            history = _without(history, recent, spec.data.key)
            recent = _as_written(recent, history)
        parts.append(history.assign(_part="", _weight=1.0, _partition="", **({"_share": 1.0} if shares else {})))
    if recent is not None:
        parts.append(recent[recent["_part"] != ASIDE])
    if not parts:
        raise NothingKnown(
            f"model {spec.model}: there is no history and no partition with its truth yet, so nothing to learn from"
        )
    frame = pd.concat(parts, ignore_index=True).drop(columns=_OF_THE_SOURCE, errors="ignore")
    return frame, known.left_out(shares) if known else {}


def _only(frame: pd.DataFrame, kept: Collection[str] | None) -> pd.DataFrame:
    """The columns that are kept; all where one of them is not there, so that who misses it can say what there is."""
    return frame if kept is None or not set(kept) <= set(frame) else frame[[name for name in frame if name in kept]]


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
    return history[~row_keys(history, key).isin(set(row_keys(recent, key)))]


def _as_written(recent: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Recent rows as text where the history came as text: the contract gives both their types in one go."""
    written = recent.copy(deep=False)
    for name in recent:
        if name in history and history[name].dtype == object and recent[name].dtype != object:
            written[name] = [as_text(cell) for cell in recent[name]]
    return written


@dataclass(frozen=True)
class Recent:
    """The newest committed partitions of a flow whose truth is known by now.

    Attributes:
        refs: their rows, by partition.
        older: there are more of them, before these.
        counts: labels by partition and when the last was written; None where rows carry their own truth.
    """

    flow: str
    target: str | None
    bounds: Bounds
    refs: dict[str, DatasetRef]
    older: bool
    counts: dict[str, tuple[int, str]] | None

    @classmethod
    def of(cls, spec: ModelSpec, bounds: Bounds = ALL) -> "Recent":
        recent = spec.training.recent
        assert recent is not None
        target = spec.data.target if family(spec.family).truth == "labels" else None
        newest = labels.partitions_known(recent.flow, recent.stage, recent.partitions + 1, target, bounds)
        taken = newest[-recent.partitions :]
        counts = labels.counts(recent.flow, target, taken, bounds) if target else None
        found = heads_of(recent.flow, recent.stage, taken if counts is None else counts)
        refs = {partition: result.ref for partition, result in found.items() if result.ref.rows}
        return cls(recent.flow, target, bounds, refs, len(newest) > len(taken), counts)

    def shares(self, at_most: int | None) -> dict[Any, float] | None:
        """Class -> share of its rows to learn from, so that the classes have `at_most` labels together; None: all.

        What there is little of is kept whole; the share of the rows to judge on, `HOLDOUT`, is the same for all classes:
        figures must be those of the world.
        """
        total = sum(count for count, _ in (self.counts or {}).values())
        if self.target is None or at_most is None or total <= at_most:
            return None
        sizes = labels.class_sizes(self.flow, self.target, list(self.refs), self.bounds)
        left, shares = float(at_most), {}
        for number, (name, size) in enumerate(sorted(sizes.items(), key=lambda one: one[1])):
            kept = min(size, left / (len(sizes) - number))
            shares[name], left = kept / size, left - kept
        return {**shares, HOLDOUT: at_most / total}

    def rows(
        self, spec: ModelSpec, since: str | None, labelled: float, shares: Mapping[Any, float] | None = None,
        kept: Collection[str] | None = None,
    ) -> pd.DataFrame | None:  # fmt: skip
        """The rows with `_part`, `_weight`, `_partition`, partition by partition; `labelled`, `kept` as of `taken_rows`."""
        parts = []
        for partition, ref in told(self.refs.items(), "rows whose truth is known", "partitions"):
            whole = read(ref).drop(columns=_OF_THE_SOURCE, errors="ignore")
            if self.counts is None:
                frame: pd.DataFrame | None = whole.assign(_part="", _weight=1.0)
            else:
                said = labels.known_labels(self.flow, self.target, bounds=self.bounds, partition=partition)
                frame = _labelled(spec, whole, said, labelled, judge=partition >= (since or ""))
            if frame is not None:
                marks = None if kept is None else {*kept, "_part", "_weight", *(["_share"] if shares else [])}
                taken = frame if shares is None else _sample(spec, frame, shares)
                parts.append(_only(taken, marks).assign(_partition=partition))
        return pd.concat(parts, ignore_index=True) if parts else None

    def left_out(self, shares: Mapping[Any, float] | None) -> dict[str, Any]:
        """What of the recent rows was not taken, for the result."""
        facts: dict[str, Any] = (
            {"older_left_out": f"partitions before {min(self.refs)}"} if self.older and self.refs else {}
        )
        return facts | ({"sampled": {str(name): round(share, 6) for name, share in shares.items()}} if shares else {})


def _labelled(spec: Any, frame: pd.DataFrame, said: pd.DataFrame, share: float, *, judge: bool) -> pd.DataFrame | None:
    """Labelled rows of one partition, a fixed share of them held out; None while none, or less than `share`, is labelled."""
    known = frame[spec.data.entity].astype(str).map(said.set_index("entity_key")["label"])
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


def _sample(spec: Any, frame: pd.DataFrame, shares: Mapping[Any, float]) -> pd.DataFrame:
    """A share of the rows by a hash of the entity; what is learnt from counts for the rows that it stands for."""
    part = frame["_part"]
    share = frame[spec.data.target].map(shares).astype(float).fillna(1.0).where(part == TRAIN, shares[HOLDOUT])
    drawn = _hashed(frame[spec.data.entity], "baton-sampling-0") / 2**64 < share.to_numpy()
    weight = (frame["_weight"] / share).where(part == TRAIN, frame["_weight"])
    return frame.assign(_weight=weight, _share=share)[drawn]


def drawn(keys: pd.Series, share: float) -> np.ndarray:
    """True for about this share of the keys, the same ones every time; whether they are held out plays no part."""
    return np.asarray(_hashed(keys, "baton-trial-rows") / 2**64 < share)


def _hashed(keys: pd.Series, key: str) -> np.ndarray:
    return pd.util.hash_array(keys.astype(str).to_numpy(dtype=object), hash_key=key).astype("uint64")


def held_out_by_hash(keys: pd.Series, share: float) -> np.ndarray:
    """True for a fixed pseudo-random share of the keys: the same keys in every training, on every machine."""
    return (_hashed(keys, "0123456789123456") % 10_000) < round(share * 10_000)  # pandas' own key
