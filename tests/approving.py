"""Promotions for tests that are not about who agrees: people say yes by the votes that count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from baton.actions import promotions, requests, votes
from baton.actions.votes import Voter
from baton.effects import firewall
from baton.record import tables, warehouse


def ask(model: str, version: int, **barred: str) -> requests.Request:
    """Ask people, as the promotion's task does."""
    return promotions.ask(model, version, barred)


def answer(
    model: str, version: int, *people: str, answer: str = votes.APPROVE, channel: str = "airflow", **barred: str
) -> requests.Request:
    """Ask, and have these people answer, and as many more as are needed; returns the request as it is then."""
    found = ask(model, version, **barred)
    for person in [*people, *(f"reader {number}" for number in range(found.needs - len(people)))]:
        found = firewall.vote(found.id, Voter(person, person, channel), answer, found.seen)
        if found.state != requests.OPEN:
            break
    return found


def by(actor: str = "ada", **more: Any) -> Callable[[Connection], dict[str, Any]]:
    """A permit for `Registry.promote` that nobody was asked for."""
    return lambda conn: {"actor": actor, "reason": "test", **more}


def judged(model: str, version: int, champion: int | None = None, decision: str = "PROMOTE", at: str = "t1") -> None:
    """The verdict of a gate, as its stage records it."""
    verdict = {"decision": decision, "champion_version": champion, "manifest": "files", "gate": "gate"}
    row = {"model": model, "version": version, "verdict": verdict, "judged_at": at, "answer": None, "request": None}
    with warehouse.write() as conn:
        warehouse.upsert(conn, tables.approvals, [row])
