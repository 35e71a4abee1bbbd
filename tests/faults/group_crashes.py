"""Crash harness of a stage that several tasks share: attempts of its groups, interleaved by a seed, killed at fault points.

The points of naming the whole are called `whole_looked`, `whole_fenced`, ... Which group is the last, and so names the whole, the
seed decides; two may both be. Some make do with what they have, so that a repetition computes their group anew. Afterwards each
group is tried once more, as retries would, and everything is checked against the invariants in `_violations`. `python tests/faults/crashes.py --kind group --seeds 17:18` runs one again.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pandas as pd
import sqlalchemy as sa
from forked import Attempt, Violation, digest
from slot_crashes import HOLDING, POINTS, advance
from sqlalchemy import Connection

from baton.data import datasets, objects, stored
from baton.data.datasets import DatasetRef
from baton.errors import StaleAttempt
from baton.record import ledger, warehouse
from baton.record.tables import commits, heads
from baton.stages import garbage, groups, slots
from baton.stages.digests import input_digest

PARTITION, EACH, RECORDED = "2026-01-01T00:00:00", 5, "whole_recorded"
WHOLE_POINTS = tuple(f"whole_{point}" for point in POINTS)


@dataclass(frozen=True)
class Shared:
    """A group's task: `of` have the batch between them; late data has a higher version; what a `poor` one makes is degraded."""

    flow: str
    number: int
    of: int
    version: int
    poor: bool = False

    def params(self, number: int, after: int | None = None) -> dict[str, Any]:
        return {"version": self.version, "number": number, "state": {"after": after}}

    def digest(self, number: int, head: slots.StageResult) -> str:
        return input_digest({}, groups.as_repeated(self.params(number), head), {}, "crash harness")

    def act(self, stop: Any) -> dict[str, Any]:
        slot = slots.Slot(self.flow, "stage", PARTITION, self.number)
        keys = [f"e{self.number * EACH + row}" for row in range(EACH)]
        frame = pd.DataFrame({"entity_key": keys, "risk": float(self.version)})
        facts: dict[str, Any] = {"version": self.version} | ({"degraded": [str(self.number)]} if self.poor else {})
        slots.FAULT = stop
        try:
            made = slots.run_stage(
                slot, lambda inputs: slots.StageOutput(frame, facts), inputs={},
                params=self.params(self.number, slots.recomputed_after(slot)), models={}, code="crash harness", run_id="harness",
            )  # fmt: skip
            slots.FAULT = lambda point: stop(f"whole_{point}")
            digests = [partial(self.digest, number) for number in range(self.of)]
            whole = groups.whole_if_complete(slot, made, digests, join=join)
        except StaleAttempt:
            return {"at": "stale"}
        return {"at": "done", "commit": made.commit_id, "whole": None if whole is None else whole.commit_id}


def join(slot: slots.Slot, facts: Sequence[Mapping[str, Any]]) -> groups.Joined:
    """With a record, of which there has to be one for each whole."""
    said, _ = groups.alike(slot, facts)

    def on_commit(conn: Connection, commit_id: int) -> None:
        ledger.append(conn, RECORDED, slot.flow, {"commit": commit_id, "degraded": said.get("degraded", [])})

    return said, on_commit


def run_scenario(seed: int, counts: Counter[str]) -> str:
    """Run one seeded scenario; returns the name of its interleaving.

    Raises:
        Violation: an invariant does not hold; names the seed.
    """
    rng = random.Random(seed)
    flow, of = f"groups_{seed}", rng.choice((2, 2, 3))
    kills = (*POINTS, *WHOLE_POINTS, None)
    cast = [
        (Shared(flow, number, of, 0, rng.random() < 0.3), rng.choice((None, rng.choice(kills)))) for number in range(of)
    ]
    cast += [
        (Shared(flow, rng.randrange(of), of, version, rng.random() < 0.3), rng.choice(kills))
        for version in rng.choice(((), (0,), (0, 0), (1,), (1, 1)))
    ]
    rng.shuffle(cast)
    if seed < len(kills):
        cast[-1] = (cast[-1][0], kills[seed])  # the one that starts last is often the one that names the whole
    last = max(one.version for one, _ in cast)
    trace = [str([(one.number, one.version, one.poor) for one, _ in cast])]
    waiting = [Attempt(one.act, trace, f"{number}", kill) for number, (one, kill) in enumerate(cast)]
    running: list[Attempt] = []
    every: list[Attempt] = []
    try:
        while waiting or running:
            holder = next((a for a in running if a.at in HOLDING and not a.waiting), None)
            if holder is None and rng.random() < 0.04:
                garbage.gc(timedelta(0))
                counts["gc"] += 1
                trace.append("gc")
            if waiting and (not running or rng.random() < 0.25):
                newcomer = waiting.pop(0)
                newcomer.start()
                running.append(newcomer)
                every.append(newcomer)
                continue
            advance(rng, running, holder)
            running = [a for a in running if a.ended is None]
        for one in every:
            counts[one.outcome] += 1
        first = _rows(flow, commits, -1)
        counts["wholes named by the first tries"] += len(first)
        counts["degraded ones of these"] += sum("degraded" in row["facts"] for row in first)
        final = [Attempt(Shared(flow, number, of, last).act, [], f"retry {number}") for number in range(of)]
        for one in final:
            every.append(one)
            one.finish()
        garbage.gc(timedelta(0))
        if problems := _violations(flow, of, last, every, final):
            raise Violation("; ".join(problems))
    except Violation as violation:
        raise Violation(f"group seed {seed}: {violation}") from None
    finally:
        for one in every:
            one.bury()
    return digest(trace)


