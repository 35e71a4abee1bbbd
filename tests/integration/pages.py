"""Pages of the documentation as a test sees them: their blocks, and a hand that does what a page tells its reader to do.

`test_pages.py` and `test_how_to.py` load it by path, because tests are no package: `PAGES = runpy.run_path(...)`.

A block with a title is a file. The lines of a block `sh` are run for real, and the lines of a block `text` behind it must be in
what they print. What a reader does in a browser stands in a comment beside the sentence that says so:

    <!-- run: late_order_score 2026-11-20T09:00:00 -->    trigger a DAG with a partition; `-> failed` behind it: it fails
    <!-- approve: late_order 1 -->                          approve a version that the gate lets through
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "include" / "docs"
_BLOCK = re.compile(r"^(?P<indent> *)```(?P<head>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_DONE = re.compile(r"<!-- (?P<verb>run|approve): (?P<words>.*?) -->")

RUN = """
import sys
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
from baton.record import warehouse
warehouse.migrate()  # as `baton up` does
dag_id, partition, wanted = sys.argv[1:4]
dag = next(bag.dags[dag_id] for one in Path("dags").glob("*.py") for bag in [DagBag(str(one))] if dag_id in bag.dags)
dag.deadline = None  # Airflow 3.3.2 cannot store a deadline alert in `dag.test()`
run = dag.test(run_conf={"partition_from": partition} if partition else None)
states = {task.task_id: str(task.state) for task in run.get_task_instances()}
assert str(run.state) == wanted, (run.state, states)
"""
APPROVE = """
import sys
from baton.packs.pack import find_model
from baton.actions import promotions
from baton.actions.votes import Voter
from baton.effects import firewall
from baton.stages.job import StageJob
from baton.stages.run import run
model, version = sys.argv[1], int(sys.argv[2])
for step in ("judge", "move_champion"):
    options = {"model": model}
    job = StageJob(find_model(model)[0].name, f"{model}_promote", step, f"version-{version}", f"baton.lifecycle.promote:{step}", options=options)
    facts = run(job).facts
    if step == "judge":
        assert facts["decision"] == "PROMOTE", facts
        asked = promotions.ask(model, version, {})
        for number in range(asked.needs):
            firewall.vote(asked.id, Voter(f"reader {number}"), "approved", asked.seen)
"""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its title (the file that it is), its text, and the line where it starts."""

    language: str
    title: str
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    for match in _BLOCK.finditer(text):
        language, _, rest = match["head"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        indent = len(match["indent"])
        body = "".join(line[indent:] if line.strip() else line for line in match["body"].splitlines(keepends=True))
        found.append(Block(language, title[1] if title else "", body, text.count("\n", 0, match.start()) + 1))
    return found


def commands(block: Block) -> list[str]:
    """The command lines of a block, comments and continued lines taken together."""
    joined = block.text.replace("\\\n", " ")
    return [
        line.partition(" #")[0].strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")
    ]


@dataclass
class Reader:
    """Somebody in an empty folder who does what a page says.

    Attributes:
        folder: where the files of the page go and its commands run.
        home: BATON_HOME.
        models: the page is about models: their DAGs are there, as in a clone.
    """

    folder: Path
    home: Path
    models: bool = False
    said: str = ""
    packs: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "dags").mkdir()
        if self.home != self.folder / ".baton":
            (self.folder / ".baton").symlink_to(self.home)  # that of services which run elsewhere
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.home / "governance").write_text("single\n")  # as `baton up` writes it into a new home
        if self.models:
            shutil.copy(ROOT / "dags" / "lifecycles.py", self.folder / "dags")

    def follow(self, page: Path) -> None:
        """Do what the page says, from top to bottom; an assertion names the line that does not hold."""
        text = page.read_text(encoding="utf-8")
        steps: list[tuple[int, Block | re.Match[str]]] = [(block.line, block) for block in blocks(text)]
        steps += [(text.count("\n", 0, found.start()) + 1, found) for found in _DONE.finditer(text)]
        for line, step in sorted(steps, key=lambda one: one[0]):
            where = f"{page.relative_to(ROOT) if page.is_relative_to(ROOT) else page.name}:{line}"
            if isinstance(step, re.Match):
                self._in_a_browser(step["verb"], step["words"].split(), where)
            elif step.title:
                self._write(step)
            elif step.language == "sh":
                self.said = "".join(self._command(line, where) for line in commands(step))
            elif step.language == "text":
                _compare(step.text, self.said, where)

    def _write(self, block: Block) -> None:
        path = self.folder / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")

    def _command(self, line: str, where: str) -> str:
        words = shlex.split(line)
        if words[0] == "make" or words[0] == ".":
            return ""  # what a reader's own machine does: services, the virtual environment
        if words[:2] == ["pip", "install"] and "-e" in words:
            self._install(self.folder / words[-1])
            return ""
        program = [str(Path(sys.executable).with_name("baton"))] if words[0] == "baton" else [sys.executable]
        assert words[0] in ("baton", "python"), f"{where}: a page runs baton and python, not {words[0]}"
        return self._run([*program, *words[1:]], where, line)

    def _install(self, root: Path) -> None:
        """What pip does for an editable install, without a network: the entry point, and the folder on the path."""
        project = (root / "pyproject.toml").read_text(encoding="utf-8")
        (name,) = re.findall(r'(?m)^(\w+) = "baton_\w+"$', project)
        metadata = root / f"baton_{name}-0.1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: baton-{name}\nVersion: 0.1.0\n")
        (metadata / "entry_points.txt").write_text(f"[baton.packs]\n{name} = baton_{name}\n")
        self.packs.append(root)

    def _in_a_browser(self, verb: str, words: list[str], where: str) -> None:
        if verb == "approve":
            self._run([sys.executable, "-c", APPROVE, *words], where, " ".join(words))
            return
        wanted = words[-1] if "->" in words else "success"
        partition = words[1] if len(words) > 1 and words[1] != "->" else ""
        self._run([sys.executable, "-c", RUN, words[0], partition, wanted], where, " ".join(words))

    def _run(self, command: list[str], where: str, line: str) -> str:
        path = os.pathsep.join(map(str, [ROOT / "include", *self.packs]))
        environment = {
            "PYTHONPATH": path,
            "BATON_HOME": str(self.home),
            "BATON_PROJECT": str(self.folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.folder / "dags"),
            "COLUMNS": "160",
        }
        done = subprocess.run(
            command, cwd=self.folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=400
        )
        assert done.returncode == 0, f"{where}: {line}\n{done.stdout[-4000:]}\n{done.stderr[-6000:]}"
        return done.stdout + done.stderr


def _compare(wanted: str, said: str, where: str) -> None:
    """Every line of the page stands in the output; runs of spaces count as one, `...` stands for anything."""
    flat = re.sub(r"\s+", " ", said)
    for line in filter(str.strip, wanted.splitlines()):
        pattern = ".*?".join(re.escape(part) for part in re.sub(r"\s+", " ", line.strip()).split("..."))
        assert re.search(pattern, flat), f"{where}: {line!r} is not in the output:\n{said}"


def pages() -> Iterator[Path]:
    """README and the pages of the documentation."""
    yield ROOT / "README.md"
    yield from sorted(DOCS.rglob("*.md"))
