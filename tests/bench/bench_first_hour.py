"""From a clone to one's own model, trained, approved, scoring and watched: what `how-to/file.md` tells, played with a clock.

A fresh clone, a fresh environment, a fresh BATON_HOME; every step is a command of the page, or the REST call behind the click
that it names. Set-up is part of the time.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from baton.services.airflow_api import Orchestrator
from baton.services.health import airflow_token
from baton.settings import read_services

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "include" / "docs" / "how-to" / "file.md"
DAY = "2026-04-01T00:00:00"
MODELS, FLOW = ("returned", "returned_unusual"), "sales_returned"


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Play it; minutes of each part."""
    began, parts = time.perf_counter(), []

    def passed(what: str) -> None:
        parts.append((what, time.perf_counter() - began))

    with tempfile.TemporaryDirectory(prefix="baton-first-hour-") as name:
        clone = Path(name) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("BATON_", "AIRFLOW", "PYTHONPATH"))}

        def shell(line: str) -> None:
            subprocess.run(line, cwd=clone, env=environment, shell=True, check=True, capture_output=True)

        shell("make setup")
        passed("set up")
        (clone / "make_sales.py").write_text(_script(PAGE.read_text(encoding="utf-8")))
        shell(".venv/bin/python make_sales.py")
        shell(".venv/bin/baton new pack sales --from sales.csv --yes")
        shell(".venv/bin/pip install --quiet --no-deps -e sales")
        shell(".venv/bin/baton lint sales")
        shell(".venv/bin/baton try returned")
        passed("tried")
        landing = clone / ".baton" / "landing" / "sales"
        landing.mkdir(parents=True, exist_ok=True)
        head, *rows = (clone / "sales.csv").read_text().splitlines()
        day = [",".join(row.split(",")[:-1]) for row in rows if f",{DAY[:10]}T" in row]
        text = "\n".join([head.rpartition(",")[0], *day])
        (landing / f"{DAY.replace(':', '-')}.csv").write_text(text.replace(f"{DAY[:10]}T", f"{DAY[:10]}T") + "\n")
        with _up(clone, environment) as airflow:
            passed("started")
            for model in MODELS:
                _trained(airflow, model)
            passed("trained and approved")
            scored = airflow.trigger(FLOW, DAY)
            _answered(airflow, FLOW, scored, "review")
            states = airflow.wait(FLOW, [scored], timeout=300)
            assert set(states.values()) == {"success"}, states
            passed("scored")
            monitor = airflow.wait_for_run("returned_monitor", set(), timeout=180)
            airflow.wait("returned_monitor", [monitor], timeout=180)
            passed("watched")
    shared = {
        "peer": None,
        "peer_value": None,
        "ratio": None,
        "larger_is_better": False,
        "seed": seed,
        "load": os.getloadavg(),
    }
    whole = parts[-1][1] / 60
    return [
        {"name": "minutes from a clone to a model of one's own in use", "value": whole, "unit": "min", "target": 8.0, **shared},
        *({"name": f"minutes until {what}", "value": seconds / 60, "unit": "min", "target": None, **shared} for what, seconds in parts),
    ]  # fmt: skip


def _script(page: str) -> str:
    found = re.search(r'```python title="make_sales\.py"\n(.*?)```', page, re.DOTALL)
    assert found is not None
    return found[1]


@contextmanager
def _up(clone: Path, environment: dict[str, str]) -> Iterator[Orchestrator]:
    """`baton up --pack sales`, until it is well."""
    home = clone / ".baton"
    with (clone / "up.log").open("w") as log:
        server = subprocess.Popen(
            [".venv/bin/baton", "up", "--pack", "sales"], cwd=clone, env=environment, stdout=log, stderr=log
        )
    try:
        while "Ctrl-C" not in (clone / "up.log").read_text():
            assert server.poll() is None, (clone / "up.log").read_text()[-2000:]
            time.sleep(0.3)
        import json

        url = read_services(home)["airflow"]["url"]
        password = json.loads((home / "secrets" / "airflow_users.json").read_text())["admin"]
        yield Orchestrator(url, lambda: airflow_token(url, "admin", password, patience=60))
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


def _trained(airflow: Orchestrator, model: str) -> None:
    """Its training, which starts by itself once where its hour is past; then a person's yes."""
    until = time.monotonic() + 120
    while f"{model}_train" not in airflow.dag_ids():
        assert time.monotonic() < until, f"{model}_train is not there"
        time.sleep(0.5)
    runs = [row["dag_run_id"] for row in airflow.runs(f"{model}_train")] or [airflow.trigger(f"{model}_train")]
    states = airflow.wait(f"{model}_train", runs, timeout=400)
    assert "success" in states.values(), states
    promotion = airflow.wait_for_run(f"{model}_promote", set(), timeout=90)
    _answered(airflow, f"{model}_promote", promotion, "approve")
    airflow.wait(f"{model}_promote", [promotion], timeout=120)


def _answered(airflow: Orchestrator, dag: str, run: str, task: str) -> None:
    """A person's yes, where one is asked for."""
    from baton.errors import ServiceError

    try:
        airflow.answer(dag, run, task, approve=True, timeout=180)
    except ServiceError as error:
        if "nothing to answer" not in str(error):
            raise


if __name__ == "__main__":
    import json
    import sys

    folder = Path(tempfile.mkdtemp())
    sys.stdout.write(json.dumps(run(20, folder), indent=1, default=str) + "\n")
    shutil.rmtree(folder)
