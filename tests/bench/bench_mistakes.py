"""Plausible mistakes of a newcomer in a pack that `baton new pack --from` wrote: does each get a message that helps?

A message helps when it names the place and the reason and what to do (`mistakes.py` says which words); a mistake that nothing is
said about is a wrong result without a word.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
MISTAKES: dict[str, Any] = runpy.run_path(str(HERE / "mistakes.py"))
# `pip install -e shop` in a line: the pack's entry point
SITE = """
import importlib.metadata as m
known = m.entry_points
def entry_points(**given):
    shop = [m.EntryPoint("shop", "baton_shop", "baton.packs")] if given.get("group") == "baton.packs" else []
    return m.EntryPoints([*known(**given), *shop]) if shop else known(**given)
m.entry_points = entry_points
"""


def orders(file: Path, count: int = 600) -> None:
    """Rows to begin with."""
    rng = np.random.default_rng(5)
    price, days = rng.gamma(2.0, 40.0, count).round(2), rng.integers(1, 15, count)
    pd.DataFrame({
        "order_no": np.arange(1, count + 1), "customer_name": [f"Ann Example {n}" for n in range(count)],
        "ordered_at": pd.date_range("2026-01-01", periods=count, freq="h").strftime("%Y-%m-%dT%H:%M:%SZ"),
        "channel": rng.choice(["web", "shop"], count), "price": price, "days": days,
        "returned": (price + 8 * days + rng.normal(0, 10, count) > 150).astype(int),
    }).to_csv(file, index=False)  # fmt: skip


def judge(project: Path, then: str) -> str:
    """What is said, in this process, whose settings are the project's."""
    from baton.contracts.check import check
    from baton.data.typed import parse
    from baton.errors import BatonError
    from baton.packs.pack import load_pack
    from baton.sources.reading import read_partition

    if then == "lint":
        from baton.authoring.lint import lint

        return "\n".join(map(str, lint([Path("shop"), *Path("dags").glob("*.py")])))
    if then in ("read", "check"):
        try:
            batch = read_partition(load_pack("shop"), "rows", MISTAKES["DAY"])
            if then == "read":
                return ""
            spec = load_pack("shop").contract("returned_rows")
            verdict = check(parse(batch.frame, spec), spec, (f"{MISTAKES['DAY']}Z", f"{MISTAKES['NEXT']}Z"))
        except BatonError as error:
            return f"{type(error).__name__}: {error}"
        return (
            "\n".join([verdict.status, *verdict.aggregate_failures, *map(str, verdict.violations)])
            if verdict.status != "passed"
            else ""
        )
    from typer.testing import CliRunner

    from baton.cli.app import app
    from baton.record import warehouse

    warehouse.migrate()
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        done = CliRunner().invoke(app, shlex.split(then)[1:])
    raised = done.exception if not isinstance(done.exception, SystemExit) else None
    return f"{done.output}\n{said.getvalue()}{raised or ''}" if done.exit_code else ""


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Make one mistake after the other."""
    with tempfile.TemporaryDirectory(prefix="baton-mistakes-") as name:
        root = Path(name)
        base = root / "base"
        (base / "dags").mkdir(parents=True)
        orders(base / "orders.csv")
        _baton(base, "new", "pack", "shop", "--from", "orders.csv", "--yes")
        found = []
        for mistake in MISTAKES["MISTAKES"]:
            project = root / "project"
            shutil.copytree(base, project)
            MISTAKES["edit"](project, mistake)
            said = _child(project, mistake.then)
            missing = [word for word in mistake.says if word.lower() not in said.lower()]
            found.append({"what": mistake.what, "said": said.strip(), "missing": missing})
            shutil.rmtree(project)
    out.mkdir(parents=True, exist_ok=True)
    (out / "mistakes_messages.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    for one in found:
        if one["missing"]:
            sys.stderr.write(f"{one['what']}: lacks {one['missing']}: {one['said'][:600]}\n")
    shared = {"seed": seed, "peer": None, "peer_value": None, "ratio": None}
    helped, silent = sum(not one["missing"] for one in found), sum(not one["said"] for one in found)
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "baton.cli.app", "lint"], cwd=HERE.parents[1], check=True, capture_output=True
    )
    seconds = time.perf_counter() - began
    return [
        {"name": "lint of all shipped packs and flows", "value": seconds, "unit": "s", "target": 3.0, "larger_is_better": False, **shared},
        {"name": f"messages with place, reason and remedy, of {len(found)} mistakes", "value": helped, "unit": "", "target": len(found),
         "larger_is_better": True, **shared},
        {"name": "mistakes that nothing is said about", "value": silent, "unit": "", "target": 0, "larger_is_better": False, **shared},
    ]  # fmt: skip


def _environment(project: Path) -> dict[str, str]:
    if (project / "shop").exists():  # in place of `pip install -e shop`
        (project / "site").mkdir(exist_ok=True)
        (project / "site" / "sitecustomize.py").write_text(SITE)
    paths = [
        str(project / "site"),
        str(project / "shop"),
        str(HERE.parents[1] / "include"),
        os.environ.get("PYTHONPATH", ""),
    ]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "BATON_HOME": str(project / "home"),
            "BATON_PROJECT": str(project), "OMP_NUM_THREADS": "1"}  # fmt: skip


def _baton(project: Path, *words: str) -> None:
    command = [sys.executable, "-m", "baton.cli.app", *words]
    subprocess.run(command, cwd=project, env=_environment(project), check=True, capture_output=True)


def _child(project: Path, then: str) -> str:
    command = [sys.executable, __file__, "judge", str(project), then]
    done = subprocess.run(command, cwd=project, env=_environment(project), capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else f"Traceback: {done.stderr[-800:]}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["judge"]:
        sys.stdout.write(judge(Path(sys.argv[2]), sys.argv[3]))
    else:
        sys.stdout.write(json.dumps(run(20, Path("/tmp")), indent=1) + "\n")
