"""The slot protocol under SIGKILL at every fault point: nothing lost, nothing twice, one head."""

import json
import os
import subprocess
import sys
from pathlib import Path

HARNESS = Path(__file__).with_name("slot_crashes.py")
POINTS = (
    "looked",
    "fenced",
    "computed",
    "writing",
    "written",
    "synced",
    "named",
    "before_commit",
    "committed",
)


def test_interleaved_and_killed_attempts_leave_one_verified_head(tmp_path):
    # these seeds hold every fault point as the first attempt's end, and the sleepers
    command = [sys.executable, str(HARNESS), "--first-seed", "60", "--scenarios", "110", "--seconds", "50"]
    done = subprocess.run(
        command, env={**os.environ, "BATON_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert summary["violations"] == []
    assert summary["scenarios"] >= 40  # on a busy machine the time limit ends it early
    assert {f"killed at {point}" for point in POINTS} <= summary["endings"].keys()
    assert summary["endings"]["stale"] > 0
    assert summary["endings"]["gc"] > 0
