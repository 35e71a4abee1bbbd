"""Backup and restore of the state that `make demo` leaves: how long each takes, and what the next backup costs.

BATON_BENCH_STATE names a home that holds such a state already; it is copied, not touched. Without it the demo of card fraud is
played first.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SYSTEM = "financial_crime"


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Seconds of a first backup, of one after it, and of the restore on an empty home until `baton verify` is clean."""
    with tempfile.TemporaryDirectory(prefix="baton-bench-restore-") as name:
        root = Path(name)
        home, shelf, words = root / "home", root / "shelf", root / "words"
        words.write_text("a passphrase of the benchmark\n")
        _state(home)
        first, made = _timed("backup", str(shelf), "--passphrase-file", str(words), "--json", home=home)
        second, again = _timed("backup", str(shelf), "--passphrase-file", str(words), "--json", home=home)
        checked, _ = _timed("restore", str(shelf), "--passphrase-file", str(words), "--check", home=root / "new")
        shutil.rmtree(home)
        restored, said = _timed("restore", str(shelf), "--passphrase-file", str(words), home=root / "new")
        verified, _ = _timed("verify", home=root / "new")
    size, copied = (json.loads(text) for text in (made, again))
    about = f"{size['parts']:,} files, {size['size'] / 1e6:.0f} MB"
    shared = {"unit": "s", "larger_is_better": False, "peer": None, "peer_value": None, "ratio": None, "seed": seed,
              "load": os.getloadavg()[0]}  # fmt: skip
    return [
        {"name": "restore on an empty machine, verified", "value": restored, "target": 300.0, "said": said.splitlines()[-2:], **shared},
        {"name": f"first backup of {about}", "value": first, "target": None, **shared},
        {"name": "the next one", "value": second, "target": None, "copied_bytes": copied["copied"], **shared},
        {"name": "check of a backup without restoring", "value": checked, "target": None, **shared},
        {"name": "verify alone", "value": verified, "target": None, **shared},
    ]  # fmt: skip


def _state(home: Path) -> None:
    if given := os.environ.get("BATON_BENCH_STATE"):
        shutil.copytree(given, home, ignore=shutil.ignore_patterns("data", "logs", "*.lock"))
        _baton("-c", "from baton.record import warehouse; warehouse.migrate()", home=home)
        return
    _timed("data", SYSTEM, home=home)
    _timed("demo", SYSTEM, home=home)


def _timed(*words: str, home: Path) -> tuple[float, str]:
    began = time.monotonic()
    said = _baton("-m", "baton.cli.app", *words, home=home)
    return time.monotonic() - began, said


def _baton(*words: str, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, *words], env={**os.environ, "BATON_HOME": str(home)}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout
