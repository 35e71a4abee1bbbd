"""`make mutants`: do the tests notice small changes? A seeded sample over the rooms where a fault would cost most.

    python tests/mutants/run.py                     # all rooms
    python tests/mutants/run.py effects --each 60   # one room, more changes

Each change is made in a copy of the project, and judged by its room's unit tests, then by its integration tests. Prints
what nobody noticed with file, line and change, and writes `<BATON_HOME>/bench/mutants.json`. `equivalent.txt` beside this
file names changes that nothing could notice, with the reason; they are left out. Exit code 1 below 90 %.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from changes import Change, changes
from rich.console import Console
from rich.table import Table

from baton.settings import settings

ROOT = Path(__file__).parents[2]
ENGINE = Path("include/baton")
SEED, EACH, TARGET = 20, 22, 0.9
PATIENCE = 240  # seconds: longer is a change that hangs, which somebody would notice


@dataclass(frozen=True)
class Room:
    """Files that are changed, and the tests that judge them, in turn."""

    files: tuple[str, ...]
    tests: tuple[tuple[str, ...], ...]


def _unit(name: str, *more: str) -> tuple[str, ...]:
    return (f"tests/unit/{name}", *more)


ROOMS = {
    "stages": Room(("stages/*.py",), (_unit("stages"), ("tests/integration/test_runs.py", "tests/faults/test_crashes.py"))),
    "effects": Room(
        ("effects/*.py",),
        (
            _unit("effects", *_unit("actions")),
            tuple(
                f"tests/integration/test_{name}.py" for name in ("firewall_postgres", "undo", "purchasing", "mail_effects")
            ),
        ),
    ),
    "actions": Room(
        ("actions/*.py",),
        (_unit("actions", "tests/attacks/test_firewall.py"), ("tests/integration/test_undo.py", *_unit("effects"))),
    ),
    "registry": Room(("registry/*.py",), (_unit("registry"), ("tests/integration/test_registry.py", "tests/integration/test_ladder.py"))),
    "record": Room(("record/*.py",), (_unit("record"), (*_unit("stages"), "tests/integration/test_warehouse_postgres.py"))),
    "quarantine": Room(
        ("quarantine/*.py",),
        (_unit("quarantine"), ("tests/integration/test_quarantine.py", "tests/integration/test_quarantine_texts.py")),
    ),
    "data": Room(("data/*.py",), (_unit("data"), (*_unit("sources"), *_unit("stages")))),
    "drift": Room(("drift/*.py",), (_unit("drift"), _unit("lifecycle"))),
    "gates": Room(
        ("families/verdict.py", "families/tabular/gate.py", "families/forecast/judging.py", "families/text/judging.py"),
        (
            tuple(
                f"tests/unit/families/{name}.py"
                for name in ("test_ladder", "test_verdict", "tabular/test_gate", "forecast/test_judging", "text/test_judging")
            ),
            _unit("families"),
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    room: str
    file: str
    change: Change
    text: str  # the line where it begins

    def __str__(self) -> str:
        return f"{self.file}:{self.change.line}: {self.change}"

    @property
    def key(self) -> str:
        """How `equivalent.txt` names it: line numbers move."""
        return f"{self.file} | {self.text} | {self.change}"


def sample(room: str, each: int, seed: int) -> list[Mutant]:
    """A seeded sample of a room's changes, those known as equivalent left out."""
    known = equivalent()
    found = []
    for path in sorted(path for pattern in ROOMS[room].files for path in (ROOT / ENGINE).glob(pattern)):
        source, file = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
        lines = source.splitlines()
        found += [Mutant(room, file, one, lines[one.line - 1].strip()) for one in changes(source)]
    picked = random.Random(f"{seed} {room}").sample(found, min(each, len(found)))
    return [one for one in picked if one.key not in known]


def equivalent() -> set[str]:
    """Keys of changes that nothing could notice; after each ` ## ` its reason."""
    lines = Path(__file__).with_name("equivalent.txt").read_text(encoding="utf-8").splitlines()
    return {line.partition(" ## ")[0].strip() for line in lines if line and not line.startswith("#")}


