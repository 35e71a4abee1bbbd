"""Run the benchmarks: `make bench`, or one of them with `make bench NAME=drift`.

Each file `bench_<name>.py` has `run(seed, out) -> list[dict]`; each result becomes a JSON file under
`<BATON_HOME>/bench/`, and all of them a table. A figure that falls short is reported as such; nothing is hidden
and the exit code stays 0, because a benchmark measures and tests judge. Only a `required` one that falls short makes it 1.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from baton.settings import settings

HERE = Path(__file__).parent
SEED = 20


def load(path: Path) -> Any:
    """Import a benchmark by its file: `tests/` is no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def reached(result: dict[str, Any]) -> bool | None:
    """Whether the value keeps its target; None without one."""
    if result.get("target") is None or result.get("value") is None:
        return None
    if result["larger_is_better"]:
        return bool(result["value"] >= result["target"])
    return bool(result["value"] <= result["target"])


def main(names: list[str]) -> None:
    """Run the named benchmarks, all without names."""
    known = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}")
    out = settings().home / "bench"
    out.mkdir(parents=True, exist_ok=True)
    table = Table("figure", "value", "target", "reached", "peer", "ratio", box=None, header_style="bold")
    missed = []
    for name in names or list(known):
        for result in load(known[name]).run(SEED, out):
            file = re.sub(r"[^a-z0-9]+", "_", f"{name}_{result['name']}".lower()).strip("_")
            (out / f"{file}.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
            table.add_row(*row(result))
            missed += [result["name"]] if result.get("required") and reached(result) is False else []
    Console().print(table)
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


def row(result: dict[str, Any]) -> list[str]:
    """One line of the table."""
    verdict = {True: "yes", False: "NO", None: ""}[reached(result)]
    sign = ">=" if result["larger_is_better"] else "<="
    target = "" if result.get("target") is None else f"{sign} {result['target']:g}"
    peer = "" if result.get("peer_value") is None else f"{result['peer']}: {result['peer_value']:.4g}"
    ratio = "" if result.get("ratio") is None else f"{result['ratio']:.3g}"
    return [result["name"], f"{result['value']:.4g} {result['unit']}", target, verdict, peer, ratio]


if __name__ == "__main__":
    main([name for name in sys.argv[1:] if name])
