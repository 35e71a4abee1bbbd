"""Raised limits wait for people: a file that lets more be used up than before is not in force until a request about it is approved.

Whoever reserves first under the changed file asks, by itself; the limit of before holds until then. Nobody knows who wrote the
file: so two people agree, of whom one at least did not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.actions import admission, assets, permits, policy, requests, switch
from baton.actions.requests import CHANGE, Origin
from baton.governance import limits
from baton.governance.limits import LimitInForce
from baton.record import ledger, warehouse
from baton.settings import SINGLE, settings
from baton.specs.budgets import SpendingSpec

CHANGED = "budget_changed"  # on the ledger


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


def settle(conn: Connection, packs: Sequence[str], flow: str) -> list[DeclaredBudget]:
    """Bring what the files say in force as far as that may be, ask about the rest, and return what is in force then.

    The caller has the turn of `budgets`. That of `switch.TURNS` is taken after it, and before the ledger's, where people have to be
    asked; not while they only have yet to answer.

    Args:
        flow: that is about to use something up.
    """
    files = {pack: limits.said(pack) for pack in packs}  # once: a file that changes meanwhile is the next run's
    known = {pack: limits.on_record(conn, pack) for pack in packs}
    steps = [
        _Step(_kind(conn, known[pack].get(name), files[pack].get(name)), pack, name, known[pack].get(name), files[pack].get(name))
        for pack in packs
        for name in {**known[pack], **files[pack]}
    ]  # fmt: skip
    if any(one.takes_turn for one in steps):
        warehouse.take_turns(conn, switch.TURNS)
    now: dict[str, dict[str, LimitInForce]] = {pack: {} for pack in packs}
    for one in steps:
        if (limit := _taken(conn, one, flow)) is not None:
            now[one.pack][one.name] = limit
    found = []
    for pack in packs:
        if now[pack] != known[pack]:
            limits.keep(conn, pack, now[pack])
        found += _standing(conn, pack, files[pack], now[pack])
    return found


@dataclass(frozen=True)
class _Step:
    """What is to be done about a budget; decided about all before anything is written."""

    kind: Literal["keep", "take", "ask"]
    pack: str
    name: str
    before: LimitInForce | None
    after: SpendingSpec | None

    @property
    def takes_turn(self) -> bool:
        return self.kind == "ask" or self.forgets

    @property
    def forgets(self) -> bool:
        """Whether what was asked about counts for nothing from now on."""
        return self.kind == "take" and self.before is not None and self.before.asked is not None


def _kind(
    conn: Connection, before: LimitInForce | None, after: SpendingSpec | None
) -> Literal["keep", "take", "ask"]:  # fmt: skip
    if before is None or before.overtaken(after):
        return "take" if before is None else "keep"
    if before.spec is None:  # taken away, and perhaps there again
        return "take" if after is not None or not limits.young(before.since) else "keep"
    asked = requests.find(conn, before.asked) if before.asked is not None else None
    if not limits.looser(before.spec, after):
        same = limits.agreed(before.spec) == limits.agreed(after)  # perhaps of a worker that has not the new file yet
        return "keep" if same and asked is not None and limits.young(asked.updated_at) else "take"
    if settings().governance == SINGLE:
        return "take"
    if asked is None or asked.action["payload"] != _change(before.spec, after):
        return "ask"
    return "keep" if asked.state == requests.REFUSED or asked.is_open(warehouse.now()) else "ask"


def _taken(conn: Connection, step: _Step, flow: str) -> LimitInForce | None:
    """Do it; the limit in force then, None: there is none, and never was one."""
    before, after, key = step.before, step.after, limits.key_of(step.pack, step.name)
    if step.kind == "keep":
        return before
    if step.kind == "ask":
        assert before is not None
        return _asked(conn, step.pack, step.name, before, after, flow)
    if step.forgets:
        _forget(conn, key)
    held = before.spec if before is not None else None
    if limits.agreed(held) == limits.agreed(after):
        return replace(before, spec=after, asked=None) if before is not None and after is not None else None
    alone = {"governance": SINGLE} if held is not None and limits.looser(held, after) else {}
    _record(conn, key, before, after, **alone)
    return LimitInForce(after) if after is not None else None


def _asked(
    conn: Connection, pack: str, name: str, before: LimitInForce, after: SpendingSpec | None, flow: str
) -> LimitInForce:  # fmt: skip
    """Use the permit of a raise, or ask for it; the limit in force then."""
    assert before.spec is not None
    key, asset = limits.key_of(pack, name), limits.asset_of(pack)
    action = assets.changed(assets.RAISE, key, asset, limits.agreed(before.spec), limits.agreed(after))
    # of no DAG, where it is about more than one flow: that takes the right to decide on all
    origin = Origin(_effect(key), before.spec.flow or "", "budgets", asset, f"flow:{flow}")
    spec = policy.load(origin.pack, conn)
    verdict = permits.consume(conn, origin, action, policy.policy_digest(spec, action.kind), once=True)
    if verdict.permit is not None:
        _record(conn, key, before, after, request=verdict.request, permit=verdict.permit)
        return LimitInForce(after, None, before.spec, warehouse.now())
    return replace(before, asked=admission.admit(conn, origin, action, spec).request)


def _change(before: SpendingSpec, after: SpendingSpec | None) -> dict[str, Any]:
    return {"from": limits.agreed(before), "to": limits.agreed(after)}


def _effect(key: str) -> str:
    return f"{CHANGE}{assets.RAISE}:{key}"


def _forget(conn: Connection, key: str) -> None:
    """The file asks for nothing any more: what was said about it counts for nothing, a refusal neither."""
    for one in requests.of_effect(conn, _effect(key)):
        if one.state in (requests.OPEN, requests.REFUSED):
            requests.close(conn, one, requests.WITHDRAWN, "the file does not say it any more", one.state)
    permits.retire(conn, _effect(key), "the file does not say it any more")


def _record(
    conn: Connection, key: str, before: LimitInForce | None, after: SpendingSpec | None, **told: str | int | None
) -> None:  # fmt: skip
    """On the ledger: what is in force now, what was (None: it never was on record, so nobody is asked), and who let it."""
    said = {**limits.agreed(after), "before": limits.agreed(before.spec) if before and before.spec else None, **told}
    ledger.append(conn, CHANGED, key, said if after is not None else {**said, "removed": True})


def _standing(
    conn: Connection, pack: str, files: Mapping[str, SpendingSpec], known: Mapping[str, LimitInForce]
) -> list[DeclaredBudget]:
    found, single = [], settings().governance == SINGLE
    for name in {**known, **files}:
        before, after = known.get(name), files.get(name)
        held = before.spec if before is not None else None
        overtaken = before is not None and before.overtaken(after)
        if before is not None and held is not None and (overtaken or (not single and limits.looser(held, after))):
            held = held.model_copy(update={"ladder": after.ladder if after is not None else held.ladder})
            found.append(DeclaredBudget(name, pack, held, _waits(conn, before, after)))
        elif overtaken:
            continue  # people agreed that there is none
        elif after is not None:
            found.append(DeclaredBudget(name, pack, after))
    return found


def _waits(conn: Connection, before: LimitInForce, after: SpendingSpec | None) -> str:
    """What is not in force, and what has to happen before it is."""
    what = "its removal"
    if after is not None:
        what = f"{after.limit:g} {after.unit} a {after.period}"
        what += f" of {after.flow}" if before.spec is not None and after.flow != before.spec.flow else ""
    if before.overtaken(after):
        end = warehouse.stamp(datetime.fromisoformat(before.since) + limits.OVERTAKEN)
        return f"{what} is what people raised it from, so this file may be an old one: in force from {end[:16]} on, if it says so still"
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
