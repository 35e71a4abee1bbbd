"""`make gameday`: kill -9 of tasks, workers and services in the middle of every stage of two flows, seeded.

Starts the services on a home of its own, trains and promotes the models, then plays six hours and six weeks. In each
run, every stage is stopped once between computing and committing, and one of task, worker, scheduler, DAG processor,
API server and MLflow is killed there; over the six runs, each stage sees each of them die. Ends with a table and
`<BATON_HOME>/bench/gameday.json`; exit code 1 when a row, a commit or an order was lost or is there twice, a run did not
end green, or the 95th percentile of the recovery (from the kill until the stage has succeeded) is above 30 s.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

from baton.packs.demos import prepare_data
from baton.services.airflow_api import Orchestrator
from baton.services.supervisor import Services
from baton.settings import settings
from baton_demo.financial_crime.accounts import MODEL
from baton_demo.financial_crime.playbook import FinancialCrimePlaybook
from baton_demo.story import Demo
from baton_demo.supply_chain.playbook import MODEL as DEMAND
from baton_demo.supply_chain.playbook import SupplyChainPlaybook

sys.path.insert(0, str(Path(__file__).parent))
from kills import ENVIRONMENT, FLOW, STAGES, VICTIMS, WEEKLY, Outcome, drill

SEED, TARGET = 20, 30.0
FIRST_HOUR, FIRST_WEEK = 48, 114


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
        # stages that are held need a worker each
        extra["AIRFLOW__CORE__PARALLELISM"] = "8"
        with Services(folder / "home", extra_env=extra, companions_of=["supply_chain"]) as services:
            airflow = Orchestrator(services.airflow_url, services.token)
            demo = Demo(services, airflow, console.print, silent)
            outcomes = []
            for runs in (hours(demo), weeks(demo)):
                for flow, partition, victims, answer, after in runs:
                    these = drill(services, airflow, folder, flow, partition, victims, answer)
                    outcomes += these
                    for one in these:
                        console.print(one)
                    after()
                    services.wait_ready(120)
    report(console, outcomes, out)


def order(flow: str) -> list[dict[str, str]]:
    """Six runs' victims by stage: over all of them, each stage has each victim once."""
    rng = random.Random(f"{SEED} {flow}")
    first = {stage: rng.randrange(len(VICTIMS)) for stage in STAGES[flow]}
    return [
        {stage: VICTIMS[(number + run) % len(VICTIMS)] for stage, number in first.items()}
        for run in range(len(VICTIMS))
    ]


def hours(demo: Demo) -> Iterator[tuple[Any, ...]]:
    """The runs of the hourly flow."""
    prepare_data("financial_crime")
    book = FinancialCrimePlaybook(demo)
    book.train([MODEL, "transaction_anomaly"])
    book.promote_in_airflow(MODEL)
    book.promote_in_airflow("transaction_anomaly")
    book.expect_all(book.run_hours(book.hours(FIRST_HOUR - 1)))
    for number, victims in enumerate(order(FLOW), FIRST_HOUR):
        yield FLOW, book.hours(number)[0], victims, lambda run: None, lambda: None


def weeks(demo: Demo) -> Iterator[tuple[Any, ...]]:
    """The runs of the weekly flow: what a week orders is the next one's stock."""
    prepare_data("supply_chain")
    book = SupplyChainPlaybook(demo, FIRST_WEEK, FIRST_WEEK + 100)
    book.train([DEMAND], conf={"until": book.week(FIRST_WEEK - 1)})
    book.promote_in_airflow(DEMAND)
    for number, victims in enumerate(order(WEEKLY), FIRST_WEEK):
        book.deliver(number)
        yield WEEKLY, book.week(number), victims, partial(book.answer, number=number), partial(book.pass_week, number)


def report(console: Console, outcomes: list[Outcome], out: Path) -> None:
    """The table, the file, the exit code."""
    table = Table("flow", "stage", *VICTIMS, box=None, header_style="bold", title="seconds of recovery")
    seconds = {(o.flow, o.stage, o.victim): o.seconds for o in outcomes}
    for flow, stages in STAGES.items():
        for stage in stages:
            table.add_row(flow, stage, *(f"{seconds[flow, stage, victim]:.1f}" for victim in VICTIMS))
    console.print(table)
    p95 = quantiles([o.seconds for o in outcomes], n=20, method="inclusive")[-1]
    green = sum(o.state == "success" for o in outcomes)
    lost, twice = sum(o.lost for o in outcomes), sum(o.duplicated for o in outcomes)
    console.print(f"{green} of {len(outcomes)} kills ended green, {lost} lost, {twice} twice, recovery p95 {p95:.1f} s")
    out.mkdir(parents=True, exist_ok=True)
    figures = {"name": "recovery after kill -9, p95", "value": p95, "unit": "s", "target": TARGET, "larger_is_better": False,
               "peer": None, "peer_value": None, "ratio": None, "seed": SEED, "green": green, "kills": len(outcomes),
               "lost": lost, "duplicated": twice, "outcomes": [vars(o) for o in outcomes]}  # fmt: skip
    (out / "gameday.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    if green < len(outcomes) or lost or twice or p95 > TARGET:
        sys.exit(1)


if __name__ == "__main__":
    main()
