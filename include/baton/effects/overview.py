"""What people look at: who is asked about what, what an entity's effects came to and what takes them back, what went without asking."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.actions import policy, requests, undo, votes
from baton.actions.action import Action
from baton.actions.requests import Request
from baton.actions.votes import APPROVE, Voter
from baton.effects import attempts
from baton.effects.outbox import COLUMNS, SENT, Effect
from baton.errors import BatonError
from baton.record import tables, warehouse


@dataclass(frozen=True)
class VoidVotes:
    """Yeses to an earlier request about the same effect.

    Attributes:
        request: its number. by: who said so.
        display: only what is shown differs; kind, target, payload, evidence, policy, and who has to agree are the same.
        changed: (what, then, now) of all that differs.
    """

    request: int
    by: tuple[Voter, ...]
    display: bool
    changed: list[tuple[str, Any, Any]]

    def of(self, voter: Voter) -> bool:
        """Whether one of them is theirs."""
        return any(map(voter.same_as, self.by))


@dataclass(frozen=True)
class ShownRequest:
    """An open request as an approver sees it.

    Attributes:
        difference: (field, before, after) of the target's state, of fields that differ; without states, of the payload.
        evidence: ids of what speaks for it.
        votes: person, name, answer, reason, channel, at; of what the request is now.
        recovery: reversible, reversible_by_others or irreversible; description: of the action, for people.
        void: what people agreed to of the same effect before, which counts for nothing here; None: nothing.
    """

    request: Request
    difference: list[tuple[str, Any, Any]]
    evidence: list[str]
    votes: list[dict[str, Any]] = field(default_factory=list)
    recovery: str = ""
    description: str = ""
    void: VoidVotes | None = None


@dataclass(frozen=True)
class EffectState:
    """An effect as pages show it.

    Attributes:
        level, rule: by which it got its permit, empty before; request: the number of the one it waits for, or was approved by;
            answered: the state of that request, agreed: the names of those who said yes to it.
        undo: kind of the action that takes it back; empty: none does. `undoable`: `baton undo KEY` would be taken now.
    """

    effect: Effect
    level: str = ""
    rule: str = ""
    request: int | None = None
    answered: str = ""
    agreed: tuple[str, ...] = ()
    undo: str = ""
    undoable: bool = False


def difference(action: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """What an action changes, as a dry run says it: fields of the target's state that would differ."""
    before, after = action.get("before"), action.get("after")
    if after is None:
        return [(name, None, value) for name, value in (action.get("payload") or {}).items()]
    old = before if isinstance(before, dict) else {"state": before}
    new = after if isinstance(after, dict) else {"state": after}
    names = dict.fromkeys([*old, *new])
    return [(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def open_requests(flow: str | None = None, entity_key: str | None = None) -> list[ShownRequest]:
    """Requests that people may answer now, the oldest first."""
    with warehouse.read() as conn:
        found = requests.still_open(flow, conn=conn)
        return [_asked(conn, one) for one in found if entity_key is None or one.entity_key == entity_key]


def request(number: int) -> ShownRequest:
    """One request, open or not. Raises BatonError: there is none."""
    with warehouse.read() as conn:
        return _asked(conn, requests.find(conn, number))


def _asked(conn: Connection, found: Request) -> ShownRequest:
    table = tables.votes
    query = sa.select(table).where(table.c.request == found.id, table.c.seen == found.seen).order_by(table.c.at)
    said = [dict(row) for row in conn.execute(query).mappings()]
    declared = None
    try:
        spec = policy.load(found.pack)
        declared = spec.actions.get(found.kind) if spec is not None else None
    except BatonError:  # its file is wrong: `baton lint` says where, and no vote would be taken
        pass
    told, evidence = found.action, [str(one) for one in found.action.get("evidence") or ()]
    recovery, words = (declared.recovery, declared.description) if declared is not None else ("", "")
    former = votes.void(conn, found) if found.state == requests.OPEN else None
    void = _void(*former, found) if former else None
    return ShownRequest(found, difference(told), evidence, said, recovery, words, void)


_SHOWN = (
    "before",
    "after",
    "undo",
    "asset_class",
    "confidence",
    "amount",
)  # of an action, beside what makes it another one
_ASKED = ("level", "needs", "requester", "policy", "barred")


def _void(former: Request, by: Sequence[Voter], now: Request) -> VoidVotes:
    actions = [
        Action.of(one.kind, one.entity_key, one.target, one.action.get("payload") or {}, one.action)
        for one in (former, now)
    ]
    then, mine = ({name: getattr(one, name) or {} for name in _ASKED} for one in (former, now))
    changed = [row for name in ("payload", *_SHOWN) for row in _differs(name, *(getattr(one, name) for one in actions))]
    changed += [("evidence", ", ".join(a.evidence), ", ".join(b.evidence)) for a, b in [actions]
                if a.evidence_digest != b.evidence_digest]  # fmt: skip
    changed += [(name, then[name], mine[name]) for name in ("level", "requester") if then[name] != mine[name]]
    changed += [("policy", "as it was", "changed")] if then["policy"] != mine["policy"] else []
    changed += [(f"{who} cannot agree", None, why) for who, why in mine["barred"].items() if who not in then["barred"]]
    display = actions[0].digest == actions[1].digest and then == mine
    return VoidVotes(former.id, tuple(by), display, changed)


def _differs(name: str, then: Any, now: Any) -> list[tuple[str, Any, Any]]:
    if not (isinstance(then, dict) and isinstance(now, dict)):
        return [(name, then, now)] if then != now else []
    return [(f"{name}: {key}", then.get(key), now.get(key)) for key in {**then, **now} if then.get(key) != now.get(key)]


def of_entity(flow: str, entity_key: str) -> list[EffectState]:
    """All effects about an entity, the first one first."""
    c = tables.outbox.c
    query = sa.select(*COLUMNS).where(c.flow == flow, c.entity_key == entity_key).order_by(c.created_at, c.key)
    with warehouse.read() as conn:
        return _standing(conn, [Effect(*row) for row in conn.execute(query)])


def newest(most: int) -> list[EffectState]:
    """The effects that changed last, of all flows."""
    c = tables.outbox.c
    query = sa.select(*COLUMNS).order_by(c.updated_at.desc(), c.key).limit(most)
    with warehouse.read() as conn:
        return _standing(conn, [Effect(*row) for row in conn.execute(query)])


def notices(hours: float = 24.0) -> list[EffectState]:
    """Effects that the policy let through with a notice, newest first: nobody was asked, people should know."""
    query = _noticed(sa.select(*COLUMNS), hours).order_by(tables.permits.c.id.desc())
    with warehouse.read() as conn:
        return _standing(conn, [Effect(*row) for row in conn.execute(query)])


def notice_counts(hours: float = 24.0) -> dict[str, int]:
    """How many `notices` each flow has."""
    flow = tables.outbox.c.flow
    with warehouse.read() as conn:
        rows = conn.execute(_noticed(sa.select(flow, sa.func.count()), hours).group_by(flow))
        return {str(name): int(count) for name, count in rows}


def _noticed(query: sa.Select[Any], hours: float) -> sa.Select[Any]:
    permits = tables.permits
    query = query.select_from(tables.outbox.join(permits, permits.c.effect == tables.outbox.c.key))
    good = permits.c.void_at.is_(None), permits.c.issued_at > requests.later(-60 * hours)
    return query.where(permits.c.level == "notify", *good)


def _standing(conn: Connection, effects: Sequence[Effect]) -> list[EffectState]:
    permits, asked, keys = tables.permits, tables.requests, [effect.key for effect in effects]
    given = sa.select(permits).where(permits.c.void_at.is_(None)).order_by(permits.c.id)
    allowed = {row["effect"]: row for row in _mappings(conn, given, permits.c.effect, keys)}
    waits = sa.select(asked.c.effect, asked.c.id, asked.c.level, asked.c.rule, asked.c.state).order_by(asked.c.id)
    open_ones = {row["effect"]: row for row in _mappings(conn, waits, asked.c.effect, keys)}
    said = sa.select(tables.votes.c.request, tables.votes.c.name).where(tables.votes.c.answer == APPROVE)
    numbers = [row["id"] for row in open_ones.values()]
    votes = _mappings(conn, said.order_by(tables.votes.c.at), tables.votes.c.request, numbers)
    made = []
    for effect in effects:
        permit, last = allowed.get(effect.key), open_ones.get(effect.key)
        by = permit or last or {}
        number = permit["request"] if permit else last["id"] if last else None
        kind = (effect.undo or {}).get("kind", "")
        undoable = bool(kind) and not undo_refused(conn, effect)
        answered = last["state"] if last and last["id"] == number else ""
        agreed = tuple(row["name"] for row in votes if row["request"] == number)
        made.append(
            EffectState(effect, by.get("level", ""), by.get("rule", ""), number, answered, agreed, kind, undoable)
        )
    return made


def _mappings(conn: Connection, query: sa.Select[Any], column: Any, keys: Sequence[str]) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in warehouse.among(conn, query, column, keys)]


def undo_refused(conn: Connection, effect: Effect) -> str:
    """Why an effect cannot be taken back now; empty: it can."""
    if effect.state != SENT:
        return f"it is {effect.state}: only what was delivered is taken back"
    if effect.undoes:
        return "it takes another effect back itself; place the action again instead"
    if effect.undone_at:
        return f"it was taken back at {effect.undone_at[:19]}"
    if effect.undo is None:
        return "Baton has nothing that takes it back: its action declares no undo"
    if effect.via is None and not effect.undo.get(undo.NOTHING):
        return "nobody noted how it was delivered, so it cannot be taken back the same way"
    try:
        spec = policy.load(effect.origin().pack)
    except BatonError as error:
        return f"the policy cannot be read: {error}"
    later = attempts.standing(conn, effect, spec)
    if later and later[0].key != effect.key:
        last = later[0]
        return f"{last.kind} of {last.subject} came after it on the same target: take {last.key} back first"
    return ""
