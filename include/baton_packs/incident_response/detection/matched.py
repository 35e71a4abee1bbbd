"""Matches of rules, of a partition and of those before it: what is spread over partitions is one all the same.

A partition carries to later ones what correlations need of it (`carried`), and they count with it. That is bounded three times, so
that it costs the same however old the flow is: `LOOK_BACK` partitions are read; of a partition only what lies within twice the
correlations' time of its newest event is carried; of a count from so many on only the newest that can make it up. An event that
comes later than that is counted with those of the partition that it came with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from baton_packs.incident_response.detection.engine import matches
from baton_packs.incident_response.detection.rules import CompiledRule, Correlation, reach
from baton_packs.incident_response.detection.taxonomy import CARRIED

TOLD = ("device_hostname", "user_name", "src_endpoint_ip", "dst_endpoint_ip")  # columns that an alert has


@dataclass(frozen=True)
class Matched:
    """Events that some rule matches, in the order of time and uid.

    Attributes:
        cells: column -> shape (m,).
        times: shape (m,), nanoseconds since the epoch.
        hits: shape (m, rules).
        new: shape (m,): of this partition, or carried to it.
    """

    cells: Mapping[str, np.ndarray]
    times: np.ndarray
    hits: np.ndarray
    new: np.ndarray
    _texts: dict[str, list[str]] = field(default_factory=dict, repr=False)

    @property
    def seconds(self) -> np.ndarray:
        """Shape (m,), times since the epoch."""
        return self.times / 1e9

    def texts(self, column: str) -> list[str]:
        """What is compared of a column, by position; empty: nothing is there."""
        if column not in self._texts:
            values = self.cells[column].tolist() if column in self.cells else [None] * len(self.times)
            self._texts[column] = [(_text(value) or "").lower() for value in values]
        return self._texts[column]

    def groups(self, columns: Sequence[str]) -> list[tuple[str, ...]]:
        """The group that each event belongs to; of none, (), is one that has no such value."""
        if not columns:
            return [("",)] * len(self.times)
        return [one if all(one) else () for one in zip(*map(self.texts, columns), strict=True)]


def matched(events: pd.DataFrame, rules: Sequence[CompiledRule], before: pd.DataFrame | None = None) -> Matched:
    """Run rules over a partition's events, and put beside them what partitions before carried to it.

    Args:
        events: n rows of the contract `events`.
        rules: those that are no correlations are run, in this order.
        before: rows of `CARRIED`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = [rule for rule in rules if rule.correlation is None]
    at, hits = matches(events, plain)
    told = events.iloc[at]
    cells: dict[str, np.ndarray] = {name: told[name].to_numpy(dtype=object) for name in told.columns if name != "time"}
    times, new = _times(told["time"]), np.ones(len(at), dtype=bool)
    if before is not None and len(before):
        before = before.drop_duplicates(list(CARRIED))
        then, was = _times(before["time"]), _hits(before["rules"], plain)
        names = zip(before["metadata_uid"], then.tolist(), before["cells"], strict=True)
        _again(cells, times, hits, needed(rules), dict(zip(names, was, strict=True)))
        told = pd.DataFrame([json.loads(one) for one in before["cells"]])
        told = told.assign(metadata_uid=before["metadata_uid"].tolist())
        told = told.reindex(columns=list(cells)).astype(object)
        cells = {name: np.concatenate([told[name].to_numpy(), there]) for name, there in cells.items()}
        times, hits = np.concatenate([then, times]), np.concatenate([was, hits])
        new = np.concatenate([np.zeros(len(before), dtype=bool), new])
    keys = pa.table({"time": times, "uid": pa.array(cells["metadata_uid"], pa.string())})
    order = pc.sort_indices(keys, sort_keys=[("time", "ascending"), ("uid", "ascending")]).to_numpy()
    return Matched({name: there[order] for name, there in cells.items()}, times[order], hits[order], new[order])


def _times(times: pd.Series) -> np.ndarray:
    return pd.to_datetime(times, utc=True).to_numpy(dtype="datetime64[ns]").astype("int64")


