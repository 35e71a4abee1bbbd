"""What ties alerts together: the same host, user or address within a window; names that everybody shares tie nothing.

A shared address (a NAT, a scanner, a resolver) would glue a whole company into one incident. It is one that alerts show on more
than `limit` hosts. Then two things are told apart. One rule that fires for the address on more than `limit` hosts is a *sweep*
(a scan, a spray, many hosts that call one server): its alerts are one incident of their own, which takes in nothing else of these
hosts. Every other alert that has the address is tied by its host and user only, as if it had no address. A user name on more than
`limit` hosts (root, administrator) ties nothing either.

Two things more are declared in `policy/incidents.yaml`. An alert of a model alone that is not sure has *one* name that ties it, who
did it (`_who`): so it joins what is known of them and never makes one incident of two, however many wrong alerts there are about a
server that everybody uses. And *infrastructure* (domain controllers, resolvers, proxies) ties nothing as an end of a
connection; what a rule finds on such a host itself does.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from baton_packs.incident_response.detection.taxonomy import RULE

HOST, USER, ADDRESS, SWEEP = "host", "user", "address", "sweep"
NOBODY = frozenset({"", "-", "?", "none", "null", "unknown", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104

Key = tuple[str, str]  # kind, name


@dataclass
class Sighting:
    """When something was seen in an incident, in seconds since 1970, and in how many alerts; `ties`: it may tie later ones."""

    first: float
    last: float
    count: int = 1
    ties: bool = True

    def add(self, other: Sighting) -> None:
        """Widen by another span of the same."""
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.count += other.count
        self.ties = self.ties or other.ties


@dataclass(frozen=True)
class Declared:
    """What the policy says of ties.

    Attributes:
        scanners: addresses of the company's own: all that they cause is one sweep.
        infrastructure: hosts and addresses that everybody talks to, in small letters.
        model_from: confidence from which on a model's alert ties as a rule's does.
    """

    scanners: frozenset[str] = frozenset()
    infrastructure: frozenset[str] = frozenset()
    model_from: float = 0.0


@dataclass(frozen=True)
class Shared:
    """Names that tie nothing, and the sweeps among them."""

    addresses: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    sweeps: frozenset[str] = field(default=frozenset())  # `address|rule`
    declared: Declared = field(default_factory=Declared)


def named(value: Any) -> str | None:
    """A name as it is compared: in small letters; None for what names nobody."""
    if not isinstance(value, str):
        return None
    plain = value.strip().lower()
    return None if plain in NOBODY else plain[:253]


def addresses(alert: Mapping[str, Any]) -> list[str]:
    """Both addresses of an alert, the source first."""
    found = (named(alert.get("src_ip")), named(alert.get("dst_ip")))
    return list(dict.fromkeys(one for one in found if one is not None))


def shown(alert: Mapping[str, Any]) -> list[Key]:
    """Every host, user and address of an alert."""
    found = [(HOST, named(alert.get("host"))), (USER, named(alert.get("user")))]
    return [(kind, name) for kind, name in found if name is not None] + [(ADDRESS, one) for one in addresses(alert)]


def shared(
    alerts: Iterable[Mapping[str, Any]], sweeps: Iterable[str], limit: int, declared: Declared = Declared()
) -> Shared:  # fmt: skip
    """Which names are on more than `limit` hosts; infrastructure is, and what goes there is no sweep.

    Args:
        alerts: new ones and those of incidents that still live.
        sweeps: of incidents that still live, as `address|rule`: once a sweep, its address stays shared.
    """
    of_address, of_user, of_rule = (
        defaultdict[str, set[str]](set),
        defaultdict[str, set[str]](set),
        defaultdict[str, set[str]](set),
    )
    for alert in alerts:
        host, both = named(alert.get("host")), addresses(alert)
        for one in both:
            # a network model knows no host name: then the other end stands for it
            place = host or next((other for other in both if other != one), one)
            of_address[one].add(place)
            if one not in declared.infrastructure:
                of_rule[sweep_name(one, alert)].add(place)
        if (user := named(alert.get("user"))) is not None and host is not None:
            of_user[user].add(host)
    wide = {name for name, hosts in of_rule.items() if len(hosts) > limit} | set(sweeps)
    many = {name for name, hosts in of_address.items() if len(hosts) > limit} | {
        name.partition("|")[0] for name in sweeps
    }
    users = frozenset(name for name, hosts in of_user.items() if len(hosts) > limit)
    return Shared(frozenset(many) | declared.infrastructure, users, frozenset(wide), declared)


def sweep_name(address: str, alert: Mapping[str, Any]) -> str:
    """How the sweep of an address by an alert's rule is called."""
    return f"{address}|{alert.get('rule') or ''}"


