"""Contract stages: what may pass from one system to the next, and what goes to quarantine."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any

import pandas as pd
import pyarrow as pa
from pydantic import Field
from sqlalchemy import Connection

from baton.contracts import check as contracts
from baton.contracts import page as result_pages
from baton.contracts.check import ContractVerdict
from baton.contracts.parts import Judging
from baton.data import datasets, stored
from baton.data import typed as parsing
from baton.data.datasets import DatasetRef, DatasetWriter, read, read_batches, write
from baton.data.partitions import is_own, window
from baton.errors import BatonError, ContractBroken, NoData, StaleAttempt
from baton.governance import content
from baton.names import EDGES
from baton.packs.pack import Pack
from baton.quarantine import records, spool
from baton.quarantine.batch import Batch, sources_of
from baton.quarantine.records import repairs_digest
from baton.record import ledger
from baton.specs.base import Spec
from baton.specs.contract import ContractSpec
from baton.stages import slots
from baton.stages.job import StageJob
from baton.stages.run import digests
from baton.stages.slots import StageOutput, StageResult
from baton.stages.step import Seen, engine_step

_JUDGE = "baton.steps.contract:judge"


class ContractOptions(Spec):
    """Options of `contract`."""

    contract: str = Field(description="name of the contract")


def _contract_state(job: StageJob[ContractOptions]) -> Seen:
    contract, decided = job.load_pack().contract(job.options.contract), repairs_digest(job.flow, job.partition)
    return Seen({"contract": contract.model_dump(mode="json"), "repairs": decided}, decided)


def _uses(job: StageJob[ContractOptions]) -> list[content.Named]:
    return [(job.pack, "contract", job.options.contract)]


@engine_step(ContractOptions, fingerprint=_contract_state, uses=_uses)
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
    spec = pack.contract(job.options.contract)
    if job.inputs["data"].kind == "manifest" and job.inputs["data"].rows:
        return _in_parts(job, pack, _batch(job, spec, pack))
    raw = read(job.inputs["data"], exact=True)
    frame = records.apply_repairs(job.flow, job.partition, raw)
    if len(raw) and frame.empty:
        raise NoData(f"{job.flow} {job.partition}: all {len(raw)} rows were discarded")
    parsed = parsing.parse(frame, spec, _entities(pack))
    verdict = contracts.check(parsed, spec, _within(pack, sources_of(frame), job.partition))
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
    job: StageJob[Any], good: pd.DataFrame, facts: dict[str, Any], record: Callable[[Connection], object]
) -> StageOutput:
    def on_commit(conn: Connection, commit_id: int) -> None:
        if repairs_digest(job.flow, job.partition, conn) != job.seen:
            raise StaleAttempt(
                f"{job.flow} {job.partition}: rows in quarantine were repaired or discarded while this run judged them; "
                "the next try judges them as they are now"
            )
        record(conn)
        ledger.append(conn, "contract_verdict", f"{job.flow}/{job.partition}",
                      {k: facts[k] for k in ("contract", "status", "rows_in", "rows_good")})  # fmt: skip

    return StageOutput(good, facts, on_commit)


@dataclass(frozen=True)
class _Noted:
    """What a task noted of the parts that it judged, for the one that judges the batch.

    Attributes:
        judging: see `Judging.noted`.
        within: see `_within`; by the first frame.
        met: rows left out because people discarded them, as [hash, number].
    """

    judging: str
    filled: list[str]
    within: list[str] | None
    sources: list[str]
    judged: int
    lengths: list[int]
    span: list[int]
    met: list[list[Any]]


Within = tuple[str, str] | None


def _first_reading(job: StageJob[Any], pack: Pack, batch: Batch, held: ExitStack) -> tuple[Judging, Within]:
    """Judge each frame."""
    within: Within = None
    judging: Judging | None = None
    for _, frame, parsed in batch.read("rows judged"):
        if judging is None:
            within = _within(pack, batch.sources, job.partition)
            judging = held.enter_context(Judging(batch.spec, within))
        judging.add(parsed)
        del frame, parsed
    assert judging is not None  # a batch in parts has rows
    return judging, within


@engine_step(ContractOptions, fingerprint=_contract_state, uses=_uses, apart=True)
def judge(job: StageJob[ContractOptions]) -> StageOutput:
    """Judge some parts of a large batch, as far as that can be done without the others.

    Nothing comes of it by itself: `contract` takes what was noted, judges the batch, and names the rows that go on.

    Returns:
        the rows that break no rule by themselves, in parts that end where those of the batch do; facts with `edges` (where each
        task's rows end) and the datasets `noted` and `kept`, which are of use to `contract` alone.
    """
    pack = job.load_pack()
    batch = _batch(job, pack.contract(job.options.contract), pack)
    assert job.group is not None
    facts: dict[str, Any] = {EDGES: list(job.group.edges)}
    with ExitStack() as opened:
        judging, within = _first_reading(job, pack, batch, opened)
        judging.apart()
        ends, text = _ends(judging, batch), judging.noted()
        held = (
            opened.pop_all()
        )  # on a disk until `beside` has written it: of a task's rows all cells that are compared on the whole
    if job.dry_run:  # nobody takes anything from it
        held.close()
    said = {
        "sources": sorted(batch.sources),
        "judged": batch.judged,
        "lengths": batch.lengths,
        "span": list(batch.span),
    }
    said |= {"filled": sorted(judging.filled), "within": within, "met": sorted(map(list, batch.answers.met))}

    def rows() -> Iterator[pa.Table]:
        try:
            for number, frame, parsed in batch.read("good rows written"):
                del frame
                good = [judging.good(number, parsed)]
                del parsed
                yield good.pop()
        except BaseException:
            held.close()
            raise

    def beside(name: str) -> list[DatasetRef]:
        with held:
            return written(name.removesuffix(".parquet"))

    def written(stem: str) -> list[DatasetRef]:
        refs: dict[str, DatasetRef] = {}
        if text is None:  # the one behind judges all rows itself, and says what is wrong
            return []
        kept = judging.kept()
        if (first := next(kept, None)) is not None:
            with DatasetWriter(f"{stem}.kept.parquet", job.partition) as writer:
                for table in chain([first], kept):
                    writer.add(table)
                refs["kept"] = writer.close()
        note = pd.DataFrame({"noted": [json.dumps({"judging": text, **said})]})
        refs["noted"] = write(note, f"{stem}.noted.parquet", job.partition)
        facts.update({kind: ref.to_dict() for kind, ref in refs.items()})
        return list(refs.values())

    return StageOutput(judging.nothing(), facts, rest=rows(), beside=beside, ends=ends)


def _ends(judging: Judging, batch: Batch) -> list[int]:
    """Numbers of good rows after which a part ends: where one of the batch does, however many tasks judge it."""
    ends, before, good = [], 0, 0
    for number, rows in enumerate(batch.lengths):
        before, good = before + rows, good + judging.goes_on(number)
        ends += [good] if before in batch.ends else []
    return ends


def _shares(job: StageJob[ContractOptions], ref: DatasetRef) -> list[tuple[StageResult, _Noted]]:
    """What tasks noted of all parts of the batch; nothing unless they judged these rows, by this contract, as people repaired them."""
    own = job.slot
    edges = tuple(next((one.facts[EDGES] for one in slots.heads_of_groups(own, 1) if EDGES in one.facts), ()))
    if len(edges) < 3 or edges[-1] != ref.rows:
        return []
    judged, asked = replace(job, step=_JUDGE), [{"data": some} for some in stored.windows(ref, edges)]
    found = slots.heads_of_groups(own, len(asked))
    if [one.digest for one in found] != digests(judged, asked) or not all("noted" in one.facts for one in found):
        return []
    before = slots.head(own)
    if before is not None and [before.digest] == digests(
        job, [job.inputs]
    ):  # what was made of them is damaged: all is made anew
        return []
    notes = [DatasetRef.from_dict(one.facts[kind]) for one in found for kind in ("kept", "noted") if kind in one.facts]
    if not all(map(datasets.verifies, notes)):
        return []
    said = [_Noted(**json.loads(read(DatasetRef.from_dict(one.facts["noted"]))["noted"].iloc[0])) for one in found]
    in_order = all(one.span[1] < then.span[0] for one, then in pairwise(said))
    alike = all(one.within == said[0].within for one in said)
    return list(zip(found, said, strict=True)) if in_order and alike else []  # one that has all rows says what is wrong


def _taken(shares: Sequence[tuple[StageResult, _Noted]], batch: Batch, held: ExitStack) -> tuple[Judging, Within]:
    """Instead of `_first_reading`, what others judged."""
    within = shares[0][1].within
    judging = held.enter_context(Judging(batch.spec, (within[0], within[1]) if within else None))
    for result, said in shares:
        kept = read_batches(DatasetRef.from_dict(result.facts["kept"])) if "kept" in result.facts else ()
        judging.take(said.judging, (pa.Table.from_batches([some]) for some in kept))
        batch.sources |= set(said.sources)
        batch.judged += said.judged
        batch.lengths += said.lengths
        batch.answers.met.update((sha, row) for sha, row in said.met)
    return judging, (within[0], within[1]) if within else None


def _usable(shares: Sequence[tuple[StageResult, _Noted]], judging: Judging, batch: Batch) -> list[DatasetRef]:
    """The rows that tasks wrote, where they are those that go on; nothing where the whole batch makes others bad, or typed."""
    same = all(set(said.filled) == judging.filled for _, said in shares)
    if not same or not all(map(judging.as_apart, range(len(batch.lengths)))):
        return []
    refs = [result.ref for result, _ in shares if result.ref.rows]
    return refs if len({ref.schema_fingerprint for ref in refs}) == 1 else []


def _in_parts(job: StageJob[ContractOptions], pack: Pack, batch: Batch) -> StageOutput:
    """Two readings: the first judges, the second takes out what is bad; each holds a part and a frame.

    Where tasks have judged the parts (`judge`), the first is done, and of the second only the parts are read that have bad rows.
    """
    shares = _shares(job, batch.ref)
    with ExitStack() as held:
        judging, within = _taken(shares, batch, held) if shares else _first_reading(job, pack, batch, held)
        if not batch.judged:
            raise NoData(f"{job.flow} {job.partition}: all {batch.ref.rows} rows were discarded")
        verdict = judging.verdict()
    sources, judged = batch.sources, batch.judged
    if within != _within(pack, sources, job.partition) and any(one.of_partition for one in batch.spec.expectations):
        raise BatonError(
            f"{job.flow} {job.partition}: rows of {', '.join(sorted(sources))} are in one batch of parts, and a rule of contract "
            f"{batch.spec.contract} names {{start}} or {{end}}: give each source a contract of its own"
        )
    verdict, whole = spool.bounded(verdict, judged)
    broken = verdict.status == "broken"
    ends, made_by = _ends(judging, batch), [] if broken else _usable(shares, judging, batch)
    facts, waiting = _facts(job, verdict, batch.ref.rows, judging.all), spool.Spool(whole or spool.EXAMPLES)
    shown: list[parsing.Violation] = []

    def rewritten() -> Iterator[pa.Table]:
        nonlocal shown
        doing, wanted = "good rows written", None
        if made_by:
            doing, wanted = "bad rows written", lambda number: not judging.spotless(number)
        for number, frame, parsed in batch.read(doing, wanted):
            found = judging.violations(number, parsed)
            shown = result_pages.first([*shown, *found])
            waiting.add(verdict, found, frame, whole=bool(whole))
            good = [] if broken or made_by else [judging.good(number, parsed)]
            del frame, parsed, found
            if good:
                yield good.pop()
            elif waiting.full:
                break
        if broken and waiting.rows < judged:
            facts["unlisted"] = judged - waiting.rows
        facts["page"] = result_pages.store(replace(verdict, violations=shown), job.flow, job.partition, job.stage)

    def record(conn: Connection) -> None:
        records.put(conn, job.flow, job.partition, sources, waiting, lambda rows: rows & batch.answers.met)

    def named(name: str) -> DatasetRef:
        list(rewritten())
        return stored.union(made_by, name, lambda point: slots.FAULT(point))

    output = _output(job, judging.nothing(), facts, record)
    if made_by:
        return replace(output, made=named)
    rest = rewritten()
    return replace(output, rest=list(rest) if broken else rest, ends=() if broken else ends)


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


def _batch(job: StageJob[Any], spec: ContractSpec, pack: Pack) -> Batch:
    return Batch(job.inputs["data"], job.flow, job.partition, spec, _entities(pack))


def _entities(pack: Pack) -> set[str]:
    return {model.data.entity for model in pack.models.values()}


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
