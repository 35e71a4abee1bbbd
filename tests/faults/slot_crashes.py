"""Crash harness of the slot protocol: attempts of one slot, interleaved by a seed, killed at fault points.

Each attempt is a forked process that stops at every fault point until the director lets it go on or has it
kill itself (SIGKILL). The director decides by a seeded generator only: a seed that fails can be run again:

    python tests/faults/crashes.py --kind slot --seeds 17:18

Scenarios: 2 to 3 attempts, of which some see late data (another digest); one may sleep until its replacements
have ended and wake then; `gc` strikes in between with no grace. After each, one more attempt runs to its end,
as a retry would, and everything is checked against the invariants in `_violations`.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pandas as pd
import pyarrow.parquet  # noqa: F401 - once, before the attempts are forked
import sqlalchemy as sa
from forked import Attempt, Violation, digest

from baton.data import datasets, objects, parts
from baton.errors import StaleAttempt
from baton.published import index
from baton.published.rows import DECISIONS, Published, batches, published
from baton.published.writing import Publication
from baton.record import ledger, tables, warehouse
from baton.record.tables import commits, heads
from baton.stages import garbage, slots

POINTS = ("looked", "fenced", "computed", "writing", "written", "synced", "named", "before_commit", "committed")
# at these points an attempt is inside the commit's transaction; `whole_...` see group_crashes.py
HOLDING = {"named", "before_commit", "whole_named", "whole_before_commit"}
NEEDS_LOCK = {
    "looked",
    "synced",
    "whole_looked",
    "whole_synced",
}  # the step after these needs the warehouse's write lock
PARTITION = "2026-01-01T00:00:00"
index.AT_PUBLISH = 0  # merging needs the lock once more, and the director lets one attempt at a time have it
KEYS = sorted(f"e{number}" for number in range(20))


def attempt_once(slot: slots.Slot, version: int) -> slots.StageResult:
    """What the task does: rows and business tables that depend on `version` (late data has a higher one)."""

    def compute(_inputs: dict[str, datasets.DatasetRef]) -> slots.StageOutput:
        frame = pd.DataFrame({"entity_key": KEYS, "risk": float(version)})

        decided = frame.assign(route="clear", money=0.0)
        publication = Publication(slot.flow, slot.partition, {}, len(frame), decisions=lambda: [decided])
        return slots.StageOutput(frame, {"version": version}, publication.enforce, beside=publication.write)

    return slots.run_stage(
        slot, compute, inputs={}, params={"version": version}, models={}, code="crash harness", run_id="harness"
    )


@dataclass
class Cast:
    """One attempt of a scenario, before it starts."""

    version: int
    kill_at: str | None
    sleep_at: str | None = None

    def attempt(self, slot: slots.Slot, trace: list[str], name: str) -> Attempt:
        return Attempt(partial(_act, slot, self.version), trace, name, self.kill_at, self.sleep_at)


def _act(slot: slots.Slot, version: int, stop: Any) -> dict[str, Any]:
    slots.FAULT = stop
    try:
        result = attempt_once(slot, version)
    except StaleAttempt:
        return {"at": "stale"}
    return {"at": "done", "commit": result.commit_id, "cached": result.cached, "digest": result.digest}


def run_scenario(seed: int, counts: Counter[str]) -> str:
    """Run one seeded scenario; returns the name of its interleaving.

    Raises:
        Violation: an invariant does not hold; names the seed.
    """
    rng = random.Random(seed)
    slot = slots.Slot(f"flow_{seed}", "stage", PARTITION)
    cast = _cast(seed, rng)
    trace = [str([one.version for one in cast])]
    waiting_to_start = [one.attempt(slot, trace, f"{number}") for number, one in enumerate(cast)]
    running: list[Attempt] = []
    every: list[Attempt] = []
    try:
        while waiting_to_start or running:
            holder = next((a for a in running if a.at in HOLDING and not a.waiting), None)
            if holder is None and rng.random() < 0.06:
                garbage.gc(timedelta(0))
                counts["gc"] += 1
                trace.append("gc")
            asleep = all(a.at == a.sleep_at for a in running)
            if waiting_to_start and (asleep or rng.random() < 0.25):
                newcomer = waiting_to_start.pop(0)
                newcomer.start()
                running.append(newcomer)
                every.append(newcomer)
                continue
            if len(running) == 1 and not waiting_to_start and running[0].at == running[0].sleep_at:
                counts["woke after its replacement had ended"] += 1
            advance(rng, running, holder)
            running = [a for a in running if a.ended is None]
        for one in every:
            counts[one.outcome] += 1
        final = Cast(cast[-1].version, None).attempt(slot, [], "retry")
        every.append(final)
        final.finish()
        garbage.gc(timedelta(0))
        if problems := _violations(slot, every, final):
            raise Violation("; ".join(problems))
    except Violation as violation:
        raise Violation(f"slot seed {seed}: {violation}") from None
    finally:
        for one in every:
            one.bury()
    return digest(trace)


def _cast(seed: int, rng: random.Random) -> list[Cast]:
    """The attempts in order of their start; the first seeds walk through all pairs of kill points."""
    choices = (*POINTS, None)
    count = rng.choice((2, 2, 3))
    kills = [rng.choice(POINTS) if rng.random() < 0.5 else None for _ in range(count)]
    if seed < len(choices) ** 2:
        kills[:2] = choices[seed % len(choices)], choices[seed // len(choices)]
    version, cast = 0, []
    for kill in kills:
        version += rng.random() < 0.3
        cast.append(Cast(version, kill))
    if seed >= len(choices) ** 2 and rng.random() < 0.4:
        cast[0].kill_at, cast[0].sleep_at = None, rng.choice(POINTS[:6])
    return cast


def advance(rng: random.Random, running: list[Attempt], holder: Attempt | None) -> None:
    """Let one attempt make one step; at most one waits for a lock at a time: the seed decides the order."""
    blocked = [a for a in running if a.waiting]
    ready = [a for a in running if not (a.waiting or (blocked and a is not holder and a.at in NEEDS_LOCK))]
    ready = [a for a in ready if a.at != a.sleep_at] or ready
    one = rng.choice(ready)
    one.order()
    if one.ended is None and not (holder not in (None, one) and one.at in NEEDS_LOCK):
        one.report()
    released = holder is one and (one.ended is not None or one.at not in HOLDING)
    if blocked and released:
        blocked[0].report()


def _violations(slot: slots.Slot, every: list[Attempt], final: Attempt) -> list[str]:
    """Check what must hold whatever happened; returns a sentence for each invariant that does not."""
    failed = [f"attempt failed: {a.result['error']}" for a in every if a.ended == "failed"]
    if final.ended != "done":
        return [*failed, f"the retry ended {final.ended}"]
    where = (commits.c.flow == slot.flow, commits.c.partition == slot.partition)
    with warehouse.read() as conn:
        made = list(conn.execute(sa.select(commits).where(*where).order_by(commits.c.id)).mappings())
        head = conn.execute(sa.select(heads).where(heads.c.flow == slot.flow)).mappings().one()
        places = list(published(conn, tables.published.c.flow == slot.flow))
    rows = [row for place in places for batch in batches(place, DECISIONS) for row in batch.to_pylist()]
    last, known = made[-1], {commit["id"] for commit in made}
    told = {e.payload["commit"] for e in ledger.entries(subject=str(slot), kind="dataset_committed")}
    acknowledged = {a.result["commit"] for a in every if a.ended == "done"}
    stored = {item.uri for item in objects.listed() if item.name.startswith(f"{slot.flow}/")}
    holds = {
        "the head is the last commit": all(head[k] == last[k] for k in ("digest", "uri"))
        and head["commit_id"] == last["id"],
        "the retry returned the head": final.result["commit"] == last["id"]
        and final.result["digest"] == last["digest"],
        "no stale attempt committed": all(a["fence"] < b["fence"] for a, b in pairwise(made)),
        "no digest was committed twice in a row": all(a["digest"] != b["digest"] for a, b in pairwise(made)),
        "every acknowledged commit is there": acknowledged <= known,
        "every named object verifies": all(_verifies(commit) for commit in made),
        "after gc the store holds what commits name, and what is published": stored
        == {commit["uri"] for commit in made} | {uri for place in places for uri in _objects(place)},
        "each row is published once": sorted(row["entity_key"] for row in rows) == KEYS,
        "the published rows are the head's": {(row["commit_id"], row["risk"]) for row in rows}
        == {(last["id"], float(last["facts"]["version"]))},
        "the ledger knows each commit": told == known,
    }
    return failed + [f"does not hold: {sentence}" for sentence, true in holds.items() if not true]


def _objects(place: Published) -> set[str]:
    assert place.decisions is not None
    return {place.decisions.uri} | {
        part.uri for part in parts.of_manifest(place.decisions.uri, place.decisions.content_sha256)
    }


def _verifies(commit: Any) -> bool:
    path = objects.path_of(commit["uri"])
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == commit["ref"]["content_sha256"]
