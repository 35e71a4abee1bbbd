"""Alerts and the incidents that still live become incidents: what belongs together is one, over runs, and nothing opens twice.

An incident's id comes from its first alert, so the same partition gives the same ids however often it runs. A late alert joins the
incident into whose time it falls; one that is delivered again changes nothing. Where new alerts show that two incidents are one, the
older takes the other in, whose row says so (`merged_into`). An incident that a person has answered is closed: late and repeated
alerts still join it, what happens later opens another one that `follows` it. Partitions that run side by side claim what they open
(`baton.stages.claims`): the second one's alerts go on under the first one's id, and a later partition puts both rows together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import Field
from sqlalchemy import select

from baton.data.partitions import format_key, parse_key
from baton.errors import BatonError
from baton.record import tables, warehouse
from baton.specs.base import Duration, Spec
from baton.stages import StageJob, StageOutput, engine_step, read_inputs
from baton.stages.claims import Claim, agree, mark
from baton_packs.incident_response.incidents.incident import (
    COLUMNS,
    MERGED,
    NOISE,
    OPEN,
    Incident,
    id_of,
    moment,
    of_row,
    row_of,
    seconds,
    short,
    tie_of_one_rule,
)
from baton_packs.incident_response.incidents.links import (
    ADDRESS,
    HOST,
    SWEEP,
    Declared,
    Key,
    Living,
    Shared,
    Sighting,
    grouped,
    put_in,
    shared,
    ties,
)
from baton_packs.incident_response.incidents.policy import policy

if TYPE_CHECKING:
    import pandas as pd

ALERT = ("alert_id", "event_uid", "time", "source", "rule", "title", "severity_id", "confidence", "technique", "tactic", "host",
         "user", "src_ip", "dst_ip", "reasons")  # fmt: skip
LONGEST = 300  # characters of a text of an alert that an incident keeps
NAMED = 3  # things named in a title or a sentence


class CorrelateOptions(Spec):
    """Options of `stage`."""

    window: Duration = Field(
        default=timedelta(minutes=60), description="two alerts further apart are not tied by a name"
    )
    length: Duration = Field(default=timedelta(minutes=5), description="length of a partition")
    skew: Duration = Field(
        default=timedelta(minutes=5), description="a clock may be so much ahead before its times are cut"
    )
    shared: int = Field(default=20, ge=2, description="a name on more hosts than this is everybody's and ties nothing")
    alerts: int = Field(
        default=200, ge=1, description="alerts kept of an incident, the most severe; their number is kept whole"
    )


@dataclass
class Correlated:
    """What came of it: rows of `COLUMNS`, facts to be told, and what partitions beside this one have to know."""

    rows: list[dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)


def _closed(job: StageJob[CorrelateOptions]) -> dict[str, str]:
    """Incidents that a person answered before this partition took part in them: id -> the answer."""
    table = tables.cases
    query = select(table.c.entity_key, table.c.resolution).where(
        table.c.flow == job.flow, table.c.resolution.is_not(None), table.c.partition < job.partition
    )
    with warehouse.read() as conn:
        return {row.entity_key: str(row.resolution) for row in conn.execute(query)}


def _state(job: StageJob[CorrelateOptions]) -> Mapping[str, Any]:
    return {"closed": _closed(job), "ties": str(policy().declared)}


@engine_step(CorrelateOptions, fingerprint=_state)
def stage(job: StageJob[CorrelateOptions]) -> StageOutput:
    """Correlate the partition's alerts, see `correlate`.

    Inputs: alerts; earlier (rows of this stage for the partitions before, oldest first).

    Returns:
        a row per incident that this partition touches, see `COLUMNS`; facts: alerts, incidents, opened, joined (alerts that
        joined an earlier incident), beside (incidents of partitions that run beside this one), merged, duplicates, late, shared
        (names that tie nothing), `degraded` sentences.
    """
    import pandas as pd

    frames, closed, start = read_inputs(job.inputs), _closed(job), parse_key(job.partition)

    def beside(claims: Sequence[Claim]) -> Correlated:
        return correlate(
            frames["alerts"], frames["earlier"], job.partition, job.options, closed, policy().declared, claims
        )

    alone = beside(())
    marks = {one.mark for one in alone.claims}

    def decide(claims: Sequence[Claim]) -> tuple[Correlated, list[Claim]]:
        # turns are taken meanwhile: it is done again only where somebody saw the same names
        found = beside(claims) if any(one.mark in marks for one in claims) else alone
        return found, found.claims

    near = job.options.window + job.options.length
    since, until = format_key(start - near), format_key(start + near)
    seen = set(frames["earlier"]["partition"])
    found = alone if job.dry_run else agree(job.slot, since, until, seen, decide)
    frame = pd.DataFrame(found.rows, columns=list(COLUMNS))
    for name in ("opened_at", "first_seen", "last_seen"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return StageOutput(
        frame.astype(
            {
                "severity_id": "int64",
                "alerts_total": "int64",
                "new_alerts": "int64",
                "late": "bool",
                "confidence": "float64",
            }
        ),
        found.facts,
    )


def correlate(
    alerts: pd.DataFrame, earlier: pd.DataFrame, partition: str, options: CorrelateOptions,
    closed: Mapping[str, str] | None = None,
    declared: Declared = Declared(),  # noqa: B008 - it cannot be changed
    beside: Iterable[Claim] = (),
) -> Correlated:  # fmt: skip
    """Put alerts into incidents; costs a sort of the alerts, and a look-up of each in what still lives.

    Args:
        alerts: columns of `ALERT`, any number of rows; the same alert may be there twice.
        earlier: rows of earlier partitions with the columns of `COLUMNS` and `partition`; the last of an incident counts.
        closed: incidents that a person has answered.
        declared: what the policy says of ties.
        beside: what partitions that are not among the earlier ones take for theirs.

    Raises:
        BatonError: a column of the alerts is missing.
    """
    start = parse_key(partition).timestamp()
    end = start + options.length.total_seconds()
    known, alive = _alive(earlier, closed or {})
    fresh, facts = _read(alerts, end, options)
    owner = {one: incident for incident in alive for one in incident.ids}
    again = [alert for alert in fresh if short(alert["alert_id"]) in owner]
    fresh = [alert for alert in fresh if short(alert["alert_id"]) not in owner]
    facts["duplicates"] += len(again)

    names = _shared(fresh, alive, start, options, declared)
    keys = [ties(alert, names) for alert in fresh]
    window = options.window.total_seconds()
    claimed = _claimed(beside, keys, known)
    known_ids = {one.incident_id for one in alive}
    alive += [Incident(one, end) for one in claimed if one not in known_ids]
    living = [
        Living(
            _spans(one, names, claimed.get(one.incident_id, {})), 0.0 if one.incident_id in (closed or {}) else window
        )
        for one in alive
    ]
    groups = grouped([alert["at"] for alert in fresh], keys, living, window)
    members: dict[int, tuple[list[Incident], list[int]]] = {}
    for node, incident in enumerate(alive):
        members.setdefault(groups.find(node), ([], []))[0].append(incident)
    for number in range(len(fresh)):
        members.setdefault(groups.find(len(alive) + number), ([], []))[1].append(number)

    rows, count = [], dict.fromkeys(("opened", "joined", "beside", "merged", "late"), 0)
    mine: dict[tuple[Key, str], Sighting] = {}
    for incidents, numbers in members.values():
        if not numbers:
            continue  # nothing new of it in this partition
        late = [number for number in numbers if fresh[number]["at"] < start]
        one, others = _owner(incidents, closed or {})
        if one is None:
            first = min((fresh[number] for number in numbers), key=lambda alert: (alert["at"], alert["alert_id"]))
            one = Incident(
                id_of(first["alert_id"]), end, follows=_followed(keys, numbers, fresh, alive, closed or {}, window)
            )
            count["opened"] += 1
        elif one.incident_id in known_ids:
            count["joined"] += len(numbers)
        else:
            count["beside"] += 1
        for number in numbers:
            alert, at = fresh[number], fresh[number]["at"]
            one.add(alert, put_in(alert, keys[number], names), keys[number], at < start, partition)
            for key in keys[number]:
                mine.setdefault((key, one.incident_id), Sighting(at, at)).add(Sighting(at, at))
        for other in others:
            one.absorb(other)
            rows.append(_merged(known[other.incident_id], one.incident_id))
        count["merged"] += len(others)
        count["late"] += len(late)
        rows.append(row_of(one, options.alerts, _quiet(one), title_of(one)))
        if one.forgets:
            facts["degraded"].append(
                f"incident {one.incident_id} has more alerts than it can know again: its counts may hold repetitions"
            )
    said = facts.pop("degraded")
    facts |= {
        "incidents": sum(row["state"] != MERGED for row in rows),
        **count,
        "shared": sorted((names.addresses | names.users) - declared.infrastructure)[:NAMED],
    }
    rows.sort(key=lambda row: (row["opened_at"], row["incident_id"]))
    claims = [Claim(mark(*key), owner, span.first, span.last) for (key, owner), span in mine.items()]
    return Correlated(rows, {**facts, **({"degraded": said} if said else {})}, claims)


def _claimed(
    beside: Iterable[Claim], keys: Iterable[Iterable[Key]], known: Mapping[str, Mapping[Any, Any]]
) -> dict[str, dict[Key, Sighting]]:
    """What partitions beside this one saw of the names in its own alerts, by the incident that they took it for."""
    wanted, found = {mark(*key): key for tied in keys for key in tied}, defaultdict[str, dict[Key, Sighting]](dict)
    for one in beside:
        if one.mark in wanted and known.get(one.owner, {}).get("state") != MERGED:
            span = Sighting(one.first, one.last)
            found[one.owner].setdefault(wanted[one.mark], span).add(span)
    return found


def _alive(earlier: pd.DataFrame, closed: Mapping[str, str]) -> tuple[dict[str, dict[Any, Any]], list[Incident]]:
    """The last row of each incident by its id, and the incidents that something may still join.

    A row whose alerts are all new was made beside the others: it adds to them. Any other row holds what was before it.
    """
    rows: dict[str, list[dict[Any, Any]]] = {}
    for row in earlier.to_dict("records"):  # oldest partition first
        before = rows.get(row["incident_id"], [])
        apart = bool(before) and row["alerts_total"] == row["new_alerts"] and before[-1]["state"] != MERGED
        rows[row["incident_id"]] = [*before, row] if apart else [row]
    alive = []
    for _, found in sorted(rows.items()):
        if found[-1]["state"] != MERGED:
            one = of_row(found[0])
            for row in found[1:]:
                one.absorb(of_row(row))
            one.opened_at = min(seconds(row["opened_at"]) for row in found)
            alive.append(one)
    return {key: found[-1] for key, found in rows.items()}, alive


def _read(frame: pd.DataFrame, end: float, options: CorrelateOptions) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Alerts as plain data with `at`, each once; facts: alerts, duplicates, ahead (their clock), degraded."""
    if missing := [name for name in ALERT if name not in frame]:
        raise BatonError(f"frame alerts: column {missing[0]} is missing; correlate needs {', '.join(ALERT)}")
    found: dict[str, dict[str, Any]] = {}
    ahead, skew = 0, options.skew.total_seconds()
    columns = [frame[name].tolist() for name in ALERT]
    for cells in zip(*columns, strict=True):
        alert = {name: _plain(value) for name, value in zip(ALERT, cells, strict=True)}
        if alert["alert_id"] in found:
            continue
        at = seconds(cells[2])
        if at > end + skew:  # a clock that is ahead would keep its incident alive for hours
            at, ahead = end, ahead + 1
        found[alert["alert_id"]] = {
            **alert,
            "severity_id": int(alert["severity_id"]),
            "confidence": float(alert["confidence"]),
            "at": at,
        }
    said = (
        [f"{ahead} alerts are ahead of their partition by more than {skew:g} s: they count as at its end"]
        if ahead
        else []
    )
    ordered = sorted(found.values(), key=lambda alert: (alert["at"], alert["alert_id"]))
    return ordered, {"alerts": len(frame), "duplicates": len(frame) - len(found), "ahead": ahead, "degraded": said}


