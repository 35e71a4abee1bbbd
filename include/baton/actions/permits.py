"""Permits: what lets one effect begin, once. Bound by SHA-256 to all that was agreed to, and checked when the effect begins."""

import secrets
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.actions.action import Action, digest
from baton.actions.policy import Judgement
from baton.actions.requests import Origin, later
from baton.record import ledger, warehouse
from baton.record.tables import permits as table


@dataclass(frozen=True)
class Verdict:
    """Whether an effect may begin: `permit` is its number; `why` not; `request`: the one that people agreed to."""

    permit: int | None
    why: str = ""
    request: int | None = None


def issue(conn: Connection, origin: Origin, action: Action, judged: Judgement, policy: str, request: int | None) -> int:
    """Issue a permit for one effect; those that it had and did not use are void from now on.

    Args:
        request: that people agreed to; None: the policy lets it through by itself.
    """
    void(conn, origin.effect, "another permit was issued")
    nonce, expires = secrets.token_hex(16), later(judged.permit_minutes)
    values = {
        "effect": origin.effect, "request": request, "pack": origin.pack, "level": judged.level, "rule": judged.rule,
        "subject": _subject(origin.effect, action, policy, expires, nonce), "policy": policy, "nonce": nonce,
        "issued_at": warehouse.now(), "expires_at": expires,
    }  # fmt: skip
    return int(conn.execute(table.insert().values(values).returning(table.c.id)).scalar_one())


def _subject(effect: str, action: Action, policy: str, expires: str, nonce: str) -> str:
    bound = {
        "effect": effect, "action": action.kind, "target": action.target, "payload": digest(action.payload),
        "entity": action.entity_key, "evidence": action.evidence_digest, "policy": policy, "expires": expires,
        "nonce": nonce,
    }  # fmt: skip
    return digest(bound)


def consume(
    conn: Connection, origin: Origin, action: Action, policy: str, doubtful: bool = False, *, once: bool = False
) -> Verdict:
    """Use an effect's permit, in the transaction in which the effect begins; one that it used itself it may go on under.

    Args:
        action: as the outbox has it now; `policy`: its digest as it is now.
        doubtful: the other side may have it already: a permit that it used holds on after its end.
        once: it is done by this very transaction, so that nothing goes on under a permit that was used.
    """
    c = table.c
    mine = sa.select(table).where(c.effect == origin.effect, c.void_at.is_(None)).order_by(c.id.desc()).limit(1)
    found = conn.execute(mine).mappings().first()
    if found is None:
        return Verdict(None, "there is no permit for it")
    if found["policy"] != policy:
        return Verdict(None, "the policy was changed after its permit was issued")
    if found["subject"] != _subject(origin.effect, action, policy, found["expires_at"], found["nonce"]):
        return Verdict(None, "it is not what its permit was issued for")
    if once and found["used_at"] is not None:
        return Verdict(None, f"its permit was used at {found['used_at'][:19]}")
    at = warehouse.now()
    if found["expires_at"] <= at and not (doubtful and found["used_at"] is not None):
        return Verdict(None, f"its permit expired at {found['expires_at'][:19]}")
    free = [c.id == found["id"], c.void_at.is_(None), c.used_at.is_(None)]
    free[2] = free[2] if once else free[2] | (c.used_by == origin.effect)
    values = {"used_at": sa.func.coalesce(c.used_at, at), "used_by": origin.effect}
    if conn.execute(table.update().where(*free).values(values)).rowcount != 1:
        return Verdict(None, "its permit was used by another effect")
    if found["used_at"] is None:
        said = {"permit": found["id"], "effect": origin.effect, "request": found["request"], "level": found["level"]}
        ledger.append(conn, "permit_used", origin.named(action), said)
    return Verdict(int(found["id"]), request=found["request"])


def void(conn: Connection, effect: str, why: str) -> None:
    """Void the permits of an effect that were not used."""
    mine = (table.c.effect == effect, table.c.void_at.is_(None), table.c.used_at.is_(None))
    conn.execute(table.update().where(*mine).values(void_at=warehouse.now(), void_why=why))


def retire(conn: Connection, effect: str, why: str) -> None:
    """Void all permits of an effect, also a used one: nothing is to be sent under it any more."""
    mine = (table.c.effect == effect, table.c.void_at.is_(None))
    conn.execute(table.update().where(*mine).values(void_at=warehouse.now(), void_why=why))


def stands(conn: Connection, effect: str) -> bool:
    """Whether an effect that has begun may go on: nobody took back the permit that it used."""
    c = table.c
    mine = (c.effect == effect, c.used_by == effect, c.void_at.is_(None))
    return conn.execute(sa.select(c.id).where(*mine).limit(1)).first() is not None


def unused(conn: Connection, effect: str, request: int) -> bool:
    """Whether an effect has a permit by this request that it may still use."""
    c = table.c
    free = (c.effect == effect, c.request == request, c.void_at.is_(None), c.used_at.is_(None))
    return conn.execute(sa.select(c.id).where(*free, c.expires_at > warehouse.now()).limit(1)).first() is not None


def lapsed(conn: Connection, request: int) -> bool:
    """Whether what people agreed to was not done in time, or was dropped since."""
    c = table.c
    late = (c.request == request, c.void_at.is_not(None) | (c.used_at.is_(None) & (c.expires_at <= warehouse.now())))
    return conn.execute(sa.select(c.id).where(*late).limit(1)).first() is not None


def issued(conn: Connection, pack: str, rule: str, level: str, minutes: float = 60) -> int:
    """How many permits a rule gave at a level in the last minutes."""
    c = table.c
    query = sa.select(sa.func.count()).where(c.pack == pack, c.rule == rule, c.issued_at > later(-minutes))
    return int(conn.execute(query.where(c.level == level, c.void_at.is_(None))).scalar_one())
