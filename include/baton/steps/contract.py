"""Contract stages: what may pass from one system to the next, and what goes to quarantine."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow as pa
from pydantic import Field
from sqlalchemy import Connection

from baton.contracts import check as contracts
from baton.contracts import page as result_pages
from baton.contracts.check import ContractVerdict
from baton.contracts.parts import Judging
from baton.data import typed as parsing
from baton.data.datasets import read, read_frames
from baton.data.identity import with_row_identity
from baton.data.partitions import is_own, window
from baton.data.parts import give_back
from baton.errors import BatonError, ContractBroken, NoData, StaleAttempt
from baton.packs.pack import Pack
from baton.progress import tell
from baton.quarantine import records, spool
from baton.quarantine.records import repairs_digest
from baton.record import ledger
from baton.specs.base import Spec
from baton.specs.contract import ContractSpec
from baton.stages.job import StageJob
from baton.stages.slots import StageOutput
from baton.stages.step import Seen, engine_step

FRAME_ROWS = 100_000  # of a batch in parts, judged at a time


class ContractOptions(Spec):
    """Options of `contract`."""

    contract: str = Field(description="name of the contract")


def _contract_state(job: StageJob[ContractOptions]) -> Seen:
    contract, decided = job.load_pack().contract(job.options.contract), repairs_digest(job.flow, job.partition)
    return Seen({"contract": contract.model_dump(mode="json"), "repairs": decided}, decided)


@engine_step(
    ContractOptions, fingerprint=_contract_state, uses=lambda job: [(job.pack, "contract", job.options.contract)]
)
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
    if job.inputs["data"].kind == "manifest" and job.inputs["data"].rows:
        return _in_parts(job, pack, _Batch(job, spec, entities))
    raw = read(job.inputs["data"], exact=True)
    frame = records.apply_repairs(job.flow, job.partition, raw)
    if len(raw) and frame.empty:
        raise NoData(f"{job.flow} {job.partition}: all {len(raw)} rows were discarded")
    parsed = parsing.parse(frame, spec, entities)
    verdict = contracts.check(parsed, spec, _within(pack, _sources(frame), job.partition))
    facts = _facts(job, verdict, len(raw), parsed)
    facts["page"] = result_pages.store(verdict, job.flow, job.partition, job.stage)
    good = contracts.good_rows(parsed, verdict)
    return _output(job, good, facts, lambda conn: records.record(conn, job.flow, job.partition, verdict, frame, raw))


def _facts(job: StageJob[Any], verdict: ContractVerdict, rows_in: int, parsed: parsing.Parsed) -> dict[str, Any]:
    spec = verdict.spec
    facts = {
        "contract": f"{spec.contract} v{spec.version}", "status": verdict.status, "rows_in": rows_in,
        "rows_good": verdict.rows_good, "page": "", "dropped_columns": verdict.dropped_columns,
        "failures": verdict.aggregate_failures, "broken_by": verdict.broken_by, "seconds": round(verdict.seconds, 3),
    }  # fmt: skip
    if parsed.absent:
        facts["absent_columns"] = parsed.absent
    if not verdict.rows_good and (still := records.published(job.flow, job.partition)):
        facts["still_published"] = still
    return facts


def _output(
    job: StageJob[Any], good: pd.DataFrame, facts: dict[str, Any], record: Callable[[Connection], object],
    rest: Iterable[pa.Table] = (),
) -> StageOutput:  # fmt: skip
    def on_commit(conn: Connection, commit_id: int) -> None:
        if repairs_digest(job.flow, job.partition, conn) != job.seen:
            raise StaleAttempt(
                f"{job.flow} {job.partition}: rows in quarantine were repaired or discarded while this run judged them; "
                "the next try judges them as they are now"
            )
        record(conn)
        ledger.append(conn, "contract_verdict", f"{job.flow}/{job.partition}",
                      {k: facts[k] for k in ("contract", "status", "rows_in", "rows_good")})  # fmt: skip

    return StageOutput(good, facts, on_commit, rest)


class _Batch:
    """A batch in parts, frame by frame as people repaired it, and typed; the same each time.

    Attributes:
        sources: of the rows read so far.
        judged: rows read last, without those that people discarded.
    """

    def __init__(self, job: StageJob[Any], spec: ContractSpec, entities: Collection[str]) -> None:
        self.ref, self.spec, self._entities = job.inputs["data"], spec, entities
        self.answers = records.answers(job.flow, job.partition)
        self.sources: set[str] = set()
        self.judged = 0
        self._flow, self._where = job.flow, f"{job.flow} {job.partition}"

    def read(self, doing: str) -> Iterator[tuple[pd.DataFrame, parsing.Parsed]]:
        """The frames, their rows told as they are `doing`; whoever takes one lets it go before the next.

        Raises:
            BatonError: rows are not numbered upwards: over all parts nobody could tell whether one occurs twice.
        """
        before = last = self.judged = 0
        for frame in read_frames(self.ref, FRAME_ROWS, exact=True):
            frame = with_row_identity(frame, self._flow, before + 1)
            numbers, before = frame["_row"], before + len(frame)
            if not numbers.is_monotonic_increasing or numbers.iloc[0] <= last:
                raise BatonError(
                    f"{self._where}: rows of a batch in parts are numbered upwards (`_row`), but {int(numbers.iloc[0])} or one "
                    f"behind it does not follow {last}: give each source a contract of its own before they are put together"
                )
            last = int(numbers.iloc[-1])
            self.sources |= _sources(frame)
            frame = self.answers.laid_over(frame)
            self.judged += len(frame)
            made = [(frame, parsing.parse(frame, self.spec, self._entities))]
            del frame, numbers
            yield made.pop()  # whoever takes the frame has it alone
            give_back()
            tell(doing, "rows", before, self.ref.rows)


def _in_parts(job: StageJob[ContractOptions], pack: Pack, batch: _Batch) -> StageOutput:
    """Two readings: the first judges, the second takes out what is bad; each holds a part and a frame."""
    within: tuple[str, str] | None = None
    judging: Judging | None = None
    with ExitStack() as held:
        for frame, parsed in batch.read("rows judged"):
            if judging is None:
                within = _within(pack, batch.sources, job.partition)
                judging = held.enter_context(Judging(batch.spec, within))
            judging.add(parsed)
            del frame, parsed
        if judging is None or not batch.judged:
            raise NoData(f"{job.flow} {job.partition}: all {batch.ref.rows} rows were discarded")
        verdict = judging.verdict()
    sources, judged = batch.sources, batch.judged
    if within != _within(pack, sources, job.partition) and any(one.of_partition for one in batch.spec.expectations):
        raise BatonError(
            f"{job.flow} {job.partition}: rows of {', '.join(sorted(sources))} are in one batch of parts, and a rule of contract "
            f"{batch.spec.contract} names {{start}} or {{end}}: give each source a contract of its own"
        )
    verdict, whole = spool.bounded(verdict, judged)
    facts, waiting = _facts(job, verdict, batch.ref.rows, judging.all), spool.Spool(whole or spool.EXAMPLES)
    shown: list[parsing.Violation] = []

    def rewritten() -> Iterator[pa.Table]:
        nonlocal shown
        for number, (frame, parsed) in enumerate(batch.read("good rows written")):
            broken = judging.violations(number, parsed)
            shown = result_pages.first([*shown, *broken])
            waiting.add(verdict, broken, frame, whole=bool(whole))
            good = [judging.good(number, parsed)] if verdict.status != "broken" else []
            del frame, parsed, broken
            if good:
                yield good.pop()
            elif waiting.full:
                break
        if verdict.status == "broken" and waiting.rows < judged:
            facts["unlisted"] = judged - waiting.rows
        facts["page"] = result_pages.store(replace(verdict, violations=shown), job.flow, job.partition, job.stage)

    def record(conn: Connection) -> None:
        records.put(conn, job.flow, job.partition, sources, waiting, lambda rows: rows & batch.answers.met)

    rest = rewritten()
    return _output(job, judging.nothing(), facts, record, rest if verdict.status != "broken" else list(rest))


def _remedy(facts: Mapping[str, Any]) -> str:
    """What can be done about a broken partition."""
    again = "have the file delivered again, then clear *ingest* of this run"
    if not facts["rows_in"]:
        return f"There are no rows to repair: {again}."
    where = f"All {facts['rows_in']} rows are in quarantine"
    if unlisted := facts.get("unlisted"):
        return f"{where}, {unlisted} of them are counted and not listed: {again}; or change the contract and clear *contract*."
    if "missing_column" in facts.get("broken_by", ()):
        return f"{where}, and no repair adds a column: {again}; or change the contract and clear *contract*."
    return f"{where}: repair them with `baton quarantine repair`, then `baton quarantine reinject`."


def _sources(frame: pd.DataFrame) -> set[str]:
    return set(frame["_source"]) if "_source" in frame else set()


def _within(pack: Pack, sources: Set[str], partition: str) -> tuple[str, str] | None:
    """Start and end of the partition that rows of a source were read for; None: they are of none (a training's, a person's)."""
    named = sources & set(pack.sources)
    if len(named) != 1 or is_own(partition):
        return None
    start, end = window(partition, pack.source(next(iter(named))).step)
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
