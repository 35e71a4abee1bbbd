"""The slot protocol under SIGKILL at every fault point: nothing lost, nothing twice, one head."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("slot_crashes.py")
POINTS = ("looked", "fenced", "computed", "writing", "written", "synced", "named", "before_commit", "committed")


@pytest.fixture
def memory_folder(tmp_path):
    """A folder in memory where there is one: a killed process does not need a disk that is slow to sync."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    folder = tempfile.mkdtemp(prefix="baton-", dir="/dev/shm")
    yield Path(folder)
    shutil.rmtree(folder)


def test_interleaved_and_killed_attempts_leave_one_verified_head(memory_folder):
    # the first ten seeds end an attempt at each fault point; from 100 on, attempts also sleep and wake too late
    command = [sys.executable, str(HARNESS), "--seeds", "60:70,100:200", "--seconds", "40"]
    done = subprocess.run(
        command, env={**os.environ, "BATON_HOME": str(memory_folder)}, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert summary["violations"] == []
    assert summary["scenarios"] >= 20  # of 110: on a busy machine the time limit ends it early
    endings = summary["endings"]
    assert {f"killed at {point}" for point in POINTS} <= endings.keys()
    assert min(endings[name] for name in ("done", "stale", "gc", "woke after its replacement had ended")) > 0
