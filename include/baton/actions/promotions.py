"""Who is champion, by the ledger, and the request that a version becomes it: asked, answered and used up like an effect's.

Duties that are given are asked about here, too, and the table `NOW` says of other changes how things stand when people vote.

What people agree to is one move: this version instead of this champion, on this verdict of the gate, with these signed files
and this policy of the gate. It is recomputed when they vote and when the champion moves; what differs then is another one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.actions import admission, assets, changes, permits, policy, requests, switch, votes
from baton.actions.action import Action, digest
from baton.actions.requests import CHANGE, EXPIRED, OPEN, REFUSED, REPLACED, WITHDRAWN, Origin, Request
from baton.errors import RegistryRefused
from baton.governance import duties, limits
from baton.governance.duties import Grant, Who
from baton.names import CHAMPION, promote_of
from baton.record import ledger, tables, warehouse
from baton.settings import SINGLE, settings

ALIAS_MOVED = "alias_moved"
GATE_SAYS = "PROMOTE"
table = tables.approvals
_WHERE = {"airflow": "in Airflow", "registry": "in MLflow", "command line": "on the command line"}


def moves(model: str, conn: Connection | None = None) -> list[dict[str, Any]]:
    """The ledger's moves of the champion, the newest first: version, before, actor, reason, perhaps rollback."""
    entries = ledger.entries(subject=model, kind=ALIAS_MOVED, limit=10_000, conn=conn)
    return [entry.payload for entry in entries if entry.payload.get("alias") == CHAMPION]


def recorded_champion(model: str, conn: Connection | None = None) -> int | None:
    """The champion: the version of the ledger's last move, whatever the alias says by now."""
    return next((int(move["version"]) for move in moves(model, conn)), None)


def promotion(
    conn: Connection, model: str, version: int, barred: Mapping[str, str] | None = None, **now: str
) -> tuple[Origin, Action]:
    """The move as it would be now, of which people are asked.

    Args:
        barred: who had a part in the version, by name -> what, as in "ada started the training".
        now: `manifest` and `gate`, digests of the signed files and of the gate's policy, where they are at hand; else they are
            taken as the verdict has them.

    Raises:
        RegistryRefused: no verdict says PROMOTE, it was about another champion, or does not say which files it judged.
    """
    query = sa.select(table.c.verdict, table.c.judged_at).where(table.c.model == model, table.c.version == version)
    row = conn.execute(query).first()
    if row is None:
        raise RegistryRefused(f"{model} version {version} was never judged: there is nothing to answer")
    verdict, champion = row.verdict, recorded_champion(model, conn)
    if verdict.get("decision") != GATE_SAYS:
        raise RegistryRefused(f"{model} version {version} is not approved: the gate says {verdict.get('decision')}")
    if not (verdict.get("manifest") and verdict.get("gate")):  # a permit for it would fit no move
        raise RegistryRefused(f"{model} version {version} was judged by an earlier Baton: judge again (clear `judge`)")
    if champion != verdict.get("champion_version"):
        raise RegistryRefused(
            f"{model} version {version} is not approved: champion is version {champion}, but the gate compared with "
            f"{verdict.get('champion_version')}; judge again"
        )
    target = f"model:{model}"
    parts = {"verdict": digest([verdict, row.judged_at])}
    parts |= {name: now.get(name) or str(verdict[name]) for name in ("manifest", "gate")}
    evidence = [f"{name} {value}" for name, value in parts.items()]
    action = Action(
        assets.PROMOTE, f"{model}/{version}", target, {"from": champion, "to": version}, evidence=evidence,
        before={CHAMPION: champion}, after={CHAMPION: version},
    )  # fmt: skip
    flow = promote_of(model)
    key = f"{CHANGE}{assets.PROMOTE}:{target}:{version}"
    return Origin(key, flow, f"version-{version}", target, f"flow:{flow}", barred=dict(barred or {})), action


def ask(model: str, version: int, barred: Mapping[str, str]) -> Request:
    """Ask people whether a version becomes champion, in a transaction of its own.

    Asked again about the same, with nobody barred who was not, it is the same request with its votes; judged anew, with
    somebody more who had a part in it, or once it is over, it is another one, and what was said before is void.

    Where the installation says that one person runs it nobody is barred; the request says so.

    Args:
        barred: see `promotion`; who was barred once is for this version barred for good.

    Raises:
        RegistryRefused: see `promotion`.
    """

    def work(conn: Connection) -> Request:
        warehouse.take_turns(conn, switch.TURNS)
        origin, action = promotion(conn, model, version, barred)
        former = requests.of_effect(conn, origin.effect)
        for one in former:  # whoever starts the promotion again asks again
            requests.close(conn, one, WITHDRAWN, "it is asked for again", REFUSED)
        single = settings().governance == SINGLE
        known = {} if single else {who: why for one in former for who, why in (one.barred or {}).items()}
        origin = replace(origin, barred={} if single else known | dict(barred))
        asked = admission.admit(conn, origin, action, policy.load(origin.pack, conn)).request
        assert asked is not None  # the policy of an asset lets nothing through by itself
        if single:
            part = ", ".join(f"{who} {why}" for who, why in barred.items())
            said = "this installation says `governance: single`: one person agrees alone"
            requests.explain(conn, asked, f"{said}; {part}" if part else said)
        here = (table.c.model == model, table.c.version == version)
        conn.execute(table.update().where(*here).values({**dict.fromkeys(_ANSWER), "request": asked}))
        return requests.find(conn, asked)

    return warehouse.transact(work)


