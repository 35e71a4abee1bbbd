"""Log templates: grouping accuracy on the 2,000 labelled lines of an OpenSSH log.

    python tests/bench/bench_templates.py

A line is right when the lines that share its template are exactly those that share its label (Zhu et al. 2019, "Tools and
Benchmarks for Automated Log Parsing"). Masks and parameters are those of the pack; no template is given to it.

Data: BATON_BENCH_DATA/openssh_log/OpenSSH_2k.log_structured.csv (loghub).
"""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from baton.settings import settings
from baton_packs.incident_response.detection.templates import templates


def grouping_accuracy(found: Sequence[str], truth: Sequence[str]) -> float:
    """Share of the lines whose group is exactly the labelled one."""
    groups: tuple[dict[str, set[int]], dict[str, set[int]]] = defaultdict(set), defaultdict(set)
    for number, (mine, true) in enumerate(zip(found, truth, strict=True)):
        groups[0][mine].add(number)
        groups[1][true].add(number)
    right = sum(groups[0][mine] == groups[1][true] for mine, true in zip(found, truth, strict=True))
    return right / len(truth)


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Grouping accuracy, and the time for a million lines; the templates are left in `out`."""
    path = Path(os.environ.get("BATON_BENCH_DATA", "")) / "openssh_log" / "OpenSSH_2k.log_structured.csv"
    if not path.is_file():
        sys.stderr.write("bench_templates: no OpenSSH log; set BATON_BENCH_DATA\n")
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [row["Content"] for row in rows]
    found = templates(lines)
    out.mkdir(parents=True, exist_ok=True)
    (out / "templates_found.json").write_text(json.dumps(sorted(set(found)), indent=1), encoding="utf-8")
    value = grouping_accuracy(found, [row["EventId"] for row in rows])
    started = time.process_time()
    templates(lines * 500)
    seconds = time.process_time() - started
    shared = {"seed": seed, "load": os.getloadavg()[0]}
    return [
        {"name": "templates_grouping_accuracy", "value": value, "unit": "", "target": 0.95, "larger_is_better": True,
         "peer": "Drain", "peer_value": 0.79, "ratio": value / 0.79, "groups": len(set(found)), **shared},
        {"name": "templates_1M_lines", "value": seconds, "unit": "CPU seconds", "target": None, "larger_is_better": False,
         "peer": None, "peer_value": None, "ratio": None, **shared},
    ]  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(20, settings().home / "bench"), indent=1) + "\n")
