"""The year of the benchmarks is one whose evidence verifies."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import ModuleType

from baton.evidence import flow
from baton.record import warehouse
from baton.settings import settings

STAGE = runpy.run_path(str(Path(__file__).with_name("auditor_stage.py")))
auditor, fingerprint, said = (STAGE[name] for name in ("auditor", "fingerprint", "said"))


def test_the_year_of_the_benchmarks_has_a_pack_that_verifies(home: Path, auditor: ModuleType) -> None:
    """A small one: what its ledger says of commits is what they are."""
    year = runpy.run_path(str(Path(__file__).parents[2] / "bench" / "year_rows.py"))
    year["build"](year["Size"](partitions=3, rows=5, cases=3, ledger=200, history=40), lambda line: None)
    verdicts, found, well = auditor.verify(
        flow.evidence(year["FLOW"], settings().keys_dir, lambda *_: "none"), fingerprint()
    )
    assert well, found
    assert set(verdicts.values()) == {"ok"}
    assert "commit, rows, sha256, models of 3 of 3 are as an entry `dataset_committed` says" in said(found, "proven")
    warehouse.engine().dispose()
