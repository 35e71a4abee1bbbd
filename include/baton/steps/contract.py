"""Contract stages: what may pass from one system to the next, and what goes to quarantine."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from pydantic import Field
from sqlalchemy import Connection

from baton.contracts import check as contracts
from baton.contracts import page as result_pages
from baton.data import typed as parsing
from baton.data.datasets import read
from baton.data.partitions import is_own, window
from baton.errors import ContractBroken, NoData, StaleAttempt
from baton.packs.pack import Pack
from baton.quarantine import records
from baton.quarantine.records import repairs_digest
from baton.record import ledger
from baton.specs.base import Spec
from baton.stages.job import StageJob
from baton.stages.slots import StageOutput
from baton.stages.step import Seen, engine_step


class ContractOptions(Spec):
    """Options of `contract`."""

    contract: str = Field(description="name of the contract")


def _contract_state(job: StageJob[ContractOptions]) -> Seen:
    contract, decided = job.load_pack().contract(job.options.contract), repairs_digest(job.flow, job.partition)
    return Seen({"contract": contract.model_dump(mode="json"), "repairs": decided}, decided)


@engine_step(ContractOptions, fingerprint=_contract_state)
def contract(job: StageJob[ContractOptions]) -> StageOutput:
    """Check the partition's rows; good rows go on, bad ones go to quarantine with key, rule and value.

    Returns:
        the good rows, typed; facts with `status` passed | quarantined | broken, `rows_in`, `rows_good`, `absent_columns` (of a
        sparse contract: no row has them, they are empty),
        `page` (address of the result page below the reports folder) and the aggregate failures; `still_published`, where
        no row goes on: how many rows of an earlier delivery stay in force. A broken contract commits too (its rows are in
        quarantine); the caller then stops the run (`require_good_rows`).

    Raises:
        StaleAttempt: at the commit, if people repaired or discarded rows of the partition meanwhile.
    """
    pack = job.load_pack()
    spec, entities = pack.contract(job.options.contract), {model.data.entity for model in pack.models.values()}
    raw = read(job.inputs["data"])
    frame = records.apply_repairs(job.flow, job.partition, raw)
    if len(raw) and frame.empty:
        raise NoData(f"{job.flow} {job.partition}: all {len(raw)} rows were discarded")
    parsed = parsing.parse(frame, spec, entities)
    verdict = contracts.check(parsed, spec, _within(pack, frame, job.partition))
    page = result_pages.store(verdict, job.flow, job.partition, job.stage)
    facts = {
        "contract": f"{spec.contract} v{spec.version}", "status": verdict.status, "rows_in": len(raw),
        "rows_good": verdict.rows_good, "page": page, "dropped_columns": verdict.dropped_columns,
        "failures": verdict.aggregate_failures, "broken_by": verdict.broken_by, "seconds": round(verdict.seconds, 3),
    }  # fmt: skip
    if parsed.absent:
        facts["absent_columns"] = parsed.absent
    if not verdict.rows_good and (still := records.published(job.flow, job.partition)):
        facts["still_published"] = still

    def on_commit(conn: Connection, commit_id: int) -> None:
        if repairs_digest(job.flow, job.partition, conn) != job.seen:
            raise StaleAttempt(
                f"{job.flow} {job.partition}: rows in quarantine were repaired or discarded while this run judged them; "
                "the next try judges them as they are now"
            )
        records.record(conn, job.flow, job.partition, verdict, frame, raw)
        ledger.append(conn, "contract_verdict", f"{job.flow}/{job.partition}",
                      {k: facts[k] for k in ("contract", "status", "rows_in", "rows_good")})  # fmt: skip

    return StageOutput(contracts.good_rows(parsed, verdict), facts, on_commit)


def _remedy(facts: Mapping[str, Any]) -> str:
    """What can be done about a broken partition."""
    again = "have the file delivered again, then clear *ingest* of this run"
    if not facts["rows_in"]:
        return f"There are no rows to repair: {again}."
    where = f"All {facts['rows_in']} rows are in quarantine"
    if "missing_column" in facts.get("broken_by", ()):
        return f"{where}, and no repair adds a column: {again}; or change the contract and clear *contract*."
    return f"{where}: repair them with `baton quarantine repair`, then `baton quarantine reinject`."


def _within(pack: Pack, frame: pd.DataFrame, partition: str) -> tuple[str, str] | None:
    """Start and end of the partition that rows of a source were read for; None: they are of none (a training's, a person's)."""
    named = set(frame["_source"]) & set(pack.sources) if "_source" in frame else set()
    if len(named) != 1 or is_own(partition):
        return None
    start, end = window(partition, pack.source(named.pop()).step)
    return start.isoformat(), end.isoformat()


def require_good_rows(facts: Mapping[str, Any]) -> None:
    """Stop the run where nothing may go on; what is in quarantine is committed by then. Facts of other stages pass.

    Raises:
        ContractBroken: the stage's verdict was `broken`.
        NoData: each row is in quarantine for a reason of its own: nothing is left to work on, and nothing is wrong with
            the flow.
    """
    still = facts.get("still_published")
    kept = f" What an earlier delivery published ({still} rows) stays in force until then." if still else ""
    if facts.get("status") == "broken":
        raise ContractBroken(
            f"contract {facts['contract']} stopped the run: {'; '.join(facts['failures']) or 'see the result page'}. "
            f"{_remedy(facts)}{kept}"
        )
    if facts.get("status") == "quarantined" and not facts["rows_good"]:
        raise NoData(f"all {facts['rows_in']} rows are in quarantine, see `baton quarantine list`.{kept}")
