"""The page Today as data: the same for the HTML page and for `/baton/api/today`."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import select

from baton.console.host import Rights
from baton.console.queries import actions, queues, state, work
from baton.console.queries.alias_watch import WATCH
from baton.console.queries.assets import listing
from baton.errors import SpecError
from baton.record import tables
from baton.record.warehouse import read
from baton.settings import settings
from baton.usage import report

T = TypeVar("T")


def gather(rights: Rights) -> dict[str, Any]:
    """Everything on the page, as JSON-ready values; only what the person may read.

    Returns:
        at, person, totals, runs, approvals, requests, cases, quarantine, drift, champions, put_back, healing, reviews (assets that are due), budgets, ledger,
        problems (of the files of packs and budgets, as sentences), registry (`compared`, and the address of its UI).
    """
    present = datetime.now(UTC)
    midnight = present.replace(hour=0, minute=0, second=0, microsecond=0)
    runs = rights.runs(midnight)
    requests = rights.requests()
    aliases, problems = WATCH.look(_models()), list[str]()
    reviews = readable(lambda: listing.due(listing.rows(rights, present.date())), rights, problems)
    budgets = readable(lambda: report.warnings(rights.read), rights, problems)
    with read() as conn:
        approvals = work.approvals(conn, rights, requests)
        found: dict[str, Any] = {
            "at": present.isoformat(timespec="seconds"),
            "person": rights.person.name,
            "may_verify": rights.decide(None),
            "runs": [asdict(run) for run in work.with_partitions(conn, runs)],
            "approvals": approvals,
            "requests": work.other_requests(requests, approvals),
            "cases": queues.summary(conn, rights, present),
            "quarantine": work.quarantine(conn, rights),
            "drift": state.drift(conn, rights),
            "actions": actions.summary(rights),
            "champions": state.champions(conn, rights, aliases),
            "put_back": state.put_back(conn, rights),
            "healing": state.healing(conn, rights),
            "reviews": reviews,
            "budgets": budgets,
            "problems": problems,
            "ledger": state.ledger_state(conn),
            "registry": {"compared": aliases is not None, "url": settings().mlflow_tracking_uri},
        }
    found["totals"] = _totals(found)
    return found


def readable(look: Callable[[], list[T]], rights: Rights, problems: list[str]) -> list[T]:
    """What is found in files that a person writes; nothing, and a sentence, where one is broken: the rest of the page does not need it."""
    try:
        return look()
    except SpecError as error:
        said = str(error) if rights.read(None) else "a file of a pack, or of budgets, cannot be read"
        problems += [said] if said not in problems else []
        return []


def _models() -> list[str]:
    """Models to ask the registry about: of installed packs, and of the record."""
    with read() as conn:
        judged = conn.execute(select(tables.approvals.c.model).distinct()).scalars().all()
        moves = select(tables.ledger.c.subject).where(tables.ledger.c.kind == "alias_moved")
        return sorted({*state.known_models(), *judged, *conn.execute(moves.distinct()).scalars()})


def _totals(found: dict[str, Any]) -> dict[str, Any]:
    states: Counter[str] = Counter()
    for run in found["runs"]:
        states.update(run["states"])
    return {
        "to_answer": len(found["approvals"]) + len(found["requests"]) + found["actions"]["waiting"],
        "cases": found["cases"]["open"],
        "quarantined": found["quarantine"]["rows"],
        "drifted": sum(1 for window in found["drift"] if window["verdict"] == "drifted"),
        "failed": states["failed"],
        "runs": sum(states.values()),
        "warnings": sum(1 for champion in found["champions"] if champion["warning"]),
    }