def _rows(flow: str, table: sa.Table, map_index: int) -> list[Any]:
    query = sa.select(table).where(table.c.flow == flow, table.c.map_index == map_index)
    with warehouse.read() as conn:
        return list(conn.execute(query.order_by(table.c.fence)).mappings())


def _violations(flow: str, of: int, version: int, every: list[Attempt], final: list[Attempt]) -> list[str]:
    """Check what must hold whatever happened; returns a sentence for each invariant that does not."""
    failed = [f"attempt failed: {a.result['error']}" for a in every if a.ended == "failed"]
    if wrong := [a.ended for a in final if a.ended != "done"]:
        return [*failed, f"a retry ended {wrong[0]}"]
    whole = slots.head(slots.Slot(flow, "stage", PARTITION))
    if whole is None:
        return [*failed, "the whole was never named"]
    made = [row for number in range(-1, of) for row in _rows(flow, commits, number)]
    present = slots.heads_of_groups(slots.Slot(flow, "stage", PARTITION), of)
    rows = datasets.read(whole.ref)
    refs = [DatasetRef.from_dict(row["ref"]) for row in made]
    named = {ref.uri for ref in refs} | {part.uri for ref in refs for part in stored.held(ref)[1]}
    fences = [[row["fence"] for row in _rows(flow, commits, number)] for number in range(-1, of)]
    wholes = {row["id"]: row for row in _rows(flow, commits, -1)}
    recorded = {entry.payload["commit"]: entry.payload["degraded"] for entry in ledger.entries(flow, RECORDED)}
    poor = {row["uri"] for row in made if row["map_index"] >= 0 and "degraded" in row["facts"]}
    uses = Counter(one["uri"] for row in wholes.values() for one in row["inputs"].values())
    told = {entry.payload["commit"] for entry in ledger.entries(kind="dataset_committed")}
    acknowledged = {a.result[name] for a in every if a.ended == "done" for name in ("commit", "whole")} - {None}
    holds = {
        "the whole is made of the groups' heads": [ref.uri for ref in whole.inputs.values()]
        == [one.ref.uri for one in present],
        "each row is there once, in order": rows["entity_key"].tolist() == [f"e{row}" for row in range(EACH * of)],
        "the rows are those of the last data": set(rows["risk"]) == {float(version)},
        "no stale attempt committed": all(a < b for one in fences for a, b in pairwise(one)),
        "every acknowledged commit is there": acknowledged <= {row["id"] for row in made},
        "every named object verifies": all(map(datasets.verifies, refs)),
        "after gc the store holds what commits name": named
        == {item.uri for item in objects.listed() if item.name.startswith(f"{flow}/")},
        "the ledger knows each commit": {row["id"] for row in made} <= told,
        "every group has a head": len(_heads(flow)) == of + 1,
        "what was degraded is computed anew": "degraded" not in whole.facts,
        "every whole is on record, once": recorded
        == {one: row["facts"].get("degraded", []) for one, row in wholes.items()}
        and len(recorded) == len(ledger.entries(flow, RECORDED)),
        "no whole is made of what was degraded in one before": all(uses[uri] < 2 for uri in poor),
    }
    return failed + [f"does not hold: {sentence}" for sentence, true in holds.items() if not true]


def _heads(flow: str) -> list[Any]:
    query = sa.select(heads).where(heads.c.flow == flow, heads.c.commit_id.is_not(None))
    with warehouse.read() as conn:
        return list(conn.execute(query))
