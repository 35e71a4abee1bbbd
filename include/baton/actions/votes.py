"""Votes: one person's word on one request. What is checked here no setting turns off, and administrators are not exempt."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.actions import assets, requests
from baton.actions.requests import APPROVED, OPEN, REFUSED, Request
from baton.errors import BatonError
from baton.governance import duties
from baton.record import ledger, warehouse
from baton.record.tables import requests as asked
from baton.record.tables import votes as table

APPROVE, REFUSE = "approved", "refused"
NOT_COUNTED = "vote_not_counted"
COMMAND_LINE = "command line"  # whose full names people write themselves: they bar somebody, and give nobody a duty
_PROGRAMS = ("flow:", "agent:", "service:")
_NOBODY = {"", "unknown", "anonymous", "none", "null", "nobody"}
_SERVICES = {"service", "baton", "airflow", "mlflow", "root", "system", "scheduler", "postgres"}
_NO_LOGIN = {"nologin", "false"}  # shells of accounts that no person logs in to


class VoteRefused(BatonError):
    """The vote does not count; the message says why and what to do."""


@dataclass(frozen=True)
class Voter:
    """Who votes: the id that they logged in with, what people call them, and where they said it."""

    person: str
    name: str = ""
    channel: str = "airflow"

    @property
    def id(self) -> str:
        """The id as it is compared: upper and lower case are the same person."""
        return self.person.strip().casefold()

    @property
    def known_as(self) -> str:
        """What people call them: in a database of users the id is a number, which tells a reader nothing."""
        return self.name or self.person

    @property
    def names(self) -> frozenset[str]:
        """All that they are known by: Airflow knows people by an id and a name, what they started says the name alone."""
        return frozenset({self.id, self.name.strip().casefold()} - {""})

    def same_as(self, other: "Voter") -> bool:
        """Whether both may be one person: they share anything that they are known by."""
        return bool(self.names & other.names)


def account() -> Voter:
    """Whose process this is: the account, not what a variable says, since votes of two people are compared by it."""
    try:
        found = pwd.getpwuid(os.getuid())
    except KeyError:
        return Voter("", "", COMMAND_LINE)
    name = found.pw_gecos.split(",")[0] or found.pw_name
    if PurePath(found.pw_shell).name in _NO_LOGIN:  # such as `docker compose exec --user games`
        return Voter(f"service:{found.pw_name}", name, COMMAND_LINE)
    return Voter(found.pw_name, name, COMMAND_LINE)


def flaw(voter: Voter, requester: str, barred: Mapping[str, str] | None = None) -> str:
    """Why somebody cannot approve what this requester wants, and what those who are barred had a part in; empty: they can."""
    if voter.id in _NOBODY:
        return "nobody knows who this is: log in under your own name"
    if voter.id in _SERVICES or voter.id.startswith(_PROGRAMS):
        return f"{voter.known_as} is an account of a service, not a person"
    for one, why in {**(barred or {}), requester: "asked for it"}.items():
        if one.strip().casefold() in voter.names:
            return f"{voter.known_as} {why}; somebody else has to agree"
    return ""


def why_not(conn: Connection, request: Request, voter: Voter) -> str:
    """Why somebody cannot approve an open request, before they try; empty: they can."""
    agreed = conn.execute(_said(request, APPROVE, table.c.person, table.c.name))
    if any(voter.same_as(Voter(*row)) for row in agreed):
        return "you have agreed already"
    return flaw(voter, request.requester, request.barred) or _lacks(conn, request, voter)


def _lacks(conn: Connection, request: Request, voter: Voter) -> str:
    who = duties.Who(voter.id, voter.name if voter.channel != COMMAND_LINE else "")
    return duties.lacks(conn, asset_of(request), "approve", who)


def asset_of(request: Request) -> str:
    """The asset that a request is about: what it names itself, or the effect of its pack."""
    return request.pack if ":" in request.pack else f"effect:{request.pack}/{request.kind}"


def cast(
    conn: Connection, request: Request, voter: Voter, answer: str, seen: str, reason: str = "", at: str = ""
) -> Request:
    """Record a vote, with its ledger entry; returns the request as it is then: open, approved or refused.

    Args:
        seen: the request's `seen`, as the voter was shown it.
        at: when it was said, if earlier.

    Raises:
        VoteRefused: the request is not open, it is another one by now, or the voter may not.
    """
    now = warehouse.now()
    if request.state != OPEN:
        why = f" ({request.note})" if request.note else ""
        raise VoteRefused(f"request {request.id} is {request.state}{why}: nothing is left to answer")
    if not request.is_open(now):
        raise VoteRefused(f"request {request.id} expired at {request.expires_at[:19]}: it has to be asked anew")
    if seen != request.seen:
        raise VoteRefused(f"request {request.id} is not what you saw: look at it again, then answer")
    if answer not in (APPROVE, REFUSE):
        raise VoteRefused(f"answer {answer!r}: allowed are {APPROVE} and {REFUSE}")
    # whoever asked may take it back, which is no approval; a second look is another's, whatever they find
    others = answer == APPROVE or (request.of_asset and request.kind == assets.LOOK_AGAIN)
    if why := flaw(voter, *((request.requester, request.barred) if others else ("",))):
        raise VoteRefused(f"request {request.id}: {why}")
    if answer == APPROVE and (why := _lacks(conn, request, voter)):
        raise VoteRefused(f"request {request.id}: {why}")
    here = table.c.request == request.id
    for row in conn.execute(sa.select(table).where(here)).all():
        if not voter.same_as(Voter(row.person, row.name)):
            continue
        if row.answer == answer:
            raise VoteRefused(
                f"request {request.id}: {voter.known_as} has answered it already; another person is needed"
            )
        conn.execute(table.delete().where(here, table.c.person == row.person))
    values = {"request": request.id, "person": voter.id, "name": voter.known_as, "answer": answer}
    values |= {"reason": reason or None, "seen": seen, "channel": voter.channel, "at": at or now}
    conn.execute(table.insert().values(values))
    said = {"request": request.id, "effect": request.effect, "person": voter.id, "answer": answer}
    said |= {"reason": reason, "seen": seen, "channel": voter.channel}
    ledger.append(conn, "action_voted", request.named, said)
    if answer == REFUSE:
        requests.close(conn, request, REFUSED, f"by {voter.known_as}{': ' + reason if reason else ''}")
    elif len(approvers(conn, request)) >= request.needs:
        requests.close(conn, request, APPROVED)
    return requests.find(conn, request.id)


def not_counted(conn: Connection, request: Request, voter: Voter, answer: str, why: str) -> None:
    """Record a vote that was refused where its voter cannot be told why at once: the page Actions tells them.

    Args:
        why: what `VoteRefused` said.
    """
    said = {
        "request": request.id,
        "effect": request.effect,
        "person": voter.id,
        "name": voter.known_as,
        "answer": answer,
    }
    said |= {"why": why, "channel": voter.channel}
    ledger.append(conn, NOT_COUNTED, request.named, said)


def approvers(conn: Connection, request: Request) -> list[str]:
    """Ids of those who said yes to what the request is now."""
    return list(conn.scalars(_said(request, APPROVE, table.c.person)))


def of(conn: Connection, request: Request, answer: str) -> list[tuple[str, str]]:
    """Name and channel of those who gave this answer to what the request is now, the first one first."""
    return [(row.name, row.channel) for row in conn.execute(_said(request, answer, table.c.name, table.c.channel))]


def void(conn: Connection, request: Request) -> tuple[Request, list[Voter]] | None:
    """The last request about the same effect, before this one, that somebody agreed to, and who did: it is another one, so their yes
    counts for nothing here."""
    agreed = (table.c.request == asked.c.id, table.c.seen == asked.c.seen, table.c.answer == APPROVE)
    earlier = (asked.c.effect == request.effect, asked.c.id < request.id)
    last = conn.execute(
        sa.select(asked.c.id).join(table, sa.and_(*agreed)).where(*earlier).order_by(asked.c.id.desc()).limit(1)
    ).scalar()
    if last is None:
        return None
    former = requests.find(conn, last)
    said = conn.execute(_said(former, APPROVE, table.c.person, table.c.name, table.c.channel))
    return former, [Voter(*row) for row in said]


def _said(request: Request, answer: str, *columns: Any) -> sa.Select[Any]:
    here = (table.c.request == request.id, table.c.answer == answer, table.c.seen == request.seen)
    return sa.select(*columns).where(*here).order_by(table.c.at)
