"""Holds a stage in its middle, for the kill tests: put on PYTHONPATH of the services, never installed.

While the file `$BATON_HOLD/hold` names a task, that task stops between computing and committing, says in
`$BATON_HOLD/held` that it is there (its pid), and goes on when the file is gone.
"""

import os
import time
from pathlib import Path


def _hold(point: str) -> None:
    folder = Path(os.environ["BATON_HOLD"])
    hold, began = folder / "hold", time.monotonic()
    if point != "computed" or not _names_this_task(hold):
        return
    (folder / "held").write_text(str(os.getpid()))
    while _names_this_task(hold) and time.monotonic() - began < 300:
        time.sleep(0.05)


def _names_this_task(hold: Path) -> bool:
    try:
        return hold.read_text() == os.environ.get("AIRFLOW_CTX_TASK_ID", "")
    except FileNotFoundError:
        return False


if "BATON_HOLD" in os.environ:
    import baton.stages.slots

    baton.stages.slots.FAULT = _hold