def _plain(value: Any) -> Any:
    """A cell as JSON holds it: no NaN, no long text."""
    if value is None or value != value:
        return None
    return value[:LONGEST] if isinstance(value, str) and not value.startswith("[") else value


def _shared(
    fresh: Iterable[Mapping[str, Any]],
    alive: Iterable[Incident],
    start: float,
    options: CorrelateOptions,
    declared: Declared,
) -> Shared:
    since = start - options.window.total_seconds()
    recent = [one for one in alive if one.last >= since]
    sweeps = [name for one in recent for kind, name in one.spans if kind == SWEEP]
    return shared(
        [*fresh, *(alert for one in recent for alert in one.alerts.values())], sweeps, options.shared, declared
    )


def _spans(one: Incident, names: Shared, claimed: Mapping[Key, Sighting]) -> dict[Key, Sighting]:
    """When an incident saw what may tie something to it, what partitions beside this one say among it."""
    found = {key: replace(span) for key, span in one.spans.items() if span.ties}
    found |= {key: Sighting(one.first, one.last) for key in tie_of_one_rule(one, names) if key not in one.spans}
    for key, span in claimed.items():
        found.setdefault(key, replace(span)).add(span)
    return found


def _owner(incidents: list[Incident], closed: Mapping[str, str]) -> tuple[Incident | None, list[Incident]]:
    """Whose alerts they are, and the other open incidents that are the same: the oldest open one, else a closed one."""
    ordered = sorted(incidents, key=lambda one: (not one.total, one.opened_at, one.incident_id))
    still = [one for one in ordered if one.incident_id not in closed]
    # of one that a partition beside this one opened nothing is known yet: it gives its name, and is not taken in
    return (still[0], [one for one in still[1:] if one.total]) if still else (ordered[0] if ordered else None, [])


