"""The action firewall: the only way of an effect into the outbox, and of people's words to an effect.

A stage places what it wants done, in the transaction of its commit. The pack's `actions.yaml` says how far each goes:
at once under a permit, to people as a request, or nowhere. Votes, withdrawals and undo come the same way.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from sqlalchemy.engine import Connection

from baton.actions import admission, assets, changes, permits, policy, promotions, requests, switch, undo, votes
from baton.actions.action import Action, digest, require_kind
from baton.actions.admission import FORBIDDEN, READY, WAITING
from baton.actions.policy import Judgement
from baton.actions.requests import APPROVED, EXPIRED, Request
from baton.actions.votes import Voter
from baton.effects import attempts, outbox
from baton.effects.outbox import Effect, Enqueued, Wish
from baton.effects.overview import undo_refused
from baton.errors import BatonError, NotAgreed, RegistryRefused
from baton.record import ledger, warehouse
from baton.specs.actions import ActionsSpec

FAULT: Callable[[str], None] = lambda point: None  # noqa: E731 - a hook: crash tests put a killer here
"""Called with voted, when a vote and what follows from it are written and nothing is committed yet."""


@dataclass(frozen=True)
class Placement:
    """What became of a plan.

    Attributes:
        new, same, replaced, withdrawn: numbers of effects, see `outbox.Enqueued`.
        levels: how many were judged now, by level.
        waiting: numbers of the requests that were opened or still wait.
        forbidden: sentences on what may not be done.
        keys: of the effects that were judged now.
    """

    new: int
    same: int
    replaced: int
    withdrawn: int
    levels: dict[str, int] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


def place(
    conn: Connection, pack: str | Path, flow: str, partition: str, actions: Iterable[Action], *,
    kinds: Collection[str] = (), whole: bool = True, requester: str = "",
) -> Placement:  # fmt: skip
    """Place a partition's actions, in the caller's transaction (a stage's `on_commit`), before anything goes on the ledger.

    Again the same changes nothing. What differs in payload, target or evidence, and was not sent, is judged anew; votes and
    permits of what it was before count for nothing.

    Args:
        pack: whose `actions.yaml` decides.
        actions: one per entity, kind and target.
        kinds: what the actions are all of, where `whole`; empty: the kinds of the actions.
        whole: they are all that the partition wants of these kinds; what is missing here and was not sent is withdrawn.
        requester: who wants it; empty: the flow.

    Raises:
        BatonError: two actions alike; one that was sent, or may have been, would change or be dropped; or `whole` without
            actions and kinds.
        SpecError: the pack's `actions.yaml` is wrong.
    """
    warehouse.take_turns(conn, switch.TURNS)
    given, spec = list(actions), changes.policy_in_force(conn, pack)
    of = set(kinds) or {one.kind for one in given}
    for kind in of:
        require_kind(kind)
    if whole and not of:
        raise BatonError(f"{flow}/{partition}: no actions: say of which `kinds` that is all")
    if strange := sorted({one.kind for one in given} - of):
        raise BatonError(f"{flow}/{partition}: an action `{strange[0]}`, and `kinds` names {', '.join(sorted(of))}")
    by = requester or f"flow:{flow}"
    wishes = [Wish(one, str(pack), by, undo.of(spec, one)) for one in given]
    before = {one.key: one for one in outbox.effects(flow, partition, conn=conn)}
    done, keys = outbox.enqueue(conn, flow, partition, of, wishes, whole=whole)
    outbox.hold(conn, {*before, *keys})
    now = {one.key: one for one in outbox.effects(flow, partition, conn=conn)} if before or keys else {}
    for key, old in before.items():
        if now[key].state == outbox.WITHDRAWN != old.state or (now[key].payload, now[key].action) != (
            old.payload,
            old.action,
        ):
            admission.drop(conn, key, "the plan changed")
    by_key = {outbox.key_of(flow, partition, w.action.entity_key, w.action.kind, w.action.target): w for w in wishes}
    return _admitted(conn, done, [(now[key], by_key[key].action) for key in keys], before)


def _admitted(
    conn: Connection, done: Enqueued, judged: Sequence[tuple[Effect, Action]], before: dict[str, Effect]
) -> Placement:
    """Bring effects as far as they may go; one ledger entry for all that the policy lets through by itself."""
    placed = Placement(done.new, done.same, done.replaced, done.withdrawn)
    free: dict[tuple[str, str], list[str]] = {}
    spec_of = cache(lambda pack: changes.policy_in_force(conn, pack))
    for effect, action in judged:
        origin = effect.origin()
        admitted = admission.admit(conn, origin, action, spec_of(origin.pack))
        placed.keys.append(effect.key)
        level = admitted.judged.level if admitted.state != FORBIDDEN else FORBIDDEN
        placed.levels[level] = placed.levels.get(level, 0) + 1
        outbox.bring(conn, effect.key, admitted.state, None if admitted.state == READY else admitted.words)
        if admitted.state == WAITING and admitted.request is not None:
            placed.waiting.append(admitted.request)
        elif admitted.state == FORBIDDEN:
            placed.forbidden.append(f"{action.kind} on {action.target}: {admitted.words}")
            known = before.get(effect.key)
            if known is None or (known.state, known.error) != (FORBIDDEN, admitted.words):  # said once
                told = attempts.forbidden(effect.key, effect.kind, admitted)
                ledger.append(conn, "action_forbidden", effect.subject, told)
        elif admitted.request is None:
            free.setdefault((admitted.judged.level, admitted.judged.rule), []).append(effect.key)
    for (level, rule), keys in free.items():
        first = judged[0][0]
        said = {"level": level, "rule": rule, "effects": len(keys), "keys": digest(sorted(keys))}
        ledger.append(conn, "permit_issued", f"{first.flow}/{first.partition}", said)
    return placed


def foresee(pack: str | Path, actions: Iterable[Action]) -> list[Judgement]:
    """What the policy says of actions now, caps left aside: a dry run, nothing is placed."""
    spec = policy.load(pack)
    return [policy.judge(spec, one, lambda rule: 0) for one in actions]


# --- people ---


def vote(number: int, voter: Voter, answer: str, seen: str, reason: str = "") -> Request:
    """A person's word on a request, in a transaction of its own; with the last one that is needed the effect may begin.

    Args:
        answer: `votes.APPROVE` or `votes.REFUSE`.
        seen: the request's `seen`, as it was shown.

    Returns:
        the request as it is then.

    Raises:
        VoteRefused: it does not count; says why.
        BatonError: there is no such request.
    """

    def work(conn: Connection) -> Request | str:
        warehouse.take_turns(conn, switch.TURNS)
        outbox.hold(conn, [requests.find(conn, number).effect])
        request = requests.find(conn, number)
        if request.of_asset:
            return _vote_on_change(conn, request, voter, answer, seen, reason)
        effect = outbox.find(request.effect, conn)
        if effect is None or request.state != requests.OPEN:
            return votes.cast(conn, request, voter, answer, seen, reason)  # says why not
        action, origin = effect.judged(), effect.origin()
        try:
            spec = changes.policy_in_force(conn, origin.pack)
        except NotAgreed as error:
            raise votes.VoteRefused(f"request {number}: {error}") from error
        current = policy.policy_digest(spec, action.kind)
        if requests.subject_of(action, current) != request.subject:
            admitted = _judge_anew(conn, effect, action, spec)
            return f"the policy was changed since it was asked; the action is {admitted.state} now: {admitted.words}"
        after = votes.cast(conn, request, voter, answer, seen, reason)
        if after.state == APPROVED:
            admission.grant(conn, origin, action, after, current)
            outbox.bring(conn, effect.key, READY, None, (WAITING,))
        elif after.state == requests.REFUSED:
            permits.retire(conn, effect.key, "refused")  # also a used one, which another policy might make good again
            outbox.bring(conn, effect.key, FORBIDDEN, f"refused {after.note}", (WAITING,))
        FAULT("voted")
        return after

    done = warehouse.transact(work)
    if isinstance(done, str):
        raise votes.VoteRefused(f"request {number}: {done}")
    return done


def _vote_on_change(
    conn: Connection, request: Request, voter: Voter, answer: str, seen: str, reason: str
) -> Request | str:
    if request.state != requests.OPEN:
        return votes.cast(conn, request, voter, answer, seen, reason)  # says why not
    what = {
        assets.PROMOTE: "the gate's verdict, the champion",
        **dict.fromkeys(assets.EDITS, "the file, what is in force,"),
    }
    why = f"{what.get(request.kind, 'what it is about')} or the policy changed since it was asked"
    try:
        origin, action = promotions.standing(conn, request)
    except RegistryRefused as refusal:
        why, action = str(refusal), None
    current = policy.policy_digest(policy.load(request.pack, conn), request.kind)
    done = request.kind == assets.LOOK_AGAIN  # and nobody could ask about it anew
    if action is None or (not done and requests.subject_of(action, current) != request.subject):
        requests.close(conn, request, requests.REPLACED, why)
        permits.void(conn, request.effect, why)
        promotions.note(conn, requests.find(conn, request.id))
        return f"{why}: it has to be asked anew"
    after = votes.cast(conn, request, voter, answer, seen, reason)
    if after.state == APPROVED and not done:
        admission.grant(conn, origin, action, after, current)
    elif after.state == requests.REFUSED:
        permits.retire(conn, request.effect, "refused")
    promotions.note(conn, after)
    FAULT("voted")
    return after


def _judge_anew(conn: Connection, effect: Effect, action: Action, spec: ActionsSpec | None) -> admission.Admission:
    admitted = admission.admit(conn, effect.origin(), action, spec)
    outbox.bring(conn, effect.key, admitted.state, None if admitted.state == READY else admitted.words, (WAITING,))
    if admitted.state == FORBIDDEN:
        ledger.append(conn, "action_forbidden", effect.subject, attempts.forbidden(effect.key, effect.kind, admitted))
    return admitted


def withdraw(conn: Connection, flow: str, entity_key: str, why: str) -> list[Request]:
    """Take back what waits for people, and what they approved and is not done, about an entity: its case was closed.

    What the other side may have is asked about, as ever, and not sent again. The caller has the turn of `switch.TURNS`.

    Returns:
        the requests that it was about.
    """
    gone, states = [], (requests.OPEN, APPROVED)
    outbox.hold(conn, {one.effect for one in requests.about(conn, flow, entity_key, states)})
    for request in requests.about(conn, flow, entity_key, states):  # as it is now that nobody answers any more
        effect = outbox.find(request.effect, conn)
        if effect is not None and effect.state == outbox.SENT:
            continue
        permits.retire(
            conn, request.effect, why
        )  # also one that an attempt used: the next attempt would go on under it
        if outbox.bring(conn, request.effect, outbox.WITHDRAWN, why, (WAITING, outbox.PENDING, outbox.FAILED)):
            requests.close(conn, request, requests.WITHDRAWN, why, request.state)
        else:  # in doubt: whoever asks about it and finds nothing finds a refusal as well
            requests.close(conn, request, requests.REFUSED, f"because {why}", request.state)
        gone.append(request)
    return gone


def sweep() -> list[Request]:
    """Note which requests are over because nobody answered in time; their effects are withdrawn."""

    def work(conn: Connection) -> list[Request]:
        warehouse.take_turns(conn, switch.TURNS)
        over = requests.overdue(conn)
        outbox.hold(conn, {one.effect for one in over})
        for one in over:
            if requests.close(conn, one, EXPIRED, "nobody answered in time"):
                outbox.bring(conn, one.effect, outbox.WITHDRAWN, "nobody answered in time", (WAITING,))
                promotions.note(conn, requests.find(conn, one.id))
        return over

    with warehouse.read() as conn:
        if not requests.overdue(conn):
            return []
    return warehouse.transact(work)


# --- undo ---


@dataclass(frozen=True)
class Undone:
    """What became of an undo: the key of the effect that takes the other back (empty: nothing had to be done), its state,
    and why it stands so; where it has to be delivered."""

    key: str
    state: str
    words: str
    flow: str
    partition: str


def take_back(key: str, requester: str, reason: str = "") -> Undone:
    """Place what takes a delivered effect back; it needs a permit like any other.

    Of several effects on one target the last one is taken back first, so that the state is the one from before.

    Raises:
        BatonError: there is no such effect, it was not delivered, cannot be taken back, was already, or not yet.
    """
    return warehouse.transact(lambda conn: _take_back(conn, key, requester, reason))


def _take_back(conn: Connection, key: str, requester: str, reason: str) -> Undone:
    warehouse.take_turns(conn, switch.TURNS)
    if not requester.strip():  # nobody could be told from those who agree to it
        raise BatonError("nothing is taken back: nobody knows who asks for it: log in under your own name")
    outbox.hold(conn, [key])
    effect = outbox.find(key, conn)
    if effect is None:
        raise BatonError(f"no effect has the key {key!r}; `baton outbox list --all` shows them")
    if why := undo_refused(conn, effect):
        raise BatonError(f"{effect.kind} on {effect.target or effect.entity_key} ({effect.subject}): {why}")
    assert effect.undo is not None
    if nothing := effect.undo.get(undo.NOTHING):
        attempts.mark_undone(conn, key, warehouse.now())
        said = {"effect": key, "by": "", "asked_by": requester, "reason": reason, "nothing": nothing}
        ledger.append(conn, "action_undone", effect.subject, said)
        return Undone("", outbox.SENT, f"nothing had to be done: {nothing}", effect.flow, effect.partition)
    action = undo.reverse(effect.undo, effect.judged())
    placed = outbox.key_of(effect.flow, effect.partition, action.entity_key, action.kind, action.target, key)
    asked = requests.still_open(effect.flow, effect.partition, conn)
    if there := [one for one in asked if one.effect == placed]:
        raise BatonError(
            f"{effect.kind} on {effect.target}: {there[0].requester} asked for that already: "
            f"answer request {there[0].id}, `baton actions show {there[0].id}`"
        )
    wish = Wish(action, effect.origin().pack, requester, None, key, effect.via)
    before = {one.key: one for one in outbox.effects(effect.flow, effect.partition, action.kind, conn)}
    done, keys = outbox.enqueue(conn, effect.flow, effect.partition, {action.kind}, [wish], whole=False)
    found = outbox.find(placed, conn)
    assert found is not None
    for one in requests.of_effect(conn, placed):  # what somebody refused once may be asked for again by name
        requests.close(conn, one, requests.WITHDRAWN, "it is asked for again", requests.REFUSED)
    waiting = _admitted(conn, done, [(found, action)] if keys else [], before).waiting
    for number in waiting if reason else ():
        requests.explain(conn, number, f"{requester}: {reason}")
    found = outbox.find(placed, conn)
    assert found is not None
    said = {"effect": key, "by": placed, "asked_by": requester, "reason": reason, "state": found.state}
    ledger.append(conn, "undo_asked", effect.subject, said)
    return Undone(placed, found.state, found.error or "", effect.flow, effect.partition)
