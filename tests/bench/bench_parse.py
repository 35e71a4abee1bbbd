"""Parsing each shipped DAG file, and what it imports, in a process that has Airflow imported already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

DAGS = Path(__file__).resolve().parents[2] / "dags"
HEAVY = ("pandas", "numpy", "mlflow", "great_expectations", "sklearn", "lightgbm", "pyarrow", "scipy")
SCRIPT = """
import json, statistics, sys, time
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
seconds = []
for _ in range(7):
    began = time.perf_counter(); bag = DagBag(sys.argv[1]); seconds.append(time.perf_counter() - began)
print(json.dumps({"first": seconds[0], "median": statistics.median(seconds), "dags": len(bag.dags),
                  "modules": [m for m in sys.argv[2].split(",") if m in sys.modules]}))
"""


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """One process per file; the first parse pays for the engine's own imports and is reported beside the median."""
    shared = {"larger_is_better": False, "peer": None, "peer_value": None, "ratio": None, "seed": seed,
              "versions": {"apache-airflow": version("apache-airflow")}, "load": os.getloadavg()[0]}  # fmt: skip
    results = []
    for path in sorted(DAGS.glob("*.py")):
        command = [sys.executable, "-c", SCRIPT, str(path), ",".join(HEAVY)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.strip().splitlines()[-1])
        name = f"parse {path.name} ({found['dags']} DAGs)"
        results.append({"name": name, "value": found["median"] * 1000, "unit": "ms", "target": 100.0,
                        "first_ms": found["first"] * 1000, **shared})  # fmt: skip
        heavy = {"name": f"heavy modules imported by {path.name}", "value": len(found["modules"]), "unit": "modules"}
        results.append({**heavy, "target": 0, **shared})
    return results
