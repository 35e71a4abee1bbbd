"""A shop's orders in quarantine, for the tests that need a real warehouse: the rows, their contract, a run on them."""

from __future__ import annotations

import random
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml

from baton import quarantine
from baton.contracts import check as contracts
from baton.data import datasets, identity
from baton.data import typed as parsing
from baton.quarantine.rows import Where
from baton.record import warehouse
from baton.settings import settings
from baton.specs.contract import ContractSpec
from baton.stages import run as stages
from baton.stages.job import StageJob
from baton.stages.slots import Slot, StageOutput, StageResult, run_stage

PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "published_rows.py"))

FLOW, HOUR = "orders", "2026-01-01T00:00:00"
SPEC = ContractSpec.model_validate(yaml.safe_load((Path(__file__).parent / "orders.yaml").read_text()))
ROWS = [
    {"id": "1", "amount": "10.5", "kind": "a"},
    {"id": "2", "amount": "-4", "kind": "a"},
    {"id": "3", "amount": "abc", "kind": "b"},
    {"id": "3", "amount": "-7", "kind": "b"},
    {"id": "", "amount": "", "kind": None},
    {"id": "6", "amount": "60", "kind": "c"},
    {"id": "7", "amount": "70", "kind": "c"},
    {"id": "8", "amount": "80", "kind": "c"},
]


@pytest.fixture(autouse=True, params=["sqlite", "postgres"])
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    if request.param == "postgres":
        folder = Path(request.getfixturevalue("postgres_home"))
        (folder / "governance").write_text(
            "single\n"
        )  # who has to agree to a discard is not what these tests are about
        settings.cache_clear()
        yield folder
        return
    monkeypatch.setenv("BATON_HOME", str(tmp_path))
    (tmp_path / "governance").write_text("single\n")
    settings.cache_clear()
    warehouse.migrate()
    yield tmp_path
    settings.cache_clear()


def raw(rows: list[dict[str, Any]] = ROWS) -> pd.DataFrame:
    return identity.with_row_identity(pd.DataFrame(rows, dtype=object), "feed")


def run(
    frame: pd.DataFrame, partition: str = HOUR, spec: ContractSpec = SPEC
) -> tuple[contracts.ContractVerdict, pd.DataFrame]:
    """The contract stage and a publication, as a flow runs them."""
    made: dict[str, Any] = {}

    def compute(_: Any) -> StageOutput:
        judged = quarantine.apply_repairs(FLOW, partition, frame)
        parsed = parsing.parse(judged, spec)
        verdict = contracts.check(parsed, spec)
        made["verdict"], made["good"] = verdict, contracts.good_rows(parsed, verdict)
        facts = {"rows_in": len(frame), "rows_good": verdict.rows_good, "published": verdict.rows_good}
        return StageOutput(
            made["good"], facts, lambda conn, _: quarantine.record(conn, FLOW, partition, verdict, judged, frame)
        )

    params = {"repairs": quarantine.repairs_digest(FLOW, partition), "sha": frame["_row_sha"].tolist()}
    result = run_stage(
        Slot(FLOW, "contract", partition), compute, inputs={}, params=params, models={}, code="1", run_id="t"
    )
    made["cached"] = result.cached
    return made.get("verdict"), made.get("good")


def waiting() -> dict[int, tuple[str, ...]]:
    return {row.row: row.rules for row in quarantine.list_rows(Where(status=("open", "repaired")))}


def balanced(partition: str = HOUR) -> dict[str, int]:
    counts = quarantine.accounting(FLOW, partition)
    assert counts["rows_in"] == counts["published"] + counts["open"] + counts["discarded"], counts
    assert counts.pop("superseded") == 0
    return counts


def as_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the contract stage find the shop's contract."""
    monkeypatch.setattr(stages, "pack_folder", lambda name: Path(__file__).parent)
    monkeypatch.setattr(
        stages.changes, "require", lambda *_: stages.changes.Agreed()
    )  # of no pack, so nobody answers for it
    monkeypatch.setattr(
        StageJob, "load_pack", lambda job: SimpleNamespace(contract=lambda name: SPEC, models={}, sources={})
    )


def deliver(frame: pd.DataFrame) -> StageResult:
    """Rows arrive and are checked; see `as_pack`."""
    ref = datasets.write(frame, f"{random.random()}.parquet")
    step = "baton.steps.contract:contract"
    return stages.run(StageJob("shop", FLOW, "contract", HOUR, step, {"data": ref}, {"contract": "orders"}))


def publish(good: StageResult) -> StageResult:
    """The rest of a flow: decisions on the good rows, behind a stage that looks at their numbers only."""

    def publishing(inputs: dict[str, datasets.DatasetRef]) -> StageOutput:
        keys = datasets.read(inputs["decisions"])["id"].astype(str)

        rows = [{"entity_key": key, "money": 1.0} for key in keys]
        made = PUBLISHED["written"](FLOW, HOUR, decisions=rows)
        return StageOutput(keys.to_frame(), {"published": len(keys)}, made.enforce)

    same: dict[str, Any] = {"params": {}, "models": {}, "code": "1", "run_id": "t"}
    numbers = run_stage(Slot(FLOW, "decide", HOUR), lambda inputs: StageOutput(datasets.read(inputs["good"])[["id"]]),
                        inputs={"good": good.ref}, **same)  # fmt: skip
    return run_stage(Slot(FLOW, "publish", HOUR), publishing, inputs={"decisions": numbers.ref}, **same)
