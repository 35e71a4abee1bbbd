"""As of a moment: what was in force then, by the ledger and the commits, each statement with the number of its entry.

The clock is the installation's, which stamps entries; a commit has the time of its entry. What of a version's evidence was written later is left out,
so the answer about a moment does not change any more.
"""

import hashlib
import json
import shlex
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.errors import BatonError
from baton.names import CHAMPION, CONTRACT, GROUP, PUBLISH, REGISTER, train_of
from baton.record import warehouse
from baton.record.tables import commits, heads, ledger, partition_models

ENTRIES = 100  # about a version, that an answer lists: the newest
_MOVED, _ACTIVATED = "alias_moved", "asset_activated"
_HEX = frozenset("0123456789abcdef")

Row = dict[str, Any]


def moment(text: str) -> tuple[str, bool]:
    """A moment as tables write it, and whether its zone had to be assumed: without one it is UTC.

    Args:
        text: ISO 8601, such as `2026-11-20T10:00`, `2026-11-20T10:00+01:00`, `2026-11-20`.

    Raises:
        BatonError: it is no moment, or lies ahead.
    """
    try:
        read = datetime.fromisoformat(text.strip())
        naive = read.tzinfo is None
        at = warehouse.stamp(read.replace(tzinfo=UTC) if naive else read.astimezone(UTC))
    except (ValueError, OverflowError):
        example = "2026-11-20T10:00 (UTC), or with a zone: 2026-11-20T10:00+01:00"
        raise BatonError(f"{text!r} is no moment; write it as {example}") from None
    if at > warehouse.now():
        raise BatonError(f"{text} lies ahead: what will be in force is not on record")
    return at, naive


def entries_until(conn: Connection, at: str) -> int:
    """How many entries the ledger had at a moment: found by halving, since entries are in the order of their time."""
    low, high = 0, conn.execute(sa.select(sa.func.max(ledger.c.seq))).scalar() or 0
    while low < high:
        middle = (low + high + 1) // 2
        earlier = conn.execute(sa.select(ledger.c.at).where(ledger.c.seq == middle)).scalar_one() <= at
        low, high = (middle, high) if earlier else (low, middle - 1)
    return int(low)


def of_model(conn: Connection, model: str, at: str) -> Row:
    """The champion at a moment, and on what that rested.

    Returns:
        asset, at, version, since, until (None: it still is), entry (number of the move), actor, reason, manifest (SHA-256 of
        what was signed; None: the move does not say), gate, approval, registered (each an entry: number, at and what
        it says; None: none is on record), spec, code, dataset and contract (digests that the training wrote down; None as before),
        entries (number, at, kind: the newest of what is on the ledger about the version, oldest first).

    Raises:
        BatonError: no version was champion then; it says since when there is a record.
    """
    found = [one for one in _about(conn, model, kind=_MOVED) if one["says"].get("alias") == CHAMPION]
    if not found:
        raise BatonError(
            f"model {model}: the ledger knows no champion of it, at no time; `baton status` lists the models"
        )
    before = [one for one in found if one["at"] <= at]
    if not before:
        first = found[0]
        raise BatonError(
            f"model {model} had no champion at {at}: the record begins at {first['at']} with version "
            f"{first['says']['version']} (ledger entry {first['number']})"
        )
    move = before[-1]
    said, version = move["says"], int(move["says"]["version"])
    later = next((one["at"] for one in found[len(before) :]), None)
    known = [one for one in _about(conn, f"{model}/{version}") if one["at"] <= at]
    last = {one["kind"]: one for one in known if one["number"] < move["number"]}
    return {
        "asset": f"model:{model}", "at": at, "version": version, "since": move["at"], "until": later, "entry": move["number"],
        "actor": said.get("actor"), "reason": said.get("reason"), "manifest": said.get("manifest"),
        "gate": last.get("gate_verdict"), "approval": last.get("approval"), "registered": last.get("version_registered"),
        **_trained(conn, model, version, at),
        "entries": [{name: one[name] for name in ("number", "at", "kind")} for one in [*known, move][-ENTRIES:]],
    }  # fmt: skip