_ANSWER = ("answer", "reviewer", "channel", "answered_at")


State = dict[str, Any]
# kinds of changes whose state now and as it would be are looked up when people vote; a `promote` has more to it
NOW: dict[str, Callable[[Connection, Request], tuple[State, State]]] = {
    assets.RAISE: lambda conn, request: limits.change(conn, request.entity_key),
    assets.GRANT: lambda conn, request: ({}, duties.asked(conn, _number(request))),
}


def standing(conn: Connection, request: Request) -> tuple[Origin, Action]:
    """What a request about a change asks for, as it would be now.

    Raises:
        RegistryRefused: it would not be at all.
    """
    if request.kind == assets.PROMOTE:
        model, _, version = request.entity_key.rpartition("/")
        return promotion(conn, model, int(version))
    if request.of_asset and request.kind in assets.EDITS:
        return changes.change(conn, request.pack, request.requester)
    if request.kind in NOW:
        before, after = NOW[request.kind](conn, request)
        if before == after:
            raise RegistryRefused(f"{request.entity_key}: nothing is left to agree to")
        action = assets.changed(request.kind, request.entity_key, request.target, before, after)
        return Origin(request.effect, request.flow, request.partition, request.pack, request.requester), action
    told = {**request.action}
    action = Action.of(request.kind, request.entity_key, request.target, told.get("payload") or {}, told)
    return Origin(request.effect, request.flow, request.partition, request.pack, request.requester), action


def note(conn: Connection, request: Request) -> None:
    """Write what a closed request came to where pages and evidence look for it, with its ledger entry."""
    if request.of_asset and request.kind in assets.EDITS:
        changes.note(conn, request)
    if request.of_asset and request.kind == assets.GRANT:
        _note_grant(conn, request)
    if request.kind != assets.PROMOTE or request.state == OPEN:
        return
    answer = {requests.APPROVED: "approved", REFUSED: "rejected", EXPIRED: "timeout"}.get(request.state)
    if answer is None:
        return
    said = votes.of(conn, request, {"approved": votes.APPROVE, "rejected": votes.REFUSE}.get(answer, ""))
    values: dict[str, Any] = {
        "answer": answer, "reviewer": ", ".join(name for name, _ in said),
        "channel": ", ".join(dict.fromkeys(channel for _, channel in said)),
    }  # fmt: skip
    here = table.c.request == request.id
    conn.execute(table.update().where(here).values({**values, "answered_at": warehouse.now()}))
    ledger.append(conn, "approval", request.named, {**values, "request": request.id})


def grant(conn: Connection, asset: str, duty: str, person: str, giver: Who, until: date, reason: str) -> Grant:
    """Give a duty, and ask a second person, who is neither whoever gives it nor whoever gets it; before they agree it is not in force.

    Raises:
        BatonError: see `duties.give`.
    """
    warehouse.take_turns(conn, switch.TURNS)
    made = duties.give(conn, asset, duty, person, giver, until, reason)
    if not made.waits(warehouse.now()):
        return made
    kind, _, name = made.asset.partition(":")
    flow = {"model": promote_of(name), "flow": name}.get(kind, made.asset)  # else it takes the right to decide on all
    action = assets.changed(assets.GRANT, f"{made.asset}/{made.id}", made.asset, {}, duties.asked(conn, made.id))
    barred = {made.person: "would get it", giver.name: "gives it"}
    known = {who: why for who, why in barred.items() if who.strip()}
    origin = Origin(_key(made), flow, f"grant-{made.id}", made.asset, giver.id, barred=known)
    admission.admit(conn, origin, action, policy.load(origin.pack, conn))
    return made


def end_grant(conn: Connection, number: int, by: Who, reason: str) -> Grant:
    """End a grant, also one that waits: nobody is asked about it any more. Raises BatonError: see `duties.end`."""
    warehouse.take_turns(conn, switch.TURNS)
    ended = duties.end(conn, number, by, reason)
    admission.settled(conn, _key(ended), "the grant was ended")
    return ended


def _key(made: Grant) -> str:
    return f"{CHANGE}{assets.GRANT}:{made.id}"


def _number(request: Request) -> int:
    return int(request.entity_key.rpartition("/")[2])


