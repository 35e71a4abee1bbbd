"""Discards of more than a share of a partition wait for another person: asked about as a request, and done under its permit.

What counts is all that was given up of the partition so far, in any flow that reads the same source: neither many small discards
nor two flows get around it. Rows that retention took off the record are not given up any more: the next run judges them again.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.actions import admission, assets, permits, policy, requests, switch, votes
from baton.actions.action import Action
from baton.actions.requests import APPROVED, CHANGE, REFUSED, Origin, Request
from baton.actions.votes import Voter
from baton.errors import BatonError
from baton.names import CONTRACT, INGEST, contract_behind, ingest_of
from baton.quarantine.rows import QuarantinedRow
from baton.record import warehouse
from baton.record.tables import commits, heads, quarantine
from baton.settings import SINGLE, settings

SHARE = 0.05  # of a partition's rows: so many may one person give up alone
Asker = str | Voter
"""Who gives rows up: as they logged in, or only as they say."""
RowsByPlace = Mapping[tuple[str, str], Sequence[QuarantinedRow]]


class DiscardWaits(BatonError):
    """Nothing was discarded: other people have to agree first, and were asked; or somebody refused it."""


class PermitMissing(Exception):
    """There is no permit for these partitions: roll back, so that those of others are not used up, and `ask`."""

    def __init__(self, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__(keys)
        self.keys = tuple(keys)


def let(conn: Connection, groups: RowsByPlace, reason: str, actor: Asker) -> dict[tuple[str, str], dict[str, Any]]:
    """Use up the permits that giving these rows up takes, in the transaction that does it.

    Args:
        groups: rows by flow and partition.
        actor: who does it, and cannot agree to it; of whoever only says who they are the account of this process cannot either.

    Returns:
        what the ledger says beside it, by flow and partition, of those above the share.

    Raises:
        PermitMissing: one is missing.
    """
    wide = {key: share for key, rows in groups.items() if (share := _share(conn, key, rows)) > SHARE}
    if settings().governance == SINGLE:
        return {key: {"share": round(share, 4), "governance": SINGLE} for key, share in wide.items()}
    if wide:
        warehouse.take_turns(conn, switch.TURNS)
    told, lacking = {}, []
    for key, share in wide.items():
        origin, action = _asking(conn, key, groups[key], reason, actor)
        digest = policy.policy_digest(policy.load(origin.pack, conn), action.kind)
        verdict = permits.consume(conn, origin, action, digest, once=True)
        if verdict.permit is None:
            lacking.append(key)
        told[key] = {"share": round(share, 4), "request": verdict.request, "permit": verdict.permit}
    if lacking:
        raise PermitMissing(lacking)
    return told


def ask(conn: Connection, groups: RowsByPlace, reason: str, actor: Asker) -> list[str]:
    """Ask people about it; returns what waits for whom, or was refused, in sentences."""
    warehouse.take_turns(conn, switch.TURNS)
    return [_asked(conn, key, rows, reason, actor) for key, rows in groups.items()]


def _asked(conn: Connection, key: tuple[str, str], rows: Sequence[QuarantinedRow], reason: str, actor: Asker) -> str:
    origin, action = _asking(conn, key, rows, reason, actor)
    admitted = admission.admit(conn, origin, action, policy.load(origin.pack, conn))
    share = _share(conn, key, rows)
    words = f"{key[0]} {key[1]}: {share:.1%} of its rows would be given up, one person alone may give up {SHARE:.0%}"
    if admitted.state == admission.FORBIDDEN:
        return f"{words}; request {admitted.request}: {admitted.words}"
    again = "do the same again once they agreed"
    if why := _nobodys(actor):
        own = "ask under your own name: on the page Quarantine, or from an account of your own"
        return f"{words}; request {admitted.request} waits for two people: {why}, and nobody can tell who of them asks; {again}, or {own}"
    return f"{words}; request {admitted.request} waits for another person: {again}"


def standing(conn: Connection, flow: str, partition: str) -> Request | None:
    """The newest request to give rows of a partition up, while it says something: it is open, was refused, or was agreed to and not done yet."""
    newest = next(iter(requests.of_effect(conn, _effect(f"{flow}/{partition}"))), None)
    if newest is None:
        return None
    says = newest.is_open(warehouse.now()) or newest.state == REFUSED
    return newest if says or (newest.state == APPROVED and permits.unused(conn, newest.effect, newest.id)) else None


def _effect(place: str) -> str:
    return f"{CHANGE}{assets.DISCARD}:{place}"


def _known(actor: Asker) -> Voter:
    """Who that is for certain: whoever logged in. What is typed proves nothing, so then it is the account of this process."""
    if isinstance(actor, Voter) and actor.channel != votes.COMMAND_LINE:
        return actor
    return votes.account()


def named(actor: Asker) -> str:
    """How the record calls them."""
    return actor.known_as if isinstance(actor, Voter) else actor


def _nobodys(actor: Asker) -> str:
    """Why nobody can tell who asks, such as from the account of a container; empty: it is one person.

    Whoever asks may then be anybody, with any `--actor`: so two agree, of whom one at least did not ask.
    """
    return votes.flaw(_known(actor), "")


def _asking(
    conn: Connection, key: tuple[str, str], rows: Sequence[QuarantinedRow], reason: str, actor: Asker
) -> tuple[Origin, Action]:
    flow, partition = key
    place, name = f"{flow}/{partition}", named(actor)
    before = {"discarded": len(_given_up(conn, key, rows))}
    # cells too: a row that somebody repaired meanwhile is not the one that was to be given up
    cells = sorted([f"{row.row}:{row.row_sha}", row.status, repr(sorted(row.repair.items()))] for row in rows)
    after = {
        "discarded": before["discarded"] + len(rows), "rows": len(rows), "first_rows": [name for name, *_ in cells[:10]], "reason": reason,
        "rows_sha256": hashlib.sha256(repr(cells).encode()).hexdigest(),
    }  # fmt: skip
    action = assets.changed(assets.DISCARD, place, f"flow:{flow}", before, after)
    action = replace(action, asset_class=assets.NOBODYS if _nobodys(actor) else "")
    barred = {one: "wants to discard it" for one in (_known(actor).id, name) if one.strip()}
    return Origin(_effect(place), flow, partition, f"flow:{flow}", name, barred=barred), action


def _share(conn: Connection, key: tuple[str, str], rows: Sequence[QuarantinedRow]) -> float:
    """Share of the partition's rows that would be given up then, of the source of which it is the largest."""
    shares, sources = [], sorted({row.source for row in rows})
    ways = {source: (contract_behind(ingest_of(source)), ingest_of(source), CONTRACT, INGEST) for source in sources}
    read = _read(conn, key, {stage for stages in ways.values() for stage in stages})
    for source, stages in ways.items():
        mine = [row for row in rows if row.source == source]
        total = next((read[one] for one in stages if read.get(one)), 0) or _listed(conn, key, source)
        now = _given_up(conn, key, mine) | {(row.row_sha, row.row) for row in mine}
        shares.append(min(1.0, len(now) / total))
    return max(shares)


