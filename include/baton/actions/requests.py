"""Requests: effects, and changes of assets, that wait for people. One is about exactly one action under one policy; anything
else is another one.

open       people may answer until `expires_at`
approved   enough of them agreed: a permit was issued
refused    one of them said no; the same action is not asked about again
expired    nobody, or too few, answered in time
withdrawn  what it was about is settled or was dropped from the plan
replaced   payload, target, evidence or policy changed: its votes count for nothing
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.actions.action import Action, digest
from baton.actions.policy import Judgement
from baton.errors import BatonError
from baton.record import ledger, warehouse
from baton.record.tables import requests as table

OPEN, APPROVED, REFUSED = "open", "approved", "refused"
EXPIRED, WITHDRAWN, REPLACED = "expired", "withdrawn", "replaced"
CHANGE = "change:"  # keys of changes begin so; no key of an effect has a colon


@dataclass(frozen=True)
class Origin:
    """Where an effect, or a change of an asset, comes from.

    Attributes:
        effect: its key.
        pack: whose `actions.yaml` decides; of a change the asset, see `policy.load`.
        requester: who wants it: `flow:<flow>`, or the id or name of a person; they cannot approve it.
        undoes: key of the effect that it takes back.
        barred: who else cannot approve it, by id or name -> why, as in "ada started the training".
    """

    effect: str
    flow: str
    partition: str
    pack: str
    requester: str
    undoes: str | None = None
    barred: Mapping[str, str] = field(default_factory=dict)

    def named(self, action: Action) -> str:
        """How errors and the ledger call it."""
        return _named(self.effect, self.flow, self.partition, action.entity_key)


@dataclass(frozen=True)
class Request:
    """One row of `requests`; `seen` is what a vote has to name."""

    id: int
    effect: str
    flow: str
    partition: str
    entity_key: str
    kind: str
    target: str
    pack: str
    level: str
    rule: str
    needs: int
    reasons: list[str]
    requester: str
    action: dict[str, Any]
    subject: str
    seen: str
    state: str
    note: str | None
    opened_at: str
    updated_at: str
    expires_at: str
    barred: dict[str, str] | None = None
    policy: str = ""

    @property
    def of_asset(self) -> bool:
        """Whether it is about a change of an asset, which no outbox carries out."""
        return self.effect.startswith(CHANGE)

    @property
    def undoes(self) -> str | None:
        """Key of the effect that it would take back; None: it takes none back."""
        return self.action.get("undoes")

    @property
    def named(self) -> str:
        """How errors and the ledger call it."""
        return _named(self.effect, self.flow, self.partition, self.entity_key)

    def is_open(self, at: str) -> bool:
        """Whether people may answer it at that time."""
        return self.state == OPEN and self.expires_at > at


def _named(effect: str, flow: str, partition: str, entity_key: str) -> str:
    return entity_key if effect.startswith(CHANGE) else f"{flow}/{partition}/{entity_key}"


_COLUMNS = [table.c[one.name] for one in fields(Request)]


def subject_of(action: Action, policy: str) -> str:
    """What a request is about: all that is shown of the action, under this policy."""
    return digest([action.shown, policy])


def later(minutes: float) -> str:
    """The time in so many minutes, as all tables write it."""
    return warehouse.stamp(datetime.now(UTC) + timedelta(minutes=minutes))


def ask(conn: Connection, origin: Origin, action: Action, judged: Judgement, policy: str) -> Request:
    """Open a request, with its ledger entry."""
    at, subject = warehouse.now(), subject_of(action, policy)
    told = {**action.described(), "payload": action.payload, **({"undoes": origin.undoes} if origin.undoes else {})}
    values = {
        "effect": origin.effect, "flow": origin.flow, "partition": origin.partition, "entity_key": action.entity_key,
        "kind": action.kind, "target": action.target, "pack": origin.pack, "level": judged.level, "rule": judged.rule,
        "needs": judged.needs, "reasons": list(judged.reasons), "requester": origin.requester, "action": told,
        "subject": subject, "seen": digest([subject, judged.level, origin.requester, origin.effect]),
        "evidence": action.evidence_digest, "policy": policy, "state": OPEN, "opened_at": at, "updated_at": at,
        "expires_at": later(judged.answer_minutes), "barred": dict(origin.barred) or None,
    }  # fmt: skip
    number = conn.execute(table.insert().values(values).returning(table.c.id)).scalar_one()
    found = find(conn, int(number))
    said = {"request": found.id, "effect": origin.effect, "action": action.kind, "level": found.level, "rule": found.rule,
            "needs": found.needs, "requester": found.requester, "seen": found.seen, "expires_at": found.expires_at,
            **({"barred": found.barred} if found.barred else {})}  # fmt: skip
    ledger.append(conn, "action_requested", found.named, said)
    return found


def find(conn: Connection, number: int) -> Request:
    """The request of that number. Raises BatonError: there is none."""
    row = conn.execute(sa.select(*_COLUMNS).where(table.c.id == number)).first()
    if row is None:
        raise BatonError(f"no request has the number {number}; `baton actions list` shows those that are open")
    return Request(*row)


def of_effect(conn: Connection, effect: str) -> list[Request]:
    """All requests about an effect, the newest first."""
    query = sa.select(*_COLUMNS).where(table.c.effect == effect).order_by(table.c.id.desc())
    return [Request(*row) for row in conn.execute(query)]


def explain(conn: Connection, number: int, words: str) -> None:
    """Add why it is asked, in a person's words, for those who have to agree; it decides nothing."""
    request = find(conn, number)
    conn.execute(table.update().where(table.c.id == number).values(reasons=[*request.reasons, words]))