def _note_grant(conn: Connection, request: Request) -> None:
    """A grant that people agreed to is in force in the transaction of the last vote; what nobody agreed to is over."""
    if request.state == requests.APPROVED:
        origin, action = standing(conn, request)
        now = policy.policy_digest(policy.load(origin.pack, conn), action.kind)
        if permits.consume(conn, origin, action, now, once=True).permit is None:
            raise RegistryRefused(f"{request.entity_key}: there is no permit for it")
        duties.agree(conn, _number(request), votes.approvers(conn, request), request.id)
    elif request.state in (REFUSED, EXPIRED, REPLACED):  # a grant is not asked about anew: it is given anew
        duties.lapse(conn, _number(request), f"request {request.id}: {request.state}")


def voices(number: int) -> str:
    """Who gave a request the answer that it has, and where, in words."""
    with warehouse.read() as conn:
        request = requests.find(conn, number)
        said = votes.of(conn, request, request.state)
    return ", ".join(f"{name} {_WHERE.get(channel, f'in {channel}')}" for name, channel in said)


def give_up(number: int, why: str) -> None:
    """Nobody answered in time: end a request that is still open."""

    def work(conn: Connection) -> None:
        warehouse.take_turns(conn, switch.TURNS)
        if requests.close(conn, requests.find(conn, number), EXPIRED, why):
            note(conn, requests.find(conn, number))

    warehouse.transact(work)


def permitted(conn: Connection, model: str, version: int, manifest: str, gate: str) -> dict[str, Any]:
    """Use up the permit of a move, in the transaction in which the move is recorded; returns who decided, and where.

    Args:
        manifest, gate: digests of the signed files and of the gate's policy, as they are now.

    Raises:
        RegistryRefused: there is no permit for exactly this move, or it was used; says what people have to do.
    """
    origin, action = promotion(conn, model, version, manifest=manifest, gate=gate)
    now = policy.policy_digest(policy.load(origin.pack, conn), action.kind)
    verdict = permits.consume(conn, origin, action, now, once=True)
    if verdict.permit is None or verdict.request is None:
        raise RegistryRefused(f"{model} version {version} is not approved: {verdict.why}")
    said = votes.of(conn, requests.find(conn, verdict.request), votes.APPROVE)
    channels = ", ".join(dict.fromkeys(channel for _, channel in said))
    actor = ", ".join(name for name, _ in said)
    return {"actor": actor, "reason": f"approved by {channels}", "request": verdict.request, "permit": verdict.permit}


def rolled_back(
    conn: Connection, model: str, version: int | None, to: int, actor: str, reason: str
) -> dict[str, Any]:  # fmt: skip
    """Let one person go back to a version that was champion, and ask for a second look; in the transaction of the move's record.

    Returns:
        actor, reason, and the number of the request that asks for the second look; None where one person runs the installation,
        and then `duty`: what is to be said where activating the model is others' duty.

    Raises:
        RegistryRefused: nobody knows who it is, or why.
        BatonError: activating the model is others' duty.
    """
    single = settings().governance == SINGLE
    if (why := votes.flaw(votes.Voter(actor), "")) and not (single and actor.strip()):
        raise RegistryRefused(f"{model}: not rolled back: {why}")
    if not reason.strip():
        raise RegistryRefused(f"{model}: not rolled back: say why, for whoever looks at it afterwards")
    said = duties.require(conn, f"model:{model}", "activate", duties.Who(actor))
    told: dict[str, Any] = {"actor": actor, "reason": reason, "second_look": None}
    if single:
        return {**told, "governance": SINGLE, **({"duty": said} if said else {})}
    action = Action(
        assets.LOOK_AGAIN, f"{model}/{to}", f"model:{model}", {"from": version, "to": to},
        before={CHAMPION: version}, after={CHAMPION: to},
    )  # fmt: skip
    key = f"{CHANGE}{assets.LOOK_AGAIN}:{action.target}:{to}:{warehouse.now()}"
    origin = Origin(key, promote_of(model), f"version-{to}", action.target, actor)
    asked = admission.admit(conn, origin, action, policy.load(origin.pack, conn)).request
    assert asked is not None  # the policy of an asset lets nothing through by itself
    requests.explain(conn, asked, f"{actor} rolled it back: {reason}")
    return {**told, "second_look": asked}


def unseen(conn: Connection | None = None) -> list[Request]:
    """Emergency rollbacks that nobody else has looked at in time, the oldest first; no age takes one off."""
    late = requests.later(-60 * assets.LOOK_HOURS)
    found = requests.of_kind(assets.LOOK_AGAIN, (OPEN, EXPIRED), conn)
    return [one for one in found if one.of_asset and one.opened_at < late]


def line(moved: Sequence[Mapping[str, Any]]) -> list[int]:
    """Champions of which each replaced the one before it, up to the present one, without those that a rollback left.

    Args:
        moved: as `moves` gives them.
    """
    found: list[int] = []
    for move in reversed(moved):
        version = int(move["version"])
        if move.get("rollback") and version in found:
            while found[-1] != version:
                found.pop()
        elif found[-1:] != [version]:
            found.append(version)
    return found
