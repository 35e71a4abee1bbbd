"""Holds stages in their middle, for the kill tests: put on PYTHONPATH of the services, never installed.

While the file `$BATON_HOLD/hold` names a task (a line each), that task stops between computing and committing, says in
`$BATON_HOLD/held-<task>` that it is there (its pid), and goes on when the file names it no more.
"""

import os
import time
from pathlib import Path


def _hold(point: str) -> None:
    folder, task = Path(os.environ["BATON_HOLD"]), os.environ.get("AIRFLOW_CTX_TASK_ID", "")
    hold, began = folder / "hold", time.monotonic()
    if point != "computed" or not _names(hold, task):
        return
    (folder / f"held-{task}").write_text(str(os.getpid()))
    while _names(hold, task) and time.monotonic() - began < 300:
        time.sleep(0.05)


def _names(hold: Path, task: str) -> bool:
    try:
        return task in hold.read_text().splitlines()
    except FileNotFoundError:
        return False


if "BATON_HOLD" in os.environ:
    import baton.stages.slots

    baton.stages.slots.FAULT = _hold
