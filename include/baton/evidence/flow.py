"""Evidence about a flow: what it published with which versions, under which contracts; of entities there are counts and digests only."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.errors import BatonError
from baton.evidence import from_ledger, rows
from baton.evidence.pack import NEVER, Dossier, document, keys, seal, signed, written
from baton.names import PUBLISH
from baton.record import asof, ledger, tables, warehouse

Folder = Callable[[str, int], Path | str]
_COMMITTED = "dataset_committed"
_NOT_YET = {
    "decisions": "of single entities: `baton evidence decision ENTITY`",
    "effects, requests and permits": "of single entities; they are in the pack of a decision",
    "the flow's wiring": "the code of each stage by its digest only; the files are in your version control",
    "usage: calls, tokens and cost": "not recorded with a commit; partitions.jsonl has rows",
    "partitions.jsonl: earlier results": "of a partition that was published several times it has the newest; the ledger has all",
}


def evidence(flow: str, keys_dir: Path, folder: Folder, seen: str = "", as_of: str = "") -> bytes:
    """The pack of a flow; the same bytes as long as the ledger and what is on record stay the same.

    Args:
        keys_dir: where the public key of models is.
        folder: of a model and version its verified files; a text: why there are none.
        seen, as_of: as `model.evidence` takes them.

    Raises:
        BatonError: the flow had committed nothing until then, or the ledger is broken or names a commit that is gone.
    """
    at = ledger.checkpoint()
    made = Dossier(from_ledger.named(f"flow:{flow}", as_of), missing=NEVER | _NOT_YET)
    with warehouse.read() as conn:
        size = from_ledger.size_of(conn, at, as_of)
        newest = conn.execute(sa.select(tables.ledger.c.at).where(tables.ledger.c.seq == at.size)).scalar_one()
        wiring = asof.of_flow(conn, flow, as_of or newest)
        entries = _committed(conn, flow, size)
        partitions = _published(conn, flow, entries)
        versions = list(_versions(conn, flow, as_of))
        models = versions_of(conn, made, [(row["model"], row["version"]) for row in versions], size, as_of)
        from_ledger.add(conn, made, merged(entries, models), at, seen, as_of)
        from_ledger.add_lineage(conn, made, merged(entries, models))
        contracts = list(_contracts(conn, flow, as_of))
    made.files |= {
        "flow.json": document(wiring), "partitions.jsonl": written(partitions), "versions.jsonl": written(versions),
        "contracts.jsonl": written(contracts),
    }  # fmt: skip
    made.from_ledger = [("partitions.jsonl", _COMMITTED, ("commit", "rows", "sha256", "models")), *made.from_ledger]
    made.asserted += [
        f"flow.json, contracts.jsonl: stages, digests and {len(contracts)} results of contracts, as the warehouse has them",
        "partitions.jsonl: routes, and `now`: the hash since an erasure wrote the rows anew",
        "versions.jsonl: how many partitions each version is on record for",
    ]
    made.files["keys.json"] = keys(keys_dir if manifests(made, versions, folder) else None)
    return seal(made, at)


def _committed(conn: Connection, flow: str, size: int) -> list[dict[str, Any]]:
    """Entries about what a flow published, of the first so many of the ledger."""
    c = tables.heads.c
    there = sa.select(c.partition).where(c.flow == flow, c.stage == PUBLISH, c.map_index == -1)
    subjects = [f"{flow}/{PUBLISH}/{one}" for one in conn.execute(there).scalars()]
    return from_ledger.about(conn, subjects, size, [_COMMITTED])


def _published(conn: Connection, flow: str, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The newest result of each partition by its entries (in order), a row a partition in the order of their first ones.

    By entries, not by the time of commits: that is of before their transaction, and more may be committed while this is read.
    """
    newest = {one["subject"]: json.loads(one["payload"]) for one in entries}
    c = tables.commits.c
    query = sa.select(*(c[name] for name in ("id", "partition", "ref", "facts", "models", "created_at")))
    there = {row.id: row for row in warehouse.among(conn, query, c.id, [said["commit"] for said in newest.values()])}
    if gone := [str(said["commit"]) for said in newest.values() if said["commit"] not in there]:
        raise BatonError(
            f"commits {', '.join(gone[:3])} of {flow} are on the ledger and not in the table `commits`: `baton verify` says more"
        )
    return [_row(there[said["commit"]], subject, said) for subject, said in newest.items()]


def _row(commit: Any, subject: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Rows and hash as they were committed: an erasure writes the rows anew, and says so on the ledger."""
    ref = commit.ref
    row = {"subject": subject, "partition": commit.partition, "commit": commit.id, "rows": ref["rows"], "sha256": ref["content_sha256"],
           "models": commit.models, "routes": commit.facts.get("routes"), "created_at": commit.created_at}  # fmt: skip
    if said["sha256"] != row["sha256"]:
        row |= {"sha256": said["sha256"], "rows": said["rows"], "now": ref["content_sha256"]}
    return row


def _versions(conn: Connection, flow: str, until: str) -> Iterator[dict[str, Any]]:
    c = tables.partition_models.c
    first, last, many = sa.func.min(c.partition), sa.func.max(c.partition), sa.func.count()
    query = sa.select(c.model, c.version, first.label("first"), last.label("last"), many.label("partitions"))
    query = query.where(c.flow == flow, c.recorded_at <= until if until else sa.true())
    for row in conn.execute(query.group_by(c.model, c.version).order_by(c.model, c.version)).mappings():
        yield dict(row)


def _contracts(conn: Connection, flow: str, until: str) -> Iterator[dict[str, Any]]:
    c = tables.commits.c
    names = ("id", "flow", "stage", "partition", "facts", "created_at")
    query = sa.select(*(c[name] for name in names)).where(c.flow == flow, rows.of_contract())
    query = query.where(c.created_at <= until) if until else query
    for row in conn.execute(query.order_by(c.id).execution_options(yield_per=500)).mappings():
        yield rows.contract(dict(row))


# --- what packs say of the versions that were used ---


def versions_of(
    conn: Connection, made: Dossier, versions: list[tuple[str, int]], size: int, until: str
) -> list[dict[str, Any]]:
    """Add gate and answer of versions to a pack; returns the ledger's entries about them."""
    gate = [row for model, version in versions for row in rows.judged(conn, model, version, until)]
    answers = [row for model, version in versions for row in rows.answered(conn, model, version, until)]
    made.files |= {"gate.jsonl": written(gate), "approvals.jsonl": written(answers)}
    made.from_ledger = [
        ("gate.jsonl", "gate_verdict", ("decision", "reasons", "champion")),
        ("approvals.jsonl", "approval", ("answer", "reviewer", "channel")),
    ]
    made.asserted.append("gate.jsonl: figures beside the fields that the ledger has")
    return merged(*(from_ledger.about_version(conn, model, version, size) for model, version in versions))


def merged(*lists: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of several lists, each once, in their order."""
    return [one for _, one in sorted({one["seq"]: one for found in lists for one in found}.items())]


def manifests(made: Dossier, versions: list[dict[str, Any]], folder: Folder) -> bool:
    """Add the signed manifests of versions, or why they are missing; whether there are any."""
    found = {(row["model"], row["version"]): folder(row["model"], row["version"]) for row in versions}
    for (model, version), place in found.items():
        if isinstance(place, str):
            made.missing[f"models: signed manifest of {model} version {version}"] = place
        else:
            made.files |= signed(place, f"models/{model.lower()}-{version}")
    return any(isinstance(place, Path) for place in found.values())