def _hits(ids: pd.Series, rules: Sequence[CompiledRule]) -> np.ndarray:
    """Which of the rules carried events match; one that is gone since matches nothing."""
    codes, texts = pd.factorize(ids)
    each = [[rule.rule_id in named for rule in rules] for named in map(json.loads, texts)]
    return np.array(each, dtype=bool).reshape(len(texts), len(rules))[codes]


def _again(
    cells: Mapping[str, np.ndarray], times: np.ndarray, hits: np.ndarray, columns: Sequence[str],
    known: Mapping[tuple[str, int, str], np.ndarray],
) -> None:  # fmt: skip
    """Take back the matches of events that an earlier partition has carried: collectors deliver again what they are not sure of."""
    uids = {uid for uid, _, _ in known}
    for row in np.flatnonzero([uid in uids for uid in cells["metadata_uid"]]):
        was = known.get((cells["metadata_uid"][row], int(times[row]), _written(cells, columns, int(row))))
        if was is not None:
            hits[row] &= ~was


def needed(rules: Iterable[CompiledRule]) -> list[str]:
    """Columns that alerts and correlations look at in an event that they count."""
    counted = {name for rule in rules if (one := rule.correlation) for name in (*one.group, one.column) if name}
    return sorted(counted | set(TOLD))


def _written(cells: Mapping[str, np.ndarray], columns: Sequence[str], row: int) -> str:
    told = {name: text for name in columns if name in cells and (text := _text(cells[name][row])) is not None}
    return json.dumps(told, ensure_ascii=False)


def _text(value: object) -> str | None:
    return None if value is None or value is pd.NA or value != value else str(value)


def carried(events: pd.DataFrame, rules: Sequence[CompiledRule]) -> pd.DataFrame:
    """What later partitions need of this one's matches.

    Args:
        events: n rows of the contract `events`.

    Returns:
        columns `CARRIED`, a row an event, in the order of time.
    """
    seconds = reach(rules)
    plain = [rule for rule in rules if rule.correlation is None and seconds.get(rule.rule_id)]
    wanted = [(rule.correlation, seconds.get(rule.rule_id, 0)) for rule in rules if rule.correlation is not None]
    found = matched(events, plain)
    kept = np.zeros_like(found.hits)
    newest = _times(events["time"]).max(initial=0)
    for number, rule in enumerate(plain):
        recent = found.hits[:, number] & (found.times >= newest - 2 * seconds[rule.rule_id] * 10**9)
        for one, later in wanted:
            if rule.rule_id in (one.rules if later or one.kind != "temporal_ordered" else one.rules[:-1]):
                kept[_newest(one, found, np.flatnonzero(recent)), number] = True
    rows, columns = np.flatnonzero(kept.any(axis=1)), needed(rules)
    ids = [json.dumps([rule.rule_id for rule, hit in zip(plain, kept[row], strict=True) if hit]) for row in rows]
    told = {
        "metadata_uid": found.cells["metadata_uid"][rows], "time": pd.to_datetime(found.times[rows], utc=True),
        "rules": ids, "cells": [_written(found.cells, columns, int(row)) for row in rows],
    }  # fmt: skip
    return pd.DataFrame(told, columns=list(CARRIED)).astype({"metadata_uid": object, "rules": object, "cells": object})


def _newest(wanted: Correlation, found: Matched, at: np.ndarray) -> np.ndarray:
    """Those of some matches that may still make a correlation true: with as many newer ones it is true without the others."""
    groups = found.groups(wanted.group)
    at = np.array([one for one in at if groups[one]], dtype=int)
    if wanted.kind not in ("event_count", "value_count") or wanted.op not in ("gte", "gt"):
        return at
    rows = pd.DataFrame({"at": at, "group": [groups[one] for one in at]})
    if wanted.kind == "value_count":
        values = found.texts(wanted.column)
        rows = rows.assign(value=[values[one] for one in at]).drop_duplicates(["group", "value"], keep="last")
    return rows.groupby("group").tail(math.floor(wanted.count) + 1)["at"].to_numpy(dtype=int)
