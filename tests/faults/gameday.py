"""`make gameday`: kill -9 the task process, the worker and the scheduler in the middle of every stage, seeded.

Starts the services on a home of its own, trains and promotes the models, then plays 18 kills, each on a partition of
its own. Ends with a table and `<BATON_HOME>/bench/gameday.json`; exit code 1 when a row was lost or duplicated, a run
did not end green, or the 95th percentile of the recovery is above 90 s.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

from baton.demo.story import Demo
from baton.packs.demos import prepare_data
from baton.services.airflow_api import Orchestrator
from baton.services.supervisor import Services
from baton.settings import settings
from baton_demo.financial_crime.accounts import MODEL
from baton_demo.financial_crime.playbook import FinancialCrimePlaybook

sys.path.insert(0, str(Path(__file__).parent))
from kills import ENVIRONMENT, STAGES, VICTIMS, kill

SEED, TARGET = 20, 90.0


@contextmanager
def silent(title: str, total: int) -> Iterator[Any]:
    """No progress bars: the kills report one line each."""
    yield lambda done: None


def main() -> None:
    """Play all kills in a seeded order."""
    console, out = Console(), settings().home / "bench"
    with tempfile.TemporaryDirectory(prefix="baton-gameday-") as name:
        folder = Path(name)
        os.environ["BATON_HOME"] = str(folder / "home")  # this process looks into the same warehouse
        settings.cache_clear()
        extra = {**ENVIRONMENT, "BATON_HOLD": str(folder), "BATON_SCHEDULES": "false"}
        with Services(folder / "home", extra_env=extra) as services:
            prepare_data("financial_crime")
            airflow = Orchestrator(services.airflow_url, services.token)
            book = FinancialCrimePlaybook(Demo(services, airflow, console.print, silent))
            book.train([MODEL, "transaction_anomaly"])
            book.promote_in_airflow(MODEL)
            book.promote_in_airflow("transaction_anomaly")
            book.expect_all(book.run_hours(book.hours(47)))
            drills = [(stage, victim) for stage in STAGES for victim in VICTIMS]
            random.Random(SEED).shuffle(drills)
            outcomes = []
            for (stage, victim), partition in zip(drills, book.hours(48, 48 + len(drills)), strict=True):
                outcomes.append(kill(services, airflow, folder, partition, stage, victim))
                console.print(outcomes[-1])
    report(console, outcomes, out)


def report(console: Console, outcomes: list[Any], out: Path) -> None:
    """The table, the file, the exit code."""
    table = Table("stage", "killed", "run", "recovery s", "lost", "duplicated", box=None, header_style="bold")
    for o in sorted(outcomes, key=lambda o: (STAGES.index(o.stage), o.victim)):
        table.add_row(o.stage, o.victim, o.state, f"{o.seconds:.1f}", str(o.lost), str(o.duplicated))
    console.print(table)
    p95 = quantiles([o.seconds for o in outcomes], n=20, method="inclusive")[-1]
    green = sum(o.state == "success" for o in outcomes)
    lost, twice = sum(o.lost for o in outcomes), sum(o.duplicated for o in outcomes)
    console.print(
        f"{green} of {len(outcomes)} runs green, {lost} rows lost, {twice} duplicated, recovery p95 {p95:.1f} s"
    )
    out.mkdir(parents=True, exist_ok=True)
    figures = {"name": "recovery after kill -9, p95", "value": p95, "unit": "s", "target": TARGET, "larger_is_better": False,
               "peer": None, "peer_value": None, "ratio": None, "seed": SEED, "green": green, "kills": len(outcomes),
               "lost": lost, "duplicated": twice, "outcomes": [vars(o) for o in outcomes]}  # fmt: skip
    (out / "gameday.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    if green < len(outcomes) or lost or twice or p95 > TARGET:
        sys.exit(1)


if __name__ == "__main__":
    main()
