"""Evidence about a model version, out of warehouse, ledger and registry.

Of people there are only the names of those who answered for the version; of entities nothing: counts and digests.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.errors import BatonError
from baton.evidence import from_ledger, verifier
from baton.evidence.annex import annex_iv
from baton.evidence.pack import Dossier, document, seal, written
from baton.keys import public_pem, signing_key
from baton.names import CONTRACT, contract_behind, ingest_of, score_of
from baton.record import anchor, ledger, tables, warehouse
from baton.record.checkpoint import KEY
from baton.settings import SINGLE, settings

_SIGNED = ("manifest.json", "manifest.sig")
_CARD = "model_card.md"
# no `dropped_columns`: where a header lacks, names of columns are values
_FACTS = ("contract", "status", "rows_in", "rows_good", "broken_by")
_NOT_YET = {
    "usage: calls, tokens and cost": "not recorded with a commit; usage.jsonl has partitions and rows",
    "lineage: OpenLineage events": "Baton writes none yet; digests of what was read and written are in usage.jsonl",
    "who read what": "reading is not recorded",
    "completeness": "a proof shows that an entry is in the ledger, not that the pack has all about the model; who may read the "
    "ledger compares with `baton ledger show`",
    "truth": "that what was recorded is so; a signature shows who said it, and a proof that it was not changed since",
    "time": "entries carry the clock of the installation; only a witness adds another one's",
    "drift: tables of single features": "they may hold values of entities; the pages stay in the installation",
}


def evidence(model: str, version: int, keys_dir: Path, folder: Path | str, seen: str = "") -> bytes:
    """The pack of a model version; the same bytes as long as the ledger and what is on record stay the same.

    Args:
        keys_dir: where the public key of models is.
        folder: the verified files of the version; a text: why there are none.
        seen: a checkpoint that the reader kept: the pack shows that the ledger continues it.

    Raises:
        BatonError: nothing on record is about such a version, or the ledger is broken.
    """
    at = ledger.checkpoint()
    made = Dossier(f"model:{model}@{version}", missing=dict(_NOT_YET))
    if settings().governance == SINGLE:
        made.missing["governance: four eyes"] = "this installation says `governance: single`: one person agrees alone"
    with warehouse.read() as conn:
        entries = from_ledger.about_model(conn, model, version, at.size)
        made.files |= from_ledger.proven(conn, entries, at)
        if seen:
            path = [one.hex() for one in from_ledger.continuing(conn, seen, at)]
            made.files[verifier.SEEN] = document({"checkpoint": seen, "path": path})
        rows = {
            "gate.jsonl": list(_judged(conn, model, version)),
            "approvals.jsonl": list(_answered(conn, model, version)),
            "drift.jsonl": list(_windows(conn, model, version)),
            "usage.jsonl": list(_commits(conn, model, version, (score_of(model),), _usage)),
            "contracts.jsonl": list(_commits(conn, model, version, None, _contract)),
        }
    if not any(rows.values()) and not any(one["subject"] == f"{model}/{version}" for one in entries):
        raise BatonError(f"{model} version {version}: nothing on record is about it; `baton status` lists the models")
    made.files |= {name: written(found) for name, found in rows.items()}
    made.from_ledger = [
        ("gate.jsonl", "gate_verdict", ("decision", "reasons", "champion")),
        ("approvals.jsonl", "approval", ("answer", "reviewer", "channel")),
        ("drift.jsonl", "window_judged", ("version", "verdict", "features")),
    ]
    made.asserted = [
        f"usage.jsonl: {len(rows['usage.jsonl'])} partitions were scored with it",
        f"contracts.jsonl: {len(rows['contracts.jsonl'])} results of contracts on the rows that it scored",
        "gate.jsonl, drift.jsonl: figures beside the fields that the ledger has",
    ]
    keys = {KEY: public_pem(signing_key(anchor.folder(), KEY).public_key()).decode()}
    keys |= _files(made, keys_dir, folder)
    made.files["keys.json"] = document(keys)
    made.files["annex_iv.md"] = annex_iv(made, {name: len(found) for name, found in rows.items()}).encode()
    return seal(made, at)


def _files(made: Dossier, keys_dir: Path, folder: Path | str) -> dict[str, str]:
    """Add what of the version's files goes into the pack; returns the key that signed them."""
    if isinstance(folder, str):
        made.missing["model: signed manifest and card"] = folder
        return {}
    for name in _SIGNED:
        made.files[f"model/{name}"] = (folder / name).read_bytes()
    if (card := folder / _CARD).is_file():
        made.files["card.md"] = card.read_bytes()
        made.asserted.append("card.md: what it says of the model; the manifest has its digest")
    made.missing["model: its own files"] = (
        "they may hold what it learnt from rows; the signed manifest has their digests"
    )
    return {"models": (keys_dir / "signing.pub").read_text(encoding="ascii")}


