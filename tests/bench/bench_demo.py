"""`make demo` as a user runs it, on a home of its own, after set-up and download of the data: two stories, then all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Seconds from the command to its end, services included; the data are fetched and converted before."""
    told = {"financial_crime, as `make demo` tells it": (["financial_crime"], 300.0),
            "incident_response alone": (["incident_response"], 240.0), "all systems": ([], None)}  # fmt: skip
    versions = {package: version(package) for package in ("apache-airflow", "mlflow", "great-expectations")}
    results = []
    with tempfile.TemporaryDirectory(prefix="baton-bench-demo-") as name:
        environment = {**os.environ, "BATON_HOME": name}
        baton = str(Path(sys.executable).parent / "baton")
        subprocess.run([baton, "data"], env=environment, check=True)
        for what, (systems, target) in told.items():
            load = os.getloadavg()[0]
            subprocess.run([baton, "demo", *systems], env=environment, check=True)
            summary = json.loads((Path(name) / "demo" / "summary.json").read_text())
            results.append({
                "name": f"demo of {what}, after set-up and download", "value": summary["seconds"]["total"], "unit": "s",
                "target": target, "larger_is_better": False, "peer": None, "peer_value": None, "ratio": None, "seed": seed,
                "versions": versions, "load": load, "parts": summary["seconds"],
            })  # fmt: skip
    return results
