"""Windows of a monitor: which partitions there are, what each was judged to be, and where that is recorded."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select, union, union_all

from baton.data import datasets, stored
from baton.data.pages import store_page
from baton.data.partitions import safe_name
from baton.drift.decision import CONCLUSIVE, Window, window_from
from baton.drift.report import report_html
from baton.errors import BatonError
from baton.families import family
from baton.feedback.labels import digest_of, known_labels
from baton.names import CONTRACT, INGEST, PUBLISH, score_of
from baton.progress import told
from baton.record import ledger, tables
from baton.record.warehouse import among, now, read, stamp, transact, upsert, write
from baton.registry.client import Registry
from baton.registry.rungs import RULES
from baton.stages.slots import heads_of

if TYPE_CHECKING:
    import pandas as pd

    from baton.families.base import Family
    from baton.specs.model import ModelSpec
    from baton.stages.slots import StageResult


ABANDONED = timedelta(hours=6)  # a flow's run is ended by Airflow after that long
COUNTED = ("drifted", "stable")  # verdicts of windows that count in decisions
IN_FORCE = (*COUNTED, "too_few", "pending")
_STAGES = (INGEST, CONTRACT, PUBLISH)


def states(conn: Connection, flow: str, wanted: Collection[str]) -> dict[str, str]:
    """Partition -> published | broken | running | abandoned, in order, of those that have arrived.

    An abandoned one failed for good on its way: it must not hold up the windows after it for ever.
    """
    table, commits = tables.heads, tables.commits
    query = select(table.c.partition, table.c.stage, commits.c.facts, commits.c.created_at).where(
        table.c.flow == flow, table.c.stage.in_(_STAGES), table.c.map_index == -1, table.c.commit_id == commits.c.id
    )
    reached: dict[str, dict[str, Any]] = {}
    for row in among(conn, query, table.c.partition, wanted):
        reached.setdefault(row.partition, {})[row.stage] = row
    too_old = stamp(datetime.now(UTC) - ABANDONED)
    states = {}
    for partition, stages in sorted(reached.items()):
        if CONTRACT in stages and stages[CONTRACT].facts.get("status") == "broken":
            states[partition] = "broken"
        elif PUBLISH in stages:
            states[partition] = "published"
        else:
            newest = max(row.created_at for row in stages.values())
            states[partition] = "running" if newest > too_old else "abandoned"
    return states


def newest(conn: Connection, flow: str, count: int) -> list[str]:
    """The last partitions that have arrived, in order."""
    table = tables.heads.c
    ends = [
        select(table.partition).where(table.flow == flow, table.stage == stage, table.commit_id.is_not(None))
        .order_by(table.partition.desc()).limit(count).subquery() for stage in _STAGES
    ]  # fmt: skip
    return sorted(conn.execute(union(*(select(end.c.partition) for end in ends))).scalars())[-count:]


def judge(spec: ModelSpec, flow: str, due: Mapping[str, str]) -> Iterator[tuple[Window, str | None]]:
    """The windows of these partitions (and their states), in order; None, or the page of one that was judged here.

    One on record stands if its data and labels are the same. Version and rows are those that the scores were made with: a
    run that supersedes the partition may be under way, and what is on record for it belongs to the scores to come.
    """
    scored = heads_of(flow, score_of(spec.model), [p for p, state in due.items() if state == "published"])
    with read() as conn:
        known = _in_force(conn, spec.model, due)
    for partition in told(sorted(due), "windows judged", "windows"):
        scores, record = _of_the_model(scored.get(partition)), known.get(partition)
        found = _judged(spec, flow, partition, scores, record) if scores is not None else None
        if found is not None:
            yield found
            continue
        status = "broken" if due[partition] == "broken" else "missing"
        if record is not None:
            _put_out_of_force(spec.model, partition, status)
        yield Window(partition, _version(spec.model, scores) if scores else None, status), None


def _of_the_model(scores: StageResult | None) -> StageResult | None:
    """None also for scores that rules made where no version could: they say nothing about the model."""
    by_rules = scores is not None and scores.facts.get("rung") == RULES and not _by_version(scores)
    return None if by_rules else scores


def _by_version(scores: StageResult) -> dict[int, int]:
    """Rows by version, of a batch that several have scored; what rules scored says nothing about the model."""
    return {int(version): rows for version, rows in scores.facts.get("versions", {}).items() if int(version)}


def _version(model: str, scores: StageResult) -> int:
    """The version that scored, or most of the rows: on a ladder perhaps another one than the run had fixed."""
    several = _by_version(scores)
    if several:
        return max(several, key=lambda one: (several[one], one))
    return int(scores.facts.get("version") or scores.models[model])


def _judged(
    spec: ModelSpec, flow: str, partition: str, scores: StageResult, record: Mapping[str, Any] | None
) -> tuple[Window, str | None] | None:
    """The window by its scores; None where its version was trained before its spec had a `drift` block."""
    version = _version(spec.model, scores)
    heard = digest_of(flow, spec.data.target, scores.ref)  # what is heard from now on has the window judged again
    judged = record and (record["version"], record["commit_id"], record["performance"].get("labels"))
    if record and judged == (version, scores.commit_id, heard[0]):
        return window_from(record["window"]), None
    stored = Registry().verified(spec.model, version) / "reference.json"
    if not stored.exists():
        return None
    return _judge(spec, flow, Window(partition, version), scores, json.loads(stored.read_text(encoding="utf-8")), heard)


def _in_force(conn: Connection, model: str, wanted: Collection[str]) -> dict[str, Mapping[Any, Any]]:
    """The rows of `drift_windows` that count, by partition; without their tables."""
    table = tables.drift_windows.c
    columns = (table.partition, table.version, table.commit_id, table.window, table.performance)
    query = select(*columns).where(table.model == model, table.verdict.in_(IN_FORCE))
    return {row.partition: row._mapping for row in among(conn, query, table.partition, wanted)}


def _judge(
    spec: ModelSpec, flow: str, window: Window, scores: StageResult, reference: dict[str, Any], heard: tuple[str, bool]
) -> tuple[Window, str]:
    maker = family(spec.family)
    rows = _by_version(scores).get(window.version or 0, scores.inputs["data"].rows)
    seen = maker.watch(spec, reference, _rows(spec, flow, maker, scores, heard[1]))
    table, status = seen.table, "too_few" if seen.table.too_few else "judged"
    if maker.truth == "rows" and not seen.truths:
        status = "pending"  # a forecast of which nothing has happened yet
    window = replace(
        window, status=status, drifted=tuple(table.drifted), rows=rows, truths=seen.truths, performance=seen.performance
    )  # fmt: skip
    page = _report(spec.model, window, table)
    known_by = {"labels": heard[0], "calibration": seen.calibration}
    _record(spec.model, flow, window, table, scores.commit_id, known_by, page)
    return window, page


def _rows(
    spec: ModelSpec, flow: str, maker: Family, scores: StageResult, categories: bool
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]]:
    """A partition's rows, what was said of them, and what is known; of a batch in parts a frame is held at a time.

    Args:
        categories: see `known_labels`; the same for all frames, whichever labels one happens to have.

    Raises:
        BatonError: the scores are not those of these rows, one by one.
    """
    data = scores.inputs["data"]
    if maker.row_local and data.kind == "manifest":
        if data.rows != scores.ref.rows:
            raise BatonError(
                f"{flow} {data.partition}: {scores.ref.rows:,} scores of {data.rows:,} rows; score it again"
            )
        ends = stored.ends(data)  # the frames are those that were scored
        halves = (datasets.read_frames(ref, ends=ends) for ref in (data, scores.ref))
        frames: Iterator[tuple[pd.DataFrame, pd.DataFrame]] = zip(*halves, strict=True)
    else:
        frames = iter([(datasets.read(data), datasets.read(scores.ref))])
    mixed, version = bool(_by_version(scores)), _version(spec.model, scores)
    for rows, said in frames:
        if data.kind == "manifest" and maker.row_local and (maker.keys(spec, rows) != said["entity_key"]).any():
            raise BatonError(f"{flow} {data.partition}: the scores are not in the order of the rows; score it again")
        if mixed:  # those of one version alone
            its = (said["version"] == version).to_numpy()
            if not its.any():
                continue
            rows, said = rows[its].reset_index(drop=True), said[its].reset_index(drop=True)
        known = known_labels(flow, spec.data.target, said["entity_key"].unique(), categories=categories)
        yield rows, said, known.rename(columns={"label": "value"})[["entity_key", "value"]]


def _report(model: str, window: Window, table: Any) -> str:
    page = f"drift/{model}/{safe_name(window.partition)}-v{window.version}.html"
    shown = report_html(table, model=model, partition=window.partition, version=window.version, window=window)
    return store_page(page, shown)


def _record(
    model: str, flow: str, window: Window, table: Any, commit_id: int, known_by: Mapping[str, Any], page: str
) -> None:  # fmt: skip
    drifted = "drifted" if table.drifted else "stable"
    verdict = drifted if window.status == "judged" else window.status
    measured = window.performance is not None and window.performance.status in CONCLUSIVE
    row = {
        "model": model, "flow": flow, "partition": window.partition, "version": window.version, "verdict": verdict,
        "measured": int(measured), "window": asdict(window), "table": {**table.to_dict(), "page": page},
        "features": list(window.drifted),
        "performance": {**(window.performance.to_dict() if window.performance else {}), **known_by},
        "commit_id": commit_id, "judged_at": now(),
    }  # fmt: skip
    with write() as conn:
        _put_out_of_force(model, window.partition, "superseded", conn)
        upsert(conn, tables.drift_windows, [row])
        ledger.append(conn, "window_judged", f"{model}/{window.partition}",
                      {"version": window.version, "verdict": verdict, "features": list(window.drifted)})  # fmt: skip


def _put_out_of_force(model: str, partition: str, verdict: str, conn: Connection | None = None) -> None:
    """No decision rests on what is on record of the partition any more."""
    if conn is None:
        transact(lambda own: _put_out_of_force(model, partition, verdict, own))
        return
    table = tables.drift_windows
    here = (table.c.model == model, table.c.partition == partition, table.c.verdict.in_(IN_FORCE))
    conn.execute(table.update().where(*here).values(verdict=verdict))


# --- what decisions rest on ---


def on_record(conn: Connection, model: str, arrived: Mapping[str, str]) -> list[Window]:
    """The windows of these partitions (and their states), in order, as they are on record."""
    known = _in_force(conn, model, [p for p, state in arrived.items() if state == "published"])
    return [
        window_from(known[partition]["window"]) if partition in known
        else Window(partition, status="broken" if state == "broken" else "missing")
        for partition, state in sorted(arrived.items())
    ]  # fmt: skip


def last_settled(conn: Connection, model: str) -> list[Window]:
    """The newest window on record of which something is known; empty without one."""
    table = tables.drift_windows.c
    query = select(table.window).where(table.model == model, table.verdict.in_([*COUNTED, "too_few"]))
    return [window_from(row) for row in conn.execute(query.order_by(table.partition.desc()).limit(1)).scalars()]


def history(
    conn: Connection, model: str, current: Window, count: int, since: str | None
) -> tuple[list[Window], str, bool]:
    """Windows up to `current`, the partition since which none is left out, and whether its version has no earlier ones.

    Args:
        count: so many windows that count for its version, with all others between them; and as many of those whose
            result was measured, which may lie far back, since labels lag.
        since: at least from here on.
    """
    table = tables.drift_windows.c
    of_version = (table.model == model, table.version == current.version, table.partition <= current.partition)
    counted = select(table.partition).where(*of_version, table.verdict.in_(COUNTED)).order_by(table.partition.desc())
    nth = counted.offset(count - 1).limit(1).scalar_subquery()
    oldest = select(func.min(table.partition)).where(*of_version[:2]).scalar_subquery()
    found, first = conn.execute(select(nth, oldest)).one()
    edge = min(one for one in (found or first, since) if one)
    shown = select(table.partition, table.window)
    near = shown.where(
        table.model == model, table.partition.between(edge, current.partition), table.verdict.in_(IN_FORCE)
    )
    measured = (
        shown.where(*of_version, table.measured == 1, table.verdict.in_(COUNTED))
        .order_by(table.partition.desc()).limit(count).subquery()
    )  # fmt: skip
    rows = conn.execute(union_all(near, select(measured.c.partition, measured.c.window)))
    return list({row.partition: window_from(row.window) for row in rows}.values()), edge, edge <= first
