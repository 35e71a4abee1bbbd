"""Fifty stages that ask at the same moment under one budget, on SQLite and, where its binaries are, Postgres; a year of usage asked.

Each stage is a real one, under the slot protocol, of 10 cases; the model answers from a script, so that only Baton is measured.
While they run, another thread reads again and again what is used and held.
"""

from __future__ import annotations

import os
import runpy
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel, Field

from baton.agents.case import AgentQuestion
from baton.agents.spec import AgentSpec
from baton.data.datasets import read
from baton.record import tables, warehouse
from baton.settings import settings
from baton.stages.run import run as run_stage
from baton.usage import budgets, report

TESTS = Path(__file__).parents[1]
STAGE: dict[str, Any] = runpy.run_path(str(TESTS / "unit" / "step_stage.py"))
Scripted = runpy.run_path(str(TESTS / "unit" / "scripted_model.py"))["Scripted"]
STAGES, CASES, BOUND = 50, 10, 8_000  # the bound of a case, in tokens
LIMIT = 120 * BOUND  # room for a quarter of all cases at once
FLOWS, HOURS = 10, 8_760


class Line(BaseModel):
    text: str = Field(max_length=60)


SPEC = AgentSpec(
    "clerk", Path(__file__), Line, lambda orders: [AgentQuestion(key, {}) for key in orders["order_id"]],
    lambda case, line: line, lambda case: Line(text="as it is"),
)  # fmt: skip


@contextmanager
def home(url: str) -> Iterator[None]:
    """A fresh BATON_HOME with the pack `shop` and a budget of tokens."""
    with tempfile.TemporaryDirectory(prefix="baton-budgets-") as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATON_HOME", name)
        if url:
            patch.setenv("BATON_WAREHOUSE_URL", url)
        settings.cache_clear()
        with STAGE["warehouse_and_pack"](Path(name), patch) as folder:
            prompt = folder / "prompts" / "clerk.md"  # where people answer for it
            prompt.parent.mkdir()
            prompt.write_text(SPEC.instructions)
            patch.setattr(f"{__name__}.SPEC", replace(SPEC, prompt=prompt))
            (folder / "budgets.yaml").write_text(f"a_day: {{period: day, unit: tokens, limit: {LIMIT}}}\n")
            yield
    settings.cache_clear()


def stage(number: int) -> tuple[int, int]:
    """Cases that the model was asked about, and those that say why not."""
    orders = pd.DataFrame({"order_id": [f"o{number}-{one}" for one in range(CASES)]})
    model = Scripted(good={"text": "Dear all."})
    flow = f"shop_{number}"
    made = run_stage(
        STAGE["StageJob"](
            "shop", flow, "advise", "2026-11-20T09:00:00", "baton.steps.advise:advise",
            inputs={"orders": STAGE["commit"]("contract", 0, orders, flow)},
            options={"agent": f"{__name__}:SPEC", "conn_id": "large"}, connections=STAGE["Connected"](model),
        )
    )  # fmt: skip
    frame = read(made.ref)
    return len(model.asked), int(frame["reason"].str.startswith("degraded: budget").sum())


def race() -> dict[str, float]:
    """All stages at once."""
    gate, found, over = threading.Barrier(STAGES), [(0, 0)] * STAGES, threading.Event()
    highest = [0.0]

    def one(number: int) -> None:
        gate.wait(60)
        found[number] = stage(number)

    def watch() -> None:
        while not over.is_set():
            (now,) = budgets.states()
            highest[0] = max(highest[0], now.used + now.held)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(STAGES)]
    watcher = threading.Thread(target=watch)
    began = time.perf_counter()
    for thread in [watcher, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    over.set()
    watcher.join()
    (end,) = budgets.states()
    asked, turned_away = (sum(column) for column in zip(*found, strict=True))
    silent = STAGES * CASES - asked - turned_away
    return {
        "above": max(0.0, highest[0] - LIMIT),
        "held": end.held,
        "silent": silent,
        "asked": asked,
        "seconds": seconds,
    }


def year() -> float:
    """Seconds to sum a year of hourly partitions of ten flows with two models, by model."""
    first = date(2026, 1, 1)
    amounts = {"rows": 1000, "calls": 0, "tokens_in": 0, "tokens_out": 0, "seconds": 1.0, "cost": None}
    rows = [
        {"commit_id": (flow * HOURS + hour) * 2 + model, "asset": f"model:m{flow}{model}", "model": "", "version": "1",
         "pack": "shop", "flow": f"flow_{flow}", "stage": "score", "partition": f"{hour}",
         "day": str(first + timedelta(days=hour // 24)), "at": "2026", **amounts}
        for flow in range(FLOWS) for hour in range(HOURS) for model in range(2)
    ]  # fmt: skip
    with warehouse.write() as conn:
        conn.execute(tables.usage.insert(), rows)
    began = time.perf_counter()
    assert len(report.totals("model")) >= 2 * FLOWS
    return time.perf_counter() - began


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """On each database."""
    real = runpy.run_path(str(TESTS / "integration" / "conftest.py"))
    results = []
    with home(""):
        results += _figures("SQLite", race(), seed)
        results.append(_one("a year of usage by model: 175,200 rows", year(), "s", 0.5, seed))
    if real["binaries"]() is not None:
        folder = Path(tempfile.mkdtemp(prefix="baton-pg-", dir="/tmp"))
        server = real["Postgres"](folder)
        try:
            with home(server.url):
                results += _figures("Postgres", race(), seed)
        finally:
            server.stop()
            shutil.rmtree(folder)
    return results


def _figures(database: str, found: dict[str, float], seed: int) -> list[dict[str, Any]]:
    return [
        _one(f"{STAGES} stages at once, {database}: tokens above the budget", found["above"], "tokens", 0, seed, **found),
        _one(f"the same: cases that were neither asked nor said so, and reservations left, {database}", found["silent"] + found["held"], "", 0, seed),
        _one(f"the same: seconds, {database}", found["seconds"], "s", None, seed, load=os.getloadavg()[0]),
    ]  # fmt: skip


def _one(name: str, value: float, unit: str, target: float | None, seed: int, **more: Any) -> dict[str, Any]:
    none = {"peer": None, "peer_value": None, "ratio": None, "seed": seed, "larger_is_better": False}
    return {"name": name, "value": value, "unit": unit, "target": target, **none, **more}
