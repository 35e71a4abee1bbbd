"""Admission: what an effect needs before it may begin, from policy, requests, votes and permits; one place for all ways.

Whoever calls it holds the turn of `switch.TURNS` from the start of their transaction, so that caps and votes are counted once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.actions import permits, policy, requests, votes
from baton.actions.action import Action, Approval
from baton.actions.policy import FREE, Judgement
from baton.actions.requests import APPROVED, EXPIRED, OPEN, REFUSED, REPLACED, WITHDRAWN, Origin, Request
from baton.actions.votes import Voter, VoteRefused
from baton.record import ledger
from baton.record.tables import requests as table
from baton.specs.actions import ActionsSpec, PolicyRule

READY, WAITING, FORBIDDEN = "pending", "waiting", "forbidden"  # as the outbox calls them


@dataclass(frozen=True)
class Admission:
    """How an effect stands.

    Attributes:
        state: pending (it has a permit), waiting (for people) or forbidden.
        reasons: why, in sentences.
        request: the number of the one that it waits for, or was refused by.
        permit: the number of its permit.
    """

    state: str
    judged: Judgement
    reasons: tuple[str, ...]
    request: int | None = None
    permit: int | None = None

    @property
    def words(self) -> str:
        """The reasons in a line."""
        return "; ".join(self.reasons)


def admit(conn: Connection, origin: Origin, action: Action, spec: ActionsSpec | None) -> Admission:
    """Judge an effect and bring it as far as policy and people allow; what it waited for before is replaced if it differs."""
    digest = policy.policy_digest(spec, action.kind)
    former = requests.of_effect(conn, origin.effect)
    subject = requests.subject_of(action, digest)
    another = [
        one
        for one in former
        if one.state == OPEN and (one.subject != subject or not set(origin.barred) <= set(one.barred or {}))
    ]
    for one in another:
        requests.close(conn, one, REPLACED, "the action, its evidence, who had a part in it or the policy changed")
    left = [one for one in former if one not in another and one.subject == subject]
    same = next((one for one in left if one.state in (OPEN, REFUSED)), None)
    if same is not None and same.state == REFUSED:
        permits.retire(conn, origin.effect, "refused")
        return Admission(FORBIDDEN, _as_asked(same), (f"refused {same.note}",), same.id)
    if same is not None and same.is_open(requests.later(0)):
        return _with_approvals(conn, origin, action, same, digest, action.approvals)
    if same is not None:
        requests.close(conn, same, EXPIRED, "nobody answered in time")
    permits.void(conn, origin.effect, "judged anew")
    judged = policy.judge(spec, action, partial(_used, conn, origin.pack))
    if judged.level in FREE:
        permit = permits.issue(conn, origin, action, judged, digest, None)
        return Admission(READY, judged, judged.reasons, permit=permit)
    if judged.needs == 0:
        return Admission(FORBIDDEN, judged, judged.reasons)
    return _with_approvals(
        conn, origin, action, requests.ask(conn, origin, action, judged, digest), digest, action.approvals
    )


def _with_approvals(
    conn: Connection, origin: Origin, action: Action, request: Request, digest: str, approvals: Sequence[Approval]
) -> Admission:
    judged, reasons = _as_asked(request), list(request.reasons)
    before = [one for one in requests.of_effect(conn, origin.effect) if one.id != request.id] if approvals else []
    for one in approvals:
        voter = Voter(one.person, one.name, one.channel)
        if request.state != OPEN:
            break
        if voter.id in votes.approvers(conn, request):
            continue
        if any(_stale(conn, former, request, one.at) for former in before):
            reasons.append(f"{voter.known_as}'s word was given for what was asked before, and does not count again")
            continue
        try:
            request = votes.cast(conn, request, voter, votes.APPROVE, request.seen, one.reason, one.at)
        except VoteRefused as refusal:
            reasons.append(str(refusal))
    if request.state == APPROVED:
        permit = grant(conn, origin, action, request, digest)
        return Admission(READY, judged, tuple(reasons), request.id, permit)
    there = len(votes.approvers(conn, request))
    reasons.append(f"request {request.id} has {there} of {request.needs} approvals")
    return Admission(WAITING, judged, tuple(reasons), request.id)


def _stale(conn: Connection, former: Request, request: Request, at: str) -> bool:
    """Whether a word of that time was about a former request: it counts for no other one, nor once its time is over.

    A time that is yet to come is that of a clock that is ahead: nobody knows what the word was about.
    """
    at = "" if at > requests.later(0) else at
    if former.subject != request.subject:
        return at <= former.opened_at
    over = former.state in (REFUSED, EXPIRED, WITHDRAWN) or permits.lapsed(conn, former.id)
    return over and at <= former.updated_at


def grant(conn: Connection, origin: Origin, action: Action, request: Request, digest: str) -> int:
    """Issue the permit that people agreed to, with its ledger entry; returns its number."""
    found = policy.load(request.pack, conn)
    rule = next((one for one in found.policy if one.name == request.rule), None) if found is not None else None
    judged = replace(_as_asked(request), permit_minutes=rule.permit_minutes if rule is not None else 1)
    permit = permits.issue(conn, origin, action, judged, digest, request.id)
    said = {"permit": permit, "effect": origin.effect, "request": request.id, "level": request.level}
    ledger.append(conn, "permit_issued", request.named, {**said, "by": votes.approvers(conn, request)})
    return permit


def drop(conn: Connection, effect: str, why: str) -> None:
    """An effect is not wanted any more, or is another now: nobody is asked about it, and no permit of it is good."""
    settled(conn, effect, why, REPLACED)
    permits.retire(conn, effect, why)


def settled(conn: Connection, effect: str, why: str, state: str = WITHDRAWN) -> None:
    """Nobody need be asked about an effect any more."""
    for one in requests.of_effect(conn, effect):
        requests.close(conn, one, state, why)


def _as_asked(request: Request) -> Judgement:
    """The judgement that a request was opened by."""
    return Judgement(request.level, request.rule, tuple(request.reasons))  # type: ignore[arg-type]


def _used(conn: Connection, pack: str, rule: PolicyRule) -> int:
    """What a rule let through at its own level in the last hour, and what it asks people about now."""
    c = table.c
    asked = sa.select(sa.func.count()).where(c.pack == pack, c.rule == rule.name, c.opened_at > requests.later(-60))
    waiting = conn.execute(asked.where(c.state == OPEN, c.level == rule.level)).scalar_one()
    return permits.issued(conn, pack, rule.name, rule.level) + int(waiting)
