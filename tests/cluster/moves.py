"""Moves of the world and looks into the warehouse, run inside the container `demo`: `python - MOVE ARGUMENT ...`; prints JSON."""

import json
import sqlite3
import sys
from contextlib import closing, contextmanager

from sqlalchemy import func, select

from baton.effects import outbox
from baton.published.rows import DECISIONS, KEY, batches, in_force
from baton.quarantine.records import accounting
from baton.record import tables
from baton.record.warehouse import read
from baton.settings import settings
from baton_demo.financial_crime.playbook import FinancialCrimePlaybook
from baton_demo.story import Demo
from baton_demo.supply_chain.playbook import SupplyChainPlaybook


@contextmanager
def silent(title, total):
    yield lambda done: None


def stage(first=114):
    demo = Demo(None, None, print, silent)
    return FinancialCrimePlaybook(demo), SupplyChainPlaybook(demo, int(first), 116)


def hours(first, end):
    """Partitions of the recording's hours."""
    return stage()[0].hours(int(first), int(end))


def week(number):
    """Partition of a week."""
    return stage()[1].week(int(number))


def deliver(number):
    """Put a week's deliveries where they land; returns its partition."""
    book = stage(number)[1]
    book.deliver(int(number))
    return book.week(int(number))


def answers(number):
    """What the simulated buyer answers to a week's proposals."""
    book = stage()[1]
    asked = book.decisions(book.week(int(number)))
    asked = asked[asked["route"] == "approve"]
    return {item: int(quantity) for item, quantity in zip(asked["item"], asked["quantity"], strict=True)}


def account(flow, partition):
    """Rows read, published, open, discarded; rows, keys and commits that are there twice."""
    commits, place = tables.commits, in_force(flow, partition)
    decided = [key for batch in batches(place, DECISIONS) for key in batch.column(KEY).to_pylist()] if place else []
    rows, keys = len(decided), len(set(decided))
    with read() as conn:
        same = conn.execute(
            select(func.count()).where(commits.c.flow == flow, commits.c.partition == partition)
            .group_by(commits.c.stage, commits.c.map_index, commits.c.digest)
        ).scalars().all()  # fmt: skip
    return {**accounting(flow, partition), "rows": rows, "keys": keys, "commits_twice": sum(same) - len(same)}


def orders(partition):
    """Orders in the outbox that are sent, others, and what the purchasing service holds."""
    effects = outbox.effects("replenishment", partition)
    with closing(sqlite3.connect(settings().home / "purchasing.db")) as book:
        there = [key for (key,) in book.execute("SELECT key FROM orders") if f"-{partition[:10]}-" in key]
    sent = sorted(one.key for one in effects if one.state == outbox.SENT)
    return {"sent": sent, "others": [one.state for one in effects if one.state != outbox.SENT], "there": sorted(there)}


sys.stdout.write(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])) + "\n")