def _read(conn: Connection, key: tuple[str, str], stages: Collection[str]) -> dict[str, int]:
    """How many rows of the partition each of the stages read, that says so."""
    flow, partition = key
    here = (
        heads.c.flow == flow,
        heads.c.stage.in_(sorted(stages)),
        heads.c.partition == partition,
        heads.c.map_index == -1,  # what tasks read for it is in it
        heads.c.commit_id == commits.c.id,
    )
    rows = conn.execute(sa.select(heads.c.stage, commits.c.facts).where(*here))
    return {row.stage: int(row.facts.get("rows_in", 0)) for row in rows}


def _listed(conn: Connection, key: tuple[str, str], source: str) -> int:
    """How many of a source's rows are in quarantine: what is counted by where no run says how many it read."""
    c = quarantine.c
    mine = (c.flow == key[0], c.partition == key[1], c.source == source)
    listed = sa.select(c.row_sha, c.row).where(*mine).distinct().subquery()
    return int(conn.execute(sa.select(sa.func.count()).select_from(listed)).scalar_one())


def _given_up(conn: Connection, key: tuple[str, str], rows: Sequence[QuarantinedRow]) -> set[tuple[str, int]]:
    """Rows of the partition that were given up before of these rows' sources, in whichever flow reads them."""
    c, sources = quarantine.c, sorted({row.source for row in rows})
    here = (c.partition == key[1], c.status == "discarded", c.source.in_(sources))
    return {(row.row_sha, row.row) for row in conn.execute(sa.select(c.row_sha, c.row).where(*here).distinct())}
