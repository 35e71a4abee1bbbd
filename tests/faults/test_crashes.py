"""Commits and effects under SIGKILL at every fault point: nothing lost, nothing twice. `make bench NAME=crashes` runs thousands."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HARNESS = Path(__file__).with_name("crashes.py")
MEMORY = Path("/dev/shm")  # where there is one: a killed process does not need a disk that is slow to sync
COMMIT = ("looked", "fenced", "computed", "writing", "written", "synced", "named", "before_commit", "committed")
DELIVERY = ("consumed", "claimed", "asked", "posted", "before_commit", "settled")


def scenarios(kind: str, seeds: str, folder: Path) -> dict[str, Any]:
    """Run a sample; on a busy machine the time limit ends it early."""
    folder = MEMORY if os.access(MEMORY, os.W_OK) else folder
    command = [
        sys.executable,
        str(HARNESS),
        "--kind",
        kind,
        "--seeds",
        seeds,
        "--seconds",
        "40",
        "--folder",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    assert summary["violations"] == []
    return summary


def test_interleaved_and_killed_attempts_leave_one_verified_head(tmp_path: Path) -> None:
    # the first ten seeds end an attempt at each fault point; from 100 on, attempts also sleep and wake too late
    summary = scenarios("slot", "60:70,100:200", tmp_path)
    assert summary["scenarios"] >= 20  # of 110
    endings = summary["endings"]
    assert {f"killed at {point}" for point in COMMIT} <= endings.keys()
    assert min(endings[name] for name in ("done", "stale", "gc", "woke after its replacement had ended")) > 0


def test_interleaved_and_killed_tasks_that_share_a_stage_leave_one_whole(tmp_path: Path) -> None:
    summary = scenarios("group", "0:60", tmp_path)
    assert summary["scenarios"] >= 15
    endings = summary["endings"]
    assert sum(f"killed at whole_{point}" in endings for point in COMMIT) >= 5
    assert min(endings[name] for name in ("done", "gc", "wholes named by the first tries")) > 0


def test_interleaved_and_killed_workers_send_each_effect_once(tmp_path: Path) -> None:
    summary = scenarios("outbox", "0:80", tmp_path)
    assert summary["scenarios"] >= 20
    endings = summary["endings"]
    assert {f"worker killed at {point}" for point in DELIVERY} <= endings.keys()
    assert {"plan done", "worker done", "retry done"} <= endings.keys()


def test_what_people_agreed_to_is_sent_once_under_a_permit_of_its_own(tmp_path: Path) -> None:
    summary = scenarios("guarded", "0:80", tmp_path)
    assert summary["scenarios"] >= 15
    endings = summary["endings"]
    assert {f"voter killed at {point}" for point in ("voted", "answered")} <= endings.keys()
    assert {"voter done", "worker killed at consumed", "worker done", "retry done"} <= endings.keys()
    assert min(endings[name] for name in ("policy changed", "all effects stopped", "another plan accepted")) > 0


def test_a_killed_vote_or_delivery_sends_nothing_that_people_did_not_agree_to_and_nothing_twice(tmp_path: Path) -> None:
    summary = scenarios("agreed", "0:12", tmp_path)
    assert summary["scenarios"] == 12
    endings = summary["endings"]
    assert endings["sent"] >= 8
    assert {f"killed at {point}" for point in ("voted", "answered")} <= endings.keys()
    assert sum(f"killed at {point}" in endings for point in DELIVERY) >= 2
