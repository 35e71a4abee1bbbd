"""Raised limits wait for people: a file that lets more be used up than before is not in force until a request about it is approved.

Whoever reserves first under the changed file asks, by itself; the limit of before holds until then. Nobody knows who wrote the
file: so two people agree, of whom one at least did not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.actions import admission, assets, permits, policy, requests, switch
from baton.actions.action import Action
from baton.actions.requests import CHANGE, Origin
from baton.governance import limits
from baton.governance.limits import LimitInForce
from baton.record import ledger, warehouse
from baton.settings import SINGLE, settings
from baton.specs.budgets import SpendingSpec

CHANGED = "budget_changed"  # on the ledger
_EVERYONE = "budgets"  # flow of a request about all packs: it takes the right to decide on all DAGs


@dataclass(frozen=True)
class DeclaredBudget:
    """A budget as it is in force: its name, and the pack that declares it (`EVERYWHERE`: all packs).

    Attributes:
        waits: what the file says instead and whom that waits for, in words; empty: the file is in force.
    """

    name: str
    pack: str
    spec: SpendingSpec
    waits: str = ""

    @property
    def key(self) -> str:
        """Its name among all."""
        return limits.key_of(self.pack, self.name)

    @property
    def scope(self) -> str:
        """What it is of, for people."""
        return self.spec.flow or (f"pack {self.pack}" if self.pack else "all packs")

    def begins(self, at: str) -> str:
        """First day of the period that holds a moment."""
        return at[:10] if self.spec.period == "day" else f"{at[:7]}-01"

    def within(self, table: sa.Table) -> list[sa.ColumnElement[bool]]:
        """Rows of a table that it is about."""
        wanted = {"flow": self.spec.flow, "pack": self.pack}
        return [table.c[name] == value for name, value in wanted.items() if value]


def in_force(conn: Connection, pack: str) -> list[DeclaredBudget]:
    """The budgets of a pack as they are in force, those that its file has no more included; nothing is written.

    Raises:
        SpecError: a file is wrong.
    """
    return _standing(conn, pack, limits.said(pack), limits.on_record(conn, pack))


def settle(conn: Connection, pack: str, flow: str) -> list[DeclaredBudget]:
    """Bring what the file says in force as far as that may be, ask about the rest, and return what is in force then.

    The caller has the turn of `budgets`, and takes that of `switch.TURNS` after it where people have to be asked.

    Args:
        flow: that is about to use something up.
    """
    files, known = limits.said(pack), limits.on_record(conn, pack)
    now: dict[str, LimitInForce] = {}
    for name in {**known, **files}:
        one = _settled(conn, pack, name, known.get(name), files.get(name), flow)
        if one is not None:
            now[name] = one
    if now != known:
        limits.keep(conn, pack, now)
    return _standing(conn, pack, files, now)


def _settled(
    conn: Connection, pack: str, name: str, before: LimitInForce | None, after: SpendingSpec | None, flow: str
) -> LimitInForce | None:
    key = limits.key_of(pack, name)
    if before is None or not limits.looser(before.spec, after):
        assert after is not None  # a file without it is looser
        if before is not None and before.asked is not None:
            _forget(conn, key)
        if before is None or limits.agreed(before.spec) != limits.agreed(after):
            _record(conn, key, before, after)
        return LimitInForce(after)
    if settings().governance == SINGLE:
        if before.asked is not None:
            _forget(conn, key)
        _record(conn, key, before, after, governance=SINGLE)
        return LimitInForce(after) if after is not None else None
    warehouse.take_turns(conn, switch.TURNS)
    origin, action = _asking(pack, name, before.spec, after, flow)
    spec = policy.load(origin.pack)
    verdict = permits.consume(conn, origin, action, policy.policy_digest(spec, action.kind), once=True)
    if verdict.permit is not None:
        _record(conn, key, before, after, request=verdict.request, permit=verdict.permit)
        return LimitInForce(after) if after is not None else None
    asked = admission.admit(conn, origin, action, spec).request
    return replace(before, asked=asked)


def _asking(
    pack: str, name: str, before: SpendingSpec, after: SpendingSpec | None, flow: str
) -> tuple[Origin, Action]:  # fmt: skip
    key, asset = limits.key_of(pack, name), limits.asset_of(pack)
    action = assets.changed(assets.RAISE, key, asset, limits.agreed(before), limits.agreed(after))
    asked_of = before.flow or (flow if pack else _EVERYONE)
    return Origin(_effect(key), asked_of, "budgets", asset, f"flow:{flow}"), action


def _effect(key: str) -> str:
    return f"{CHANGE}{assets.RAISE}:{key}"


def _forget(conn: Connection, key: str) -> None:
    """The file asks for nothing any more: what was said about it counts for nothing, a refusal neither."""
    warehouse.take_turns(conn, switch.TURNS)
    for one in requests.of_effect(conn, _effect(key)):
        if one.state in (requests.OPEN, requests.REFUSED):
            requests.close(conn, one, requests.WITHDRAWN, "the file does not say it any more", one.state)
    permits.retire(conn, _effect(key), "the file does not say it any more")


def _record(
    conn: Connection, key: str, before: LimitInForce | None, after: SpendingSpec | None, **told: str | int | None
) -> None:  # fmt: skip
    """On the ledger: what is in force now, what was (None: it never was on record, so nobody is asked), and who let it."""
    said = {**limits.agreed(after), "before": limits.agreed(before.spec) if before else None, **told}
    ledger.append(conn, CHANGED, key, said if after is not None else {**said, "removed": True})


def _standing(
    conn: Connection, pack: str, files: Mapping[str, SpendingSpec], known: Mapping[str, LimitInForce]
) -> list[DeclaredBudget]:
    found, single = [], settings().governance == SINGLE
    for name in {**known, **files}:
        before, after = known.get(name), files.get(name)
        if before is not None and not single and limits.looser(before.spec, after):
            ladder = after.ladder if after is not None else before.spec.ladder
            held = before.spec.model_copy(update={"ladder": ladder})
            found.append(DeclaredBudget(name, pack, held, _waits(conn, before, after)))
        elif after is not None:
            found.append(DeclaredBudget(name, pack, after))
    return found


def _waits(conn: Connection, before: LimitInForce, after: SpendingSpec | None) -> str:
    """What is not in force, and what has to happen before it is."""
    what = "its removal"
    if after is not None:
        what = f"{after.limit:g} {after.unit} a {after.period}"
        what += f" of {after.flow}" if after.flow != before.spec.flow else ""
    asked = requests.find(conn, before.asked) if before.asked is not None else None
    if asked is None or (asked.action.get("payload") or {}).get("to") != limits.agreed(after):
        return f"{what} is not in force: the next run under it asks people"
    if asked.state == requests.APPROVED and not permits.lapsed(conn, asked.id):
        return f"{what} was approved by request {asked.id}: in force with the next run under it"
    if asked.state == requests.REFUSED:
        return f"{what} was refused (request {asked.id}): not in force"
    if asked.is_open(warehouse.now()):
        return f"{what} is not in force: request {asked.id} waits for {asked.needs} people"
    return f"{what} is not in force: request {asked.id} is over, the next run under it asks anew"
