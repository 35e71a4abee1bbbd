"""`baton demo`: start the real services, let every pack play its story through Airflow's REST interface, show the result.

A pack takes part by a demo (`baton.packs.demos`) whose module `story` has `play(demo: Demo) -> dict`, the summary (with `data`: what is real
and what is simulated), and `show(summary) -> list`: sentences, and tables as `columns`, `rows` and perhaps `sums`.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from baton.errors import BatonError
from baton.packs import demos
from baton.packs.pack import packs
from baton.packs.spec_file import did_you_mean
from baton.record import ledger
from baton.services import companions
from baton.services.airflow_api import Orchestrator
from baton.services.supervisor import Services, supervisor_of
from baton.settings import settings

KEEP = ("data",)  # what a fresh start does not throw away


@dataclass
class Demo:
    """What a pack's story works with.

    Attributes:
        services: the started Airflow and MLflow.
        airflow: client of Airflow's REST interface as the user `admin`.
        report: takes one line for the person who watches.
        progress: `progress(title, total)` is a context manager that yields a function taking how many are done.
        seconds: duration of each part, filled by `part`.
    """

    services: Services
    airflow: Orchestrator
    report: Callable[[str], None]
    progress: Callable[[str, int], Any]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, title: str) -> Iterator[None]:
        """Announce and time one part of the story."""
        self.report(title)
        began = time.monotonic()
        yield
        self.seconds[title] = round(time.monotonic() - began, 1)


def start_fresh(home: Path) -> Path | None:
    """Move what an earlier demo left in `home` aside (never delete it); prepared data stay where they are."""
    if (pid := supervisor_of(home)) is not None:
        raise BatonError(
            f"`baton up` runs on {home} (process {pid}): stop it first, or set BATON_HOME to another folder"
        )
    if not (home / "warehouse.db").exists():
        return None
    aside = home / "before" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    aside.mkdir(parents=True)
    for path in home.iterdir():
        if path.name not in (*KEEP, "before"):
            shutil.move(str(path), aside / path.name)
    return aside


def stories() -> dict[str, Any]:
    """Pack name -> the module `story` of its demo, for the packs that have one."""
    found = {name: demos.part(name, "story") for name in packs()}
    return {name: module for name, module in found.items() if module is not None}


def _chosen(systems: Sequence[str]) -> dict[str, Any]:
    found = stories()
    if not found:
        raise BatonError("no installed pack has a demo")
    for name in systems:
        if name not in found:
            raise BatonError(f"no demo of `{name}`{did_you_mean(name, found) or '.'} There are: {', '.join(found)}.")
    return {name: found[name] for name in systems or found}


def play(
    report: Callable[[str], None], progress: Callable[[str, int], Any], systems: Sequence[str] = ()
) -> dict[str, Any]:
    """Run stories on fresh state; returns the summary that is also written to `<home>/demo/summary.json`.

    Args:
        systems: packs whose stories are told; none: all of them.

    Raises:
        BatonError: there is no such story, or one found something else than it tells.
    """
    from concurrent.futures import ThreadPoolExecutor

    began = time.monotonic()
    home, found = settings().home, _chosen(systems)
    if aside := start_fresh(home):
        report(f"state of the demo before was moved to {aside}")
    services = Services(extra_env={"BATON_SCHEDULES": "false"}, report=report, companions_of=list(found))
    summary: dict[str, Any] = {"started_at": datetime.now(UTC).isoformat(timespec="seconds"), "packs": {}}
    companions.fetch_files(settings(), list(found))  # before the servers start
    with ThreadPoolExecutor(1) as pool:
        preparing = pool.submit(lambda: [demos.prepare_data(name) for name in found])
        try:
            services.start()
            preparing.result()
            summary["seconds"] = {"services and data": round(time.monotonic() - began, 1)}
            airflow = Orchestrator(services.airflow_url, services.token)
            demo = Demo(services, airflow, report, progress)
            for name, module in found.items():
                summary["packs"][name] = module.play(demo)
            summary["seconds"] |= demo.seconds
            summary["addresses"] = {"airflow": services.airflow_url, "mlflow": services.mlflow_url}
        finally:
            services.stop()

    verdict = ledger.verify()
    summary["ledger"] = {"ok": verdict.ok, "records": verdict.records}
    summary["seconds"]["total"] = round(time.monotonic() - began, 1)
    path = home / "demo" / "summary.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=1, default=str), encoding="utf-8")
    if not verdict.ok:
        raise BatonError(f"the ledger does not verify: {verdict.reason}")
    return summary
