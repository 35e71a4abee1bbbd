"""Names in an object store: 8 writers want the same 20 names, and one answer in three is lost on the way.

On two servers of S3 that tell "exists" in different forms. Of each name one writer must hear that it is his, the one whose bytes
are there; a writer whose bytes are there and who hears that he lost would give up what he has committed.
"""

from __future__ import annotations

import runpy
import tempfile
import time
from pathlib import Path
from typing import Any

S3: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "integration" / "object_servers.py"))


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Race on each server."""
    results = []
    for kind in S3["SERVERS"]:
        with (
            tempfile.TemporaryDirectory(prefix="baton-objects-") as folder,
            S3["serving"](kind, Path(folder)) as address,
            S3["losing"](address, one_in=3) as (through, lost),
            S3["used"](through),
        ):
            began = time.monotonic()
            counts = S3["race"]()
            shared = {"unit": f"of {S3['NAMES']}", "peer": None, "peer_value": None, "ratio": None, "seed": seed,
                      "writers": S3["WRITERS"], "answers_lost": lost[0], "seconds": time.monotonic() - began}  # fmt: skip
        results += [
            {"name": f"{kind}: names with one winner", "value": counts["one_winner"], "target": S3["NAMES"],
             "larger_is_better": True, **shared},
            {"name": f"{kind}: false losers", "value": counts["false_losers"], "target": 0, "larger_is_better": False,
             **shared},
        ]  # fmt: skip
    return results
