"""Correlations over the matches of rules: how many, how many different, which together, which in order.

A window ends at a match and reaches `seconds` back, both ends included. A correlation is reported when it becomes true for a group and
again only after it was false in between: a thousand failed log-ins are one finding. Where another correlation counts it, it stays
true at each of its matches, so that the success after the failures is found however long these go on.

Matches of a partition are counted together with those that the partitions before carried to it (`matched`).
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from baton_packs.incident_response.detection.matched import Matched
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
        new: whether an event of this partition is behind it.
    """

    at: int
    seconds: float
    evidence: tuple[int, ...]
    measured: float = 1.0
    begins: bool = True
    new: bool = True


MOST_EVIDENCE = 20


def singles(found: Matched, number: int) -> list[Occurrence]:
    """The matches of a rule, by its number among those that were run."""
    at = np.flatnonzero(found.hits[:, number])
    told = zip(at.tolist(), found.seconds[at].tolist(), found.new[at].tolist(), strict=True)
    return [Occurrence(one, when, (one,), new=new) for one, when, new in told]


def correlate(wanted: Correlation, found: Matched, known: Mapping[str, list[Occurrence]]) -> list[Occurrence]:
    """When a correlation is true.

    Args:
        found: the events that rules match.
        known: matches of the rules that it counts, by id.

    Returns:
        a match for each moment at which it is true, in the order of time.
    """
    keys = found.groups(wanted.group)
    parts = [known[rule] for rule in wanted.rules]
    # groups in which each rule matches: no other can make all of them true
    complete: set[tuple[str, ...]] | None = None
    if wanted.kind.startswith("temporal"):
        complete = set.intersection(*({keys[one.at] for one in part} for part in parts))
    groups: dict[tuple[str, ...], list[tuple[int, Occurrence]]] = defaultdict(list)
    for slot, part in enumerate(parts):
        for one in part:
            key = keys[one.at]
            if key and (complete is None or key in complete):
                groups[key].append((slot, one))
    values = found.texts(wanted.column) if wanted.column else []
    made: list[Occurrence] = []
    for members in groups.values():
        members.sort(key=lambda member: (member[1].seconds, member[1].at))
        made += _of_group(wanted, members, values)
    return sorted(made, key=lambda one: (one.seconds, one.at))


def _of_group(wanted: Correlation, members: list[tuple[int, Occurrence]], values: list[str]) -> list[Occurrence]:
    found: list[Occurrence] = []
    start, held = 0, False
    for end, (_, last) in enumerate(members):
        while members[start][1].seconds < last.seconds - wanted.seconds:
            start += 1
        if end + 1 < len(members) and members[end + 1][1].seconds == last.seconds and wanted.kind != "temporal_ordered":
            continue  # what happens in the same moment is looked at together
        window = members[start : end + 1]
        measured = _measure(wanted, window, values)
        if measured is not None and _HOLDS[wanted.op](measured, wanted.count):
            behind = tuple(sorted({at for _, one in window for at in one.evidence})[-MOST_EVIDENCE:])
            fresh = any(one.new for _, one in window)
            found.append(Occurrence(last.at, last.seconds, behind, measured, begins=not held, new=fresh))
            held = True
        else:
            held = False
    return found


def _measure(wanted: Correlation, window: list[tuple[int, Occurrence]], values: list[str]) -> float | None:
    """What the window holds of what is counted; None: no match whatever the number."""
    if wanted.kind == "event_count":
        return float(len({one.at for _, one in window}))
    if wanted.kind == "value_count":
        return float(len({value for _, one in window if (value := values[one.at])}))
    slots = [slot for slot, _ in window]
    if wanted.kind == "temporal":
        return float(len(set(slots)))
    following, since = 0, -np.inf  # in order: the first match of each rule behind that of the rule before it
    for slot, one in window:
        if following < len(wanted.rules) and slot == following and one.seconds >= since:
            following, since = following + 1, one.seconds
    # true at the match that completes the order, not at whatever comes behind it
    return float(following) if slots[-1] == len(wanted.rules) - 1 else None
