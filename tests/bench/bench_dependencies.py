"""A dependency down, slow, lying, redirecting or endless: what a look-up costs then, and whether every run ends as declared.

    python tests/bench/bench_dependencies.py [seed]

For each tool of a pack's `tools.yaml` (of every installed pack that has one; without any, of a small pack of this file) a
real server on 127.0.0.1 answers what the tool declares, and then misbehaves. The stage `look_up` looks 1,000 values up in
each mood, twice: with nothing in the cache, and with all values in it. A run ends *green* (all fresh), *degraded* (said, with the
cached answers in their places) or *red*; red counts as wrong unless the tool is `required` and had nothing cached. A tool's time
limits stay as declared, but for the answer's own, which is cut to a second so that the bench ends; a slow answer takes 30 s.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd

from baton.endpoint import Endpoint
from baton.errors import BatonError
from baton.lookups import cache, looking
from baton.packs.pack import load_pack, packs
from baton.record import tables, warehouse
from baton.settings import settings
from baton.specs.tool import ToolSpec

SERVER: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "integration" / "tool_server.py"))
MOODS = ("down", "slow", "wrong", "redirect", "huge", "drip", "half", "500", "429")
VALUES = 1_000
SAMPLE = {"text": "plain", "integer": 7, "number": 0.5, "flag": True, "list": ["a", "b"]}
OWN = ToolSpec.model_validate({
    "name": "reputation", "description": "of this bench", "conn_id": "none", "path": "reputation/{value}",
    "answer": {"score": "integer", "categories": "list"},
})  # fmt: skip


def tools() -> list[tuple[str, ToolSpec]]:
    """Every tool of the installed packs, as `<pack>/<tool>`."""
    found = [(f"{name}/{tool.name}", tool) for name in packs() for tool in load_pack(name).tools.values()]
    return found or [("bench/reputation", OWN)]


@contextmanager
def warehouse_of_its_own() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="baton-bench-") as home:
        with patch.dict(os.environ, {"BATON_HOME": home, "NO_PROXY": "127.0.0.1"}):
            settings.cache_clear()
            warehouse.migrate()
            yield
            warehouse.engine().dispose()
        settings.cache_clear()


def fresh_start(key: str, tool: ToolSpec, values: list[str], cached: bool) -> None:
    """No breaker, and a cache without anything, or with answers of two days ago."""
    with warehouse.write() as conn:
        for table in (tables.breakers, tables.lookups):
            conn.execute(table.delete())
    if cached:
        answer = {name: SAMPLE[kind.removesuffix("?")] for name, kind in tool.answer.items()}
        when = pd.Timestamp.now(tz="UTC").to_pydatetime() - pd.Timedelta(seconds=tool.ttl_seconds + 60).to_pytimedelta()
        cache.keep(key, tool, dict.fromkeys(values, answer), when)


def end(tool: ToolSpec, key: str, values: list[str], endpoint: Endpoint) -> tuple[str, float, int]:
    """How a look-up ends, its seconds, and how many questions it asked."""
    start = time.perf_counter()
    try:
        found = looking.look_up(tool, key, values, lambda: endpoint)
        missing = found.facts(tool)["missing"]
        if tool.required and missing:
            raise BatonError("required")
    except BatonError:
        return "red", time.perf_counter() - start, 0
    ended = "degraded" if "degraded" in found.facts(tool) else "green"
    return ended, time.perf_counter() - start, found.asked


def declared(tool: ToolSpec, mood: str, cached: bool) -> str:
    """How a run must end."""
    if mood == "ok":
        return "green"
    return "red" if tool.required and not cached else "degraded"


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    values = [f"10.{seed % 256}.{n // 256}.{n % 256}" for n in range(VALUES)]
    wrong, slowest, most, table = 0, 0.0, 0, []
    with warehouse_of_its_own():
        for key, tool in tools():
            quick = tool.model_copy(update={"timeout_seconds": min(1.0, tool.timeout_seconds), "per_second": 10_000.0})
            answer = {name: SAMPLE[kind.removesuffix("?")] for name, kind in tool.answer.items()}
            with SERVER["running"](answer) as server:
                endpoint = Endpoint(server.url, {"Authorization": f"Bearer {SERVER['TOKEN']}"})
                for mood in ("ok", *MOODS):
                    for cached in (False, True):
                        fresh_start(key, quick, values, cached)
                        server.mood = mood
                        ended, seconds, asked = end(quick, key, values, endpoint)
                        wrong += ended != declared(tool, mood, cached)
                        if mood != "ok":
                            slowest, most = max(slowest, seconds), max(most, asked)
                        table.append({"tool": key, "mood": mood, "cached": cached, "ended": ended,
                                      "seconds": round(seconds, 3), "asked": asked})  # fmt: skip
    (out / "dependencies_runs.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    shared = {"seed": seed, "runs": len(table), "values": VALUES, "tools": sorted({row["tool"] for row in table})}
    return [
        {"name": "runs that do not end as declared", "value": wrong, "unit": "runs", "target": 0,
         "larger_is_better": False, "required": True, **shared},
        {"name": "longest look-up of 1,000 values at a dead tool", "value": round(slowest, 2), "unit": "s", "target": 5.0,
         "larger_is_better": False, **shared},
        {"name": "most questions to a dead tool", "value": most, "unit": "questions", "target": 20,
         "larger_is_better": False, **shared},
    ]  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for result in run(int(sys.argv[1]) if len(sys.argv) > 1 else 20, Path(folder)):
            print(result["name"], result["value"], result["unit"])  # noqa: T201