def _judged(conn: Connection, model: str, version: int) -> Iterator[dict[str, Any]]:
    table = tables.approvals
    query = sa.select(table.c.verdict, table.c.judged_at).where(table.c.model == model, table.c.version == version)
    for row in conn.execute(query):
        champion = row.verdict.get("champion_version")
        yield {**row.verdict, "subject": f"{model}/{version}", "judged_at": row.judged_at, "champion": champion}


def _answered(conn: Connection, model: str, version: int) -> Iterator[dict[str, Any]]:
    table = tables.approvals
    columns = [table.c[name] for name in ("answer", "reviewer", "channel", "answered_at")]
    query = sa.select(*columns).where(table.c.model == model, table.c.version == version, table.c.answer.is_not(None))
    for row in conn.execute(query).mappings():
        yield {**row, "subject": f"{model}/{version}"}


def _windows(conn: Connection, model: str, version: int) -> Iterator[dict[str, Any]]:
    table = tables.drift_windows
    names = ("partition", "flow", "version", "verdict", "window", "features", "performance", "judged_at")
    query = sa.select(*(table.c[name] for name in names)).where(table.c.model == model, table.c.version == version)
    for row in conn.execute(query.order_by(table.c.partition)).mappings():
        window = row["window"]
        judged = ("drifted" if window["drifted"] else "stable") if window["status"] == "judged" else window["status"]
        yield {
            "subject": f"{model}/{row['partition']}", "flow": row["flow"], "version": row["version"], "verdict": judged,
            "now": row["verdict"], "features": row["features"], "rows": window.get("rows"),
            "performance": row["performance"] or None, "judged_at": row["judged_at"],
        }  # fmt: skip


def _commits(
    conn: Connection, model: str, version: int, stages: tuple[str, ...] | None, shown: Any
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Commits in the partitions that the version is on record for; only of the versions that used it."""
    c, used = tables.commits.c, tables.partition_models.c
    names = ("id", "flow", "stage", "partition", "ref", "facts", "models", "created_at")
    of_contract = sa.or_(c.stage == CONTRACT, c.stage.startswith(contract_behind(ingest_of("")), autoescape=True))
    query = (
        sa.select(*(c[name] for name in names))
        .join(tables.partition_models, sa.and_(used.flow == c.flow, used.partition == c.partition))
        .where(used.model == model, used.version == version, c.stage.in_(stages) if stages else of_contract)
        .order_by(c.id)
    )
    for row in conn.execute(query.execution_options(yield_per=500)).mappings():
        yield shown(row, model)


def _usage(row: Mapping[str, Any], model: str) -> dict[str, Any]:
    about = {name: row[name] for name in ("flow", "partition", "created_at")}
    ref, version = row["ref"] or {}, row["models"].get(model)
    return {
        **about,
        "commit": row["id"],
        "version": version,
        "rows": ref.get("rows"),
        "sha256": ref.get("content_sha256"),
    }


def _contract(row: Mapping[str, Any], model: str) -> dict[str, Any]:
    about = {name: row[name] for name in ("flow", "stage", "partition", "created_at")}
    return {**about, "commit": row["id"]} | {name: row["facts"][name] for name in _FACTS if name in row["facts"]}