def close(conn: Connection, request: Request, state: str, note: str = "", of: str = OPEN) -> bool:
    """End an open request, or one in the state `of`; False where it is not in that state any more."""
    values = {"state": state, "note": note or None, "updated_at": warehouse.now()}
    here = (table.c.id == request.id, table.c.state == of)
    return bool(conn.execute(table.update().where(*here).values(values)).rowcount == 1)


def still_open(flow: str | None = None, partition: str | None = None, conn: Connection | None = None) -> list[Request]:
    """Requests that people may answer now, the oldest first."""
    query = sa.select(*_COLUMNS).where(table.c.state == OPEN, table.c.expires_at > warehouse.now())
    query = query if flow is None else query.where(table.c.flow == flow)
    query = query if partition is None else query.where(table.c.partition == partition)
    return _read(query.order_by(table.c.id), conn)


def of_kind(kind: str, states: Sequence[str], conn: Connection | None = None) -> list[Request]:
    """Requests about actions of a kind in one of the states, whatever their age, the oldest first."""
    here = (table.c.kind == kind, table.c.state.in_(states))
    return _read(sa.select(*_COLUMNS).where(*here).order_by(table.c.id), conn)


def overdue(conn: Connection) -> list[Request]:
    """Requests that are over because nobody answered, and do not say so yet."""
    query = sa.select(*_COLUMNS).where(table.c.state == OPEN, table.c.expires_at <= warehouse.now())
    return _read(query.order_by(table.c.id), conn)


def about(conn: Connection, flow: str, entity_key: str, states: Sequence[str]) -> list[Request]:
    """Requests about an entity in one of the states."""
    here = (table.c.flow == flow, table.c.entity_key == entity_key, table.c.state.in_(states))
    return _read(sa.select(*_COLUMNS).where(*here).order_by(table.c.id), conn)


def _read(query: sa.Select[Any], conn: Connection | None) -> list[Request]:
    if conn is not None:
        return [Request(*row) for row in conn.execute(query)]
    with warehouse.read() as own:
        return [Request(*row) for row in own.execute(query)]
