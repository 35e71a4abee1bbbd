"""Correlations over the matches of a partition: how many, how many different, which together, which in order.

A window ends at a match and reaches `seconds` back, both ends included. A correlation is reported when it becomes true for a group and
again only after it was false in between: a thousand failed log-ins are one finding. Where another correlation counts it, it stays
true at each of its matches, so that the success after the failures is found however long these go on.

Only events of one partition, and late ones that came with it, are counted together.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from baton_packs.incident_response.detection.rules import Correlation

_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le, "eq": operator.eq, "neq": operator.ne,
}  # fmt: skip


@dataclass(frozen=True)
class Occurrence:
    """A match of a rule or correlation.

    Attributes:
        at: position of the event at which it is true.
        seconds: when, since the epoch.
        evidence: positions of the events behind it, rising, the newest `MOST_EVIDENCE`.
        measured: what was counted; 1 for a rule.
        begins: whether it was not true just before.
    """

    at: int
    seconds: float
    evidence: tuple[int, ...]
    measured: float = 1.0
    begins: bool = True


MOST_EVIDENCE = 20


def single(positions: np.ndarray, seconds: np.ndarray) -> list[Occurrence]:
    """The matches of a rule; positions of events, and the time of every event."""
    return [Occurrence(int(at), float(seconds[at]), (int(at),)) for at in positions]


def correlate(
    wanted: Correlation, events: pd.DataFrame, seconds: np.ndarray, known: Mapping[str, list[Occurrence]]
) -> list[Occurrence]:
    """When a correlation is true.

    Args:
        events: the partition's events, n rows.
        seconds: shape (n,), their times since the epoch.
        known: matches of the rules that it counts, by id.

    Returns:
        a match for each moment at which it is true, in the order of time.
    """
    groups: dict[tuple[str, ...], list[tuple[int, Occurrence]]] = defaultdict(list)
    cells = {
        name: events[name].to_numpy() if name in events else None for name in {*wanted.group, wanted.column} if name
    }
    for slot, rule in enumerate(wanted.rules):
        for one in known[rule]:
            key = tuple(_key(cells[name], one.at) for name in wanted.group)
            if all(key):  # an event that has no such value belongs to no group
                groups[key].append((slot, one))
    found: list[Occurrence] = []
    for members in groups.values():
        members.sort(key=lambda member: (member[1].seconds, member[1].at))
        found += _of_group(wanted, members, cells.get(wanted.column))
    return sorted(found, key=lambda one: (one.seconds, one.at))


def _key(cells: np.ndarray | None, at: int) -> str:
    value = None if cells is None else cells[at]
    return "" if value is None or value != value else str(value).lower()


def _of_group(wanted: Correlation, members: list[tuple[int, Occurrence]], cells: np.ndarray | None) -> list[Occurrence]:
    found: list[Occurrence] = []
    start, held = 0, False
    for end, (_, last) in enumerate(members):
        while members[start][1].seconds < last.seconds - wanted.seconds:
            start += 1
        if end + 1 < len(members) and members[end + 1][1].seconds == last.seconds and wanted.kind != "temporal_ordered":
            continue  # what happens in the same moment is looked at together
        window = members[start : end + 1]
        measured = _measure(wanted, window, cells)
        if measured is not None and _HOLDS[wanted.op](measured, wanted.count):
            behind = tuple(sorted({at for _, one in window for at in one.evidence})[-MOST_EVIDENCE:])
            found.append(Occurrence(last.at, last.seconds, behind, measured, begins=not held))
            held = True
        else:
            held = False
    return found


def _measure(wanted: Correlation, window: list[tuple[int, Occurrence]], cells: np.ndarray | None) -> float | None:
    """What the window holds of what is counted; None: no match whatever the number."""
    if wanted.kind == "event_count":
        return float(len({one.at for _, one in window}))
    if wanted.kind == "value_count":
        return float(len({value for _, one in window if (value := _key(cells, one.at))}))
    slots = [slot for slot, _ in window]
    if wanted.kind == "temporal":
        return float(len(set(slots)))
    following, since = 0, -np.inf  # in order: the first match of each rule behind that of the rule before it
    for slot, one in window:
        if following < len(wanted.rules) and slot == following and one.seconds >= since:
            following, since = following + 1, one.seconds
    # true at the match that completes the order, not at whatever comes behind it
    return float(following) if slots[-1] == len(wanted.rules) - 1 else None