class Bench:
    """A copy of the project, and a process that runs its tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        leave = shutil.ignore_patterns(".*", "__pycache__", "images", "site")
        for part in ("include", "tests", "dags", "plugins", "mlflow"):
            shutil.copytree(ROOT / part, folder / part, ignore=leave)
        for file in ("pyproject.toml", "SECURITY.md"):  # a test compares what is promised
            shutil.copy(ROOT / file, folder)
        paths = (folder / "include", folder / "tests" / "faults")
        environment = {
            **os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",  # a change in the same second has the same stamp
        }  # fmt: skip
        command = [sys.executable, str(Path(__file__).with_name("warm.py")), str(PATIENCE)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, text=True)

    def green(self, tests: tuple[str, ...]) -> bool:
        """Whether these tests pass."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(["-x", "-q", "-p", "no:cacheprovider", *tests]) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip() in ("0", "5")  # 5: all of them skip here

    def judge(self, mutant: Mutant, stages: int | None) -> str:
        """Make a change; returns what noticed it, empty for nobody."""
        path = self.folder / mutant.file
        source = path.read_text(encoding="utf-8")
        try:
            path.write_text(mutant.change.applied(source), encoding="utf-8")
            for tests in ROOMS[mutant.room].tests[:stages]:
                if not self.green(self._own_first(mutant, tests)):
                    return tests[0]
            return ""
        finally:
            path.write_text(source, encoding="utf-8")

    def _own_first(self, mutant: Mutant, tests: tuple[str, ...]) -> tuple[str, ...]:
        """The file's own tests before the others of the folder: most changes are noticed there, within seconds."""
        own = f"test_{Path(mutant.file).stem}.py"
        return (*(f"{folder}/{own}" for folder in tests if (self.folder / folder / own).exists()), *tests)

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def main() -> int:
    """Judge the sample; both cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rooms", nargs="*", help=f"of {', '.join(ROOMS)}; default all")
    parser.add_argument("--each", type=int, default=EACH, help="changes of a room")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--unit", action="store_true", help="judged by the first tests of a room only: minutes")
    parser.add_argument("--list", action="store_true", help="say what would be changed, and stop")
    arguments = parser.parse_args()
    console, began = Console(width=200), time.monotonic()
    mutants = [one for room in arguments.rooms or ROOMS for one in sample(room, arguments.each, arguments.seed)]
    if arguments.list:
        for mutant in mutants:
            console.print(mutant.key, markup=False, highlight=False, soft_wrap=True)
        return 0
    stages = 1 if arguments.unit else None
    with tempfile.TemporaryDirectory(prefix="baton-mutants-") as name, ThreadPoolExecutor(2) as pool:
        benches: queue.Queue[Bench] = queue.Queue()
        for number in range(2):
            benches.put(Bench(Path(name) / f"{number}"))

        def ask(mutant: Mutant | None, tests: tuple[str, ...] = ()) -> str:
            bench = benches.get()
            try:
                return (
                    ("" if bench.green(tests) else " ".join(tests)) if mutant is None else bench.judge(mutant, stages)
                )
            finally:
                benches.put(bench)

        unchanged = [
            tests for room in dict.fromkeys(one.room for one in mutants) for tests in ROOMS[room].tests[:stages]
        ]
        if red := [by for by in pool.map(lambda tests: ask(None, tests), unchanged) if by]:
            sys.exit(f"these fail without any change, so nothing can be judged: {'; '.join(red)}")
        noticed = {}
        for mutant, by in zip(mutants, pool.map(ask, mutants), strict=True):
            noticed[mutant] = by
            if len(noticed) % 20 == 0:
                console.print(f"{len(noticed)} of {len(mutants)} judged, {time.monotonic() - began:.0f} s")
            if not by:
                console.print(f"not noticed: {mutant}", markup=False, highlight=False, soft_wrap=True)
        while not benches.empty():
            benches.get().close()
    return report(console, noticed, time.monotonic() - began)


def report(console: Console, noticed: dict[Mutant, str], seconds: float) -> int:
    """The table, the file, the exit code."""
    table = Table("room", "changes", "noticed", "%", box=None, header_style="bold")
    for room in dict.fromkeys(one.room for one in noticed):
        these = [bool(by) for one, by in noticed.items() if one.room == room]
        table.add_row(room, str(len(these)), str(sum(these)), f"{sum(these) / len(these):.0%}")
    share = sum(map(bool, noticed.values())) / len(noticed)
    console.print(table, f"{share:.0%} of {len(noticed)} changes noticed in {seconds / 60:.0f} minutes")
    out = settings().home / "bench"
    out.mkdir(parents=True, exist_ok=True)
    rows = [{"room": one.room, "file": one.file, "by": by, **asdict(one.change)} for one, by in noticed.items()]
    (out / "mutants.json").write_text(json.dumps({"noticed": share, "changes": rows}, indent=1), encoding="utf-8")
    return 0 if share >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
