"""What is to be done outside and waits for people, what was done and can be taken back, and whether all of it is stopped."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, tuple_

from baton.actions import assets, promotions, requests, switch
from baton.actions.requests import Request
from baton.actions.votes import APPROVE, NOT_COUNTED, Voter, why_not
from baton.console.host import Rights
from baton.effects import overview
from baton.effects.overview import EffectState, ShownRequest
from baton.record import ledger, tables
from baton.record.warehouse import read, stamp

NEWEST = 50  # effects that the page lists
TOLD_WITHIN, REFUSALS = timedelta(days=1), 200  # how long, and of how many people's, a vote in vain is told


def gather(rights: Rights) -> dict[str, Any]:
    """The page Actions: `stopped` (by, at, reason, or None), `may_stop`, `in_vain`, `requests`, `notices`, `effects`; what the person may read."""
    stopped = switch.stopped()
    found: dict[str, Any] = {
        "stopped": asdict(stopped) if stopped else None, "may_stop": rights.decide(None), "person": rights.person.name,
        "in_vain": in_vain(rights),
        "requests": [shown_request(rights, one) for one in overview.open_requests() if may_see(rights, one.request)],
        "notices": [_standing(rights, one) for one in overview.notices() if rights.read(one.effect.flow)],
        "effects": [_standing(rights, one) for one in overview.newest(NEWEST) if rights.read(one.effect.flow)],
    }  # fmt: skip
    rows = [*found["requests"], *found["notices"], *found["effects"]]
    titles = _titles((one["flow"], one["entity_key"]) for one in rows if rights.decide(one["flow"]))
    for one in rows:
        one["title"] = titles.get((one["flow"], one["entity_key"]))
    return found


def in_vain(rights: Rights, now: datetime | None = None) -> list[dict[str, Any]]:
    """This person's votes of the last day that did not count, the newest first, with why: where they were given nothing could say it."""
    since = stamp((now or datetime.now(UTC)) - TOLD_WITHIN)
    who, found = Voter(rights.person.id, rights.person.name), []
    with read() as conn:
        for entry in ledger.entries(kind=NOT_COUNTED, limit=REFUSALS, conn=conn, since=since):
            said = entry.payload
            if not who.same_as(Voter(said["person"], said["name"])):
                continue
            told = {name: said[name] for name in ("request", "answer", "why", "channel")}
            found += [  # none where the request went with the person that it was about
                {"at": entry.at, "kind": asked.kind, "target": asked.target, **told}
                for asked in requests.of_effect(conn, said["effect"])
                if asked.id == said["request"] and may_see(rights, asked)
            ]
    return found


def _titles(cases: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What people call these cases; some effects are about none."""
    table = tables.cases
    wanted = tuple_(table.c.flow, table.c.entity_key).in_(sorted(set(cases)))
    with read() as conn:
        rows = conn.execute(select(table.c.flow, table.c.entity_key, table.c.title).where(wanted))
        return {(row.flow, row.entity_key): row.title for row in rows if row.title}


def of_case(
    rights: Rights, flow: str, entity_key: str, moments: Mapping[str, Mapping[str, Any]] = {}
) -> dict[str, list[dict[str, Any]]]:
    """The part of a decision card: requests that are open, and all effects of the entity.

    Args:
        moments: of the card's timelines, by id: what is known of a request's evidence.
    """
    asked = overview.open_requests(flow, entity_key)
    return {
        "requests": [{**shown_request(rights, one, moments), "title": None} for one in asked],
        "effects": [{**_standing(rights, one), "title": None} for one in overview.of_entity(flow, entity_key)],
    }


def summary(rights: Rights) -> dict[str, Any]:
    """The part of Today: how many requests wait (promotions stand by themselves), what went with a notice, the switch, and
    `unseen`: rollbacks that nobody else has looked at in time."""
    stopped = switch.stopped()
    waiting = [one for one in requests.still_open() if one.kind != assets.PROMOTE or not one.of_asset]
    return {
        "stopped": asdict(stopped) if stopped else None,
        "may_stop": rights.decide(None),
        "waiting": sum(may_see(rights, one) for one in waiting),
        "unseen": [
            {"id": one.id, "target": one.target, "by": one.requester, "at": one.opened_at, "why": one.reasons[-1]}
            for one in promotions.unseen()
            if may_see(rights, one)
        ],
        "notices": sum(count for flow, count in overview.notice_counts().items() if rights.read(flow)),
    }


def may_see(rights: Rights, request: Request) -> bool:
    """Whether a person may read about a request: about its DAG, and about the asset that it would change."""
    return rights.read(request.flow) and request.pack not in rights.withheld


def shown_request(rights: Rights, asked: ShownRequest, moments: Mapping[str, Mapping[str, Any]] = {}) -> dict[str, Any]:
    """A request with its difference, votes and, of its evidence, the `findings` that `moments` tell of and how many stay `unexplained`; what is personal
    in it only for those who may decide."""
    request, deciding = asked.request, rights.decide(asked.request.flow)
    names = (
        "id",
        "flow",
        "partition",
        "entity_key",
        "kind",
        "target",
        "level",
        "rule",
        "needs",
        "reasons",
        "requester",
        "seen",
    )
    yes = [vote for vote in asked.votes if vote["answer"] == APPROVE]
    with read() as conn:
        cannot = why_not_by(conn, rights, request)
    return {
        **{name: getattr(request, name) for name in names}, "opened_at": request.opened_at, "expires_at": request.expires_at,
        "change": request.of_asset, "recovery": asked.recovery, "description": asked.description, "evidence": asked.evidence,
        "asset_class": request.action.get("asset_class") or "", "confidence": request.action.get("confidence"),
        "findings": list({moments[one]["text"]: moments[one] for one in asked.evidence if deciding and one in moments}.values()),
        "unexplained": sum(one not in moments for one in asked.evidence), "undoes": bool(request.undoes),
        "difference": [list(map(_plain, row)) for row in asked.difference] if deciding else [], "hidden": not deciding,
        "votes": [{name: vote[name] for name in ("name", "answer", "reason", "channel", "at")} for vote in asked.votes],
        "agreed": len(yes), "why_not": cannot, "void": _void(rights, asked, deciding),
    }  # fmt: skip


def _void(rights: Rights, asked: ShownRequest, deciding: bool) -> dict[str, Any] | None:
    """Yeses to what was asked before; what differs only for those who may decide."""
    if (void := asked.void) is None:
        return None
    return {
        "request": void.request, "by": [one.name or one.person for one in void.by], "display": void.display,
        "mine": void.of(Voter(rights.person.id, rights.person.name)),
        "changed": [list(map(_plain, row)) for row in void.changed] if deciding else [],
    }  # fmt: skip


def why_not_by(conn: Connection, rights: Rights, request: Request) -> str:
    """Why this person cannot approve an open request; empty: they can."""
    if not rights.decide(request.flow):
        return "answering takes the right to decide"
    if not may_see(rights, request):
        return f"reading {request.pack} is others' duty"
    return why_not(conn, request, Voter(rights.person.id, rights.person.name))


def _standing(rights: Rights, one: EffectState) -> dict[str, Any]:
    effect, deciding = one.effect, rights.decide(one.effect.flow)
    names = (
        "key",
        "kind",
        "flow",
        "partition",
        "entity_key",
        "state",
        "target",
        "sent_at",
        "error",
        "undone_at",
        "undoes",
    )
    return {
        **{name: getattr(effect, name) for name in names}, "level": one.level, "rule": one.rule, "request": one.request,
        "answered": one.answered, "agreed": list(one.agreed), "undo": one.undo, "undoable": one.undoable and deciding,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