def of_flow(conn: Connection, flow: str, at: str, partition: str = "") -> Row:
    """What a flow worked with at a moment: by the newest commit of each stage until then.

    Args:
        partition: by the commits of this one.

    Returns:
        asset, at, partition (empty: of all), published (partition, commit and at of the newest result; None), models
        (version by model, those of the newest result), stages (stage, partition, commit, at, entry, code, and `specs`: digest by name of
        what the stage depended on, such as contract, prompt, rules).

    Raises:
        BatonError: the flow had committed nothing until then; it says since when there is a record.
    """
    rows = _of_partition(conn, flow, partition, at) if partition else _newest(conn, flow, at)
    if not rows:
        raise BatonError(_nothing(conn, flow, at, partition))
    made = next((row for row in rows if row["stage"] == PUBLISH), max(rows, key=lambda row: row["id"]))
    stages = [
        {
            "stage": row["stage"], "partition": row["partition"], "commit": row["id"], "at": row["created_at"],
            "entry": _entry(conn, row), "code": by["code"], "specs": _specs(by["params"]),
        }
        for row in rows for by in [_worked(conn, row)]
    ]  # fmt: skip
    published = {"partition": made["partition"], "commit": made["id"], "at": made["created_at"]}
    return {
        "asset": f"flow:{flow}", "at": at, "partition": partition,
        "published": published if made["stage"] == PUBLISH else None,
        "models": {str(name): int(number) for name, number in (made["facts"].get("models") or made["models"]).items()},
        "stages": sorted(stages, key=lambda row: row["commit"]),
    }  # fmt: skip


def of_file(conn: Connection, asset: str, at: str) -> Row:
    """The content of a pack's file that was in force at a moment.

    Args:
        asset: as the ledger calls it, such as `contract:PACK/NAME`.

    Returns:
        asset, at, digest (SHA-256 of the content), since, entry (number of what records it), how it came into force, by (who agreed).

    Raises:
        BatonError: nothing of it was in force then; it says since when there is a record.
    """
    found = list(_about(conn, asset, _ACTIVATED))
    before = [one for one in found if one["at"] <= at]
    if not before:
        since = (
            f"its record begins at {found[0]['at']}"
            if found
            else "`baton change list` and the page Assets know what there is"
        )
        raise BatonError(f"{asset}: nothing of it was in force at {at}; {since}")
    last = before[-1]
    said = {name: last["says"].get(name) for name in ("digest", "how", "by")}
    return {"asset": asset, "at": at, "since": last["at"], "entry": last["number"], **said}


def users_of(conn: Connection, model: str, version: int, partition: str = "") -> list[tuple[str, str]]:
    """Flows that are on record with a version, each with its newest partition; of one partition if it is named."""
    c, found, flow = partition_models.c, list[tuple[str, str]](), ""
    mine = (c.model == model, c.version == version)
    while True:  # from one flow to the next: not over all partitions
        after = conn.execute(sa.select(sa.func.min(c.flow)).where(*mine, c.flow > flow)).scalar()
        if after is None:
            return found
        flow = str(after)
        last = sa.select(sa.func.max(c.partition)).where(*mine, c.flow == flow)
        newest = conn.execute(last.where(c.partition == partition) if partition else last).scalar()
        found += [(flow, newest)] if newest is not None else []


def replay(flow: str, partition: str, models: Mapping[str, int]) -> str:
    """The command that computes a partition again with exactly these versions, changing nothing; as rows are now, by today's code.

    Where a model's rules scored (version 0), that is left to the flow's ladder.
    """
    choice = ",".join(f"{name}={version}" for name, version in sorted(models.items()) if version) or "recorded"
    conf = {"partition_from": partition, "partition_to": partition, "model": choice, "dry_run": True}
    return f"airflow dags trigger {flow} --conf {shlex.quote(json.dumps(conf))}"


# --- the ledger ---


def _about(conn: Connection, subject: str, kind: str = "") -> Iterator[Row]:
    """Entries about a subject, oldest first. Kinds are told apart here: by their index a planner may walk half of the ledger."""
    query = sa.select(ledger.c.seq, ledger.c.at, ledger.c.kind, ledger.c.payload).where(ledger.c.subject == subject)
    for row in conn.execute(query.order_by(ledger.c.seq)):
        if not kind or row.kind == kind:
            yield {"number": row.seq, "at": row.at, "kind": row.kind, "says": json.loads(row.payload)}


def _entry(conn: Connection, row: Mapping[str, Any]) -> int | None:
    """Number of the entry that records a commit."""
    mapped = "" if row["map_index"] < 0 else f"[{row['map_index']}]"
    found = _about(conn, f"{row['flow']}/{row['stage']}{mapped}/{row['partition']}", "dataset_committed")
    return next((one["number"] for one in found if one["says"].get("commit") == row["id"]), None)


# --- commits ---

_COLUMNS = (
    "id",
    "flow",
    "stage",
    "partition",
    "map_index",
    "facts",
    "params",
    "models",
    "code",
    "ref",
    "inputs",
    "created_at",
)