def ties(alert: Mapping[str, Any], known: Shared) -> list[Key]:
    """What ties an alert to others; of an alert of a sweep the sweep alone, of a model's that is not sure one name."""
    source, declared = named(alert.get("src_ip")), known.declared
    if source in declared.scanners:
        return [(SWEEP, f"{source}|")]
    for one in addresses(alert):
        if one in known.addresses and (name := sweep_name(one, alert)) in known.sweeps:
            return [(SWEEP, name)]
    by_rule = alert.get("source") == RULE
    keys = [
        key for key in shown(alert)
        if not ties_nothing(key, known) and (by_rule or key[0] != HOST or key[1] not in declared.infrastructure)
    ]  # fmt: skip
    return [key for key in keys if key == _who(alert)] if unsure(alert, known) else keys


def unsure(alert: Mapping[str, Any], known: Shared) -> bool:
    """Does a model alone say so, and less surely than the policy asks of one that ties?"""
    return alert.get("source") != RULE and float(alert.get("confidence") or 0.0) < known.declared.model_from


def _who(alert: Mapping[str, Any]) -> Key | None:
    """Who did what a model alerts about: the source of a connection; of a host's log, which has none, the host."""
    if (source := named(alert.get("src_ip"))) is not None:
        return (ADDRESS, source)
    host = named(alert.get("host"))
    return None if host is None else (HOST, host)


def put_in(alert: Mapping[str, Any], tied: Sequence[Key], known: Shared) -> list[Key]:
    """The names that an alert puts into its incident: all; of one that is not sure no host and account that does not tie it.

    Else a wrong alert about a desk that uses the domain controller would make an incident of the domain controller's.
    """
    if not unsure(alert, known) or any(kind == SWEEP for kind, _ in tied):  # of a sweep it matters who was swept
        return [*shown(alert), *tied]
    return [*(key for key in shown(alert) if key[0] == ADDRESS), *tied]


def ties_nothing(key: Key, known: Shared) -> bool:
    """Is it a name that everybody shares?"""
    return (key[0] == ADDRESS and key[1] in known.addresses) or (key[0] == USER and key[1] in known.users)


class Groups:
    """Union-find over nodes 0..n-1 with path halving; the smaller number stays the root."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, node: int) -> int:
        """The group's root."""
        parent = self._parent
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def join(self, one: int, other: int) -> None:
        """Make one group of two."""
        a, b = self.find(one), self.find(other)
        if a != b:
            self._parent[max(a, b)] = min(a, b)


@dataclass(frozen=True)
class Living:
    """An earlier incident as far as new alerts can join it: what was seen when; `slack` seconds around that still count."""

    spans: Mapping[Key, Sighting]
    slack: float


def grouped(
    times: Sequence[float], keys: Sequence[Sequence[Key]], living: Sequence[Living], window: float
) -> Groups:  # fmt: skip
    """Group alerts and incidents: nodes 0..k-1 are the k incidents, then the alerts in their order.

    Two alerts are tied by a key if they are at most `window` seconds apart; an alert and an incident if it lies within the
    incident's slack of when the incident saw the key. Incidents are tied by new alerts only, never by what they held before.
    Costs a sort of each key's alerts, and for each incident a search among the alerts of its own keys.
    """
    groups, by_key = Groups(len(living) + len(times)), defaultdict[Key, list[tuple[float, int]]](list)
    for number, found in enumerate(keys):
        for key in found:
            by_key[key].append((times[number], len(living) + number))
    for found_at in by_key.values():
        found_at.sort()
        for (before, one), (after, other) in pairwise(found_at):
            if after - before <= window:
                groups.join(one, other)
    for node, incident in enumerate(living):
        for key, span in incident.spans.items():
            at = by_key.get(key)
            if not at:
                continue
            start = bisect_left(at, (span.first - incident.slack, -1))
            for _, other in at[start : bisect_right(at, (span.last + incident.slack, len(times) + len(living)))]:
                groups.join(node, other)
    return groups
