"""The action firewall: the policy matrix, seeded crashes around the action step, sequences of actions taken back, and of votes.

The matrix is compared with a table written by hand (`tests/faults/matrix.py`). A crash scenario counts when its interleaving
is not that of another; people vote, plans, policy and kill switch change meanwhile. The sequences run against the real
services of the demo, over HTTP. Sequences of votes are about promotions and about effects: who may not agree does, what was agreed to
changes, a permit is used twice, the process dies in between; a book of its own says what may happen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from baton.record import warehouse
from baton.settings import settings

FAULTS = Path(__file__).parents[1] / "faults"
LANES = ((0, 620), (620, 1240))
SEQUENCES, PROMOTIONS, EFFECTS = 100, 2_000, 2_000


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Crashes in two processes, then matrix and sequences in this one."""
    sys.path.insert(0, str(FAULTS))
    with tempfile.TemporaryDirectory(prefix="baton-actions-") as name:
        crashes = _crashes(Path(name), out)
        matrix = _in_a_home(Path(name) / "matrix", _matrix)
        undone = _in_a_home(Path(name) / "undo", _undo)
        voted = _in_a_home(Path(name) / "votes", _votes)
        agreed = _in_a_home(Path(name) / "effects", _effects)
    none = {"peer": None, "peer_value": None, "ratio": None, "seed": seed}
    zero = {"unit": "", "target": 0, "larger_is_better": False, "required": True, **none}
    return [
        {"name": "distinct crash scenarios around an action", "value": crashes["distinct"], "unit": "", "target": 1000,
         "larger_is_better": True, **none, **crashes},
        {"name": "of them with an effect twice, lost or without its permit", "value": len(crashes["violations"]), **zero},
        {"name": "policy matrix: wrongly allowed", "value": len(matrix.wrongly_allowed), "cells": matrix.cells, **zero},
        {"name": "policy matrix: wrongly refused", "value": len(matrix.wrongly_refused), "cells": matrix.cells, **zero},
        {"name": "sequences of actions taken back to the exact state", "value": sum(not one.problems for one in undone),
         "unit": f"of {SEQUENCES}", "target": SEQUENCES, "larger_is_better": True, **none,
         "actions": sum(one.actions for one in undone), "problems": [one.problems for one in undone if one.problems]},
        {"name": f"{PROMOTIONS:,} sequences of votes on promotions: moved without two who may", "value": len(voted.let_through),
         "moves": voted.moves, "refused": voted.refused, "problems": voted.let_through[:20], **zero},
        {"name": "of them not moved, though two who may agreed", "value": len(voted.kept_out), "problems": voted.kept_out[:20], **zero},
        {"name": f"{EFFECTS:,} sequences of votes on effects: sent without the votes, or twice", "value": len(agreed.let_through),
         "sent": agreed.sent, "refused": agreed.refused, "killed": dict(sorted(agreed.killed.items())),
         "problems": agreed.let_through[:20], **zero},
        {"name": "of them not sent, though who may agreed", "value": len(agreed.kept_out), "problems": agreed.kept_out[:20], **zero},
    ]  # fmt: skip


def _crashes(folder: Path, out: Path) -> dict[str, Any]:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a killed process needs no disk that syncs

    def lane(number: int) -> dict[str, Any]:
        start, end = LANES[number]
        command = [sys.executable, str(FAULTS / "crashes.py"), "--kind", "guarded", "--seeds", f"{start}:{end}"]
        command += [
            "--seconds",
            "3600",
            "--traces",
            str(folder / f"{number}.txt"),
            *(["--folder", memory] if memory else []),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return dict(json.loads(done.stdout))

    with ThreadPoolExecutor(len(LANES)) as pool:
        summaries = list(pool.map(lane, range(len(LANES))))
    (out / "actions_endings.json").write_text(json.dumps(summaries, indent=1), encoding="utf-8")
    traces = {line for number in range(len(LANES)) for line in (folder / f"{number}.txt").read_text().split()}
    killed = sum(count for one in summaries for name, count in one["endings"].items() if "killed" in name)
    violations = [found for one in summaries for found in one["violations"]]
    return {"distinct": len(traces), "kills": killed, "violations": violations}


def _votes(folder: Path) -> Any:
    from vote_sequences import play

    return play(range(PROMOTIONS))


def _effects(folder: Path) -> Any:
    from effect_sequences import play

    return play(range(EFFECTS))


def _matrix(folder: Path) -> Any:
    from matrix import play

    return play()


def _undo(folder: Path) -> Any:
    from undo_sequences import play, services

    with services(folder) as town:
        return [play(number, town, folder) for number in range(SEQUENCES)]


def _in_a_home(folder: Path, work: Any) -> Any:
    """Have work done in an empty warehouse of its own."""
    before = os.environ.get("BATON_HOME")
    os.environ["BATON_HOME"] = str(folder)
    settings.cache_clear()
    try:
        folder.mkdir(parents=True)
        warehouse.migrate()
        return work(folder)
    finally:
        warehouse.engine().dispose()
        os.environ.pop("BATON_HOME")
        if before is not None:
            os.environ["BATON_HOME"] = before
        settings.cache_clear()