def _followed(
    keys: list[list[Key]], numbers: list[int], fresh: list[dict[str, Any]], alive: list[Incident],
    closed: Mapping[str, str], window: float,
) -> str:  # fmt: skip
    """The closed incident that new alerts go on from, "" for none."""
    seen = {(key, fresh[number]["at"]) for number in numbers for key in keys[number]}
    for one in reversed([one for one in alive if one.incident_id in closed]):
        if any(key in one.spans and -window <= at - one.spans[key].last <= window for key, at in seen):
            return one.incident_id
    return ""


def _merged(row: Mapping[Any, Any], into: str) -> dict[str, Any]:
    """The last row of an incident that another one took in."""
    title = f"{row['title']} (merged into {into})" if row["state"] != MERGED else row["title"]
    times = {name: moment(seconds(row[name])) for name in ("opened_at", "first_seen", "last_seen")}
    return {
        **{name: row[name] for name in COLUMNS},
        **times,
        "state": MERGED,
        "merged_into": into,
        "title": title,
        "new_alerts": 0,
        "late": False,
    }


def _quiet(one: Incident) -> str:
    """`noise`: nothing but informational alerts."""
    return NOISE if one.severity_id <= 1 else OPEN


def title_of(one: Incident) -> str:
    """What people call it: its gravest finding and where, such as `Password guessing on web-1 from 203.0.113.9`."""
    top = max(
        one.alerts.values(),
        key=lambda alert: (alert["severity_id"], alert["confidence"], -alert["at"], alert["alert_id"]),
    )
    text = " ".join(str(top["title"] or top["rule"]).split())[:70]
    hosts, others = one.names(HOST), one.names(ADDRESS)
    sources = [str(top["src_ip"])] if top.get("src_ip") else others[:1]
    where = f" on {_few(hosts)}" if hosts else ""
    return f"{text}{where}{f' from {sources[0]}' if sources else ''}"


def _few(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more hosts"