def _chosen(*where: Any) -> sa.Select[Any]:
    return sa.select(*(commits.c[name] for name in _COLUMNS)).where(*where)


def _newest(conn: Connection, flow: str, at: str) -> list[Row]:
    """The newest commit of each stage until a moment: one look into the index a stage."""
    rows: list[Any] = []
    for stage in _stages(conn, flow):
        query = _chosen(commits.c.flow == flow, commits.c.stage == stage, commits.c.created_at <= at)
        rows += conn.execute(query.order_by(commits.c.created_at.desc()).limit(1)).mappings().all()
    return [dict(row) for row in rows]


def _stages(conn: Connection, flow: str) -> Iterator[str]:
    """Names of a flow's stages, from one to the next: not over all of its partitions."""
    stage: str | None = ""
    while stage is not None:
        after = sa.select(sa.func.min(heads.c.stage)).where(heads.c.flow == flow, heads.c.stage > stage)
        if (stage := conn.execute(after).scalar()) is not None:
            yield stage


def _of_partition(conn: Connection, flow: str, partition: str, at: str) -> list[Row]:
    where = (commits.c.flow == flow, commits.c.partition == partition, commits.c.created_at <= at)
    rows = conn.execute(_chosen(*where).order_by(commits.c.id)).mappings()
    return list({(row["stage"], row["map_index"]): dict(row) for row in rows}.values())


def _worked(conn: Connection, row: Row) -> Row:
    """The commit that has code and params by which the rows of one were made: where several tasks made them, the first one's."""
    if (first := f"{GROUP}0") not in row["inputs"]:
        return row
    query = _chosen(commits.c.uri == row["inputs"][first]["uri"]).order_by(commits.c.id).limit(1)
    found = conn.execute(query).mappings().first()
    return row if found is None else dict(found)


def _nothing(conn: Connection, flow: str, at: str, partition: str) -> str:
    c = commits.c
    where = [c.flow == flow, *([c.partition == partition] if partition else [])]
    named = f"flow {flow}" + (f", partition {partition}" if partition else "")
    firsts = [] if partition else [
        conn.execute(sa.select(sa.func.min(c.created_at)).where(c.flow == flow, c.stage == stage)).scalar()
        for stage in _stages(conn, flow)
    ]  # fmt: skip
    first = conn.execute(sa.select(sa.func.min(c.created_at)).where(*where)).scalar() if partition else min(
        (one for one in firsts if one), default=None
    )  # fmt: skip
    if first is None:
        return f"{named}: nothing was ever committed; `baton status` lists what there is"
    return f"{named} had committed nothing at {at}: the record begins at {first}"


def _trained(conn: Connection, model: str, version: int, at: str) -> Row:
    """What the training of a version wrote down: digests of its spec, code, rows and contract."""
    train, c = train_of(model), commits.c
    query = _chosen(c.flow == train, c.stage == REGISTER, c.created_at <= at).order_by(c.created_at.desc())
    made = next((row for row in conn.execute(query).mappings() if row["facts"].get("version") == version), None)
    if made is None:
        return dict.fromkeys(("spec", "code", "dataset", "contract"))
    state = made["params"].get("state") or {}
    query = _chosen(c.flow == train, c.stage == CONTRACT, c.partition == made["partition"], c.id < made["id"])
    checked = conn.execute(query.order_by(c.id.desc()).limit(1)).mappings().first()
    contract = _specs(checked["params"]).get("contract") if checked is not None else None
    spec = digest(state["spec"]) if "spec" in state else None
    dataset = checked["ref"]["content_sha256"] if checked is not None else None
    return {"spec": spec, "code": made["code"], "dataset": dataset, "contract": contract}


def _specs(params: Mapping[str, Any], without: Collection[str] = ("after", "source_sha256", "files")) -> dict[str, str]:
    """Digests of what a stage's result depended on beside rows, code and models: by the names that its state has."""
    state = {name: value for name, value in (params.get("state") or {}).items() if name not in without}
    if isinstance(agent := state.pop("agent", None), dict):  # its prompt, rules and schema each
        state |= {f"agent.{name}": value for name, value in agent.items()}
    named = state | {name: params[name] for name in ("options", "output_contract") if params.get(name)}
    return {name: digest(value) for name, value in sorted(named.items()) if value not in (None, "", [], {})}


def digest(value: Any) -> str:
    """SHA-256 of a value as JSON (sorted keys, no spaces); what is such a digest already stays as it is."""
    if isinstance(value, str) and len(value) == 64 and set(value) <= _HEX:
        return value
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
