"""Evidence about a model version, out of warehouse, ledger and registry.

Of people there are only the names of those who answered for the version; of entities nothing: counts and digests.
"""

from pathlib import Path

from baton.errors import BatonError
from baton.evidence import from_ledger, rows
from baton.evidence.annex import annex_iv
from baton.evidence.pack import NEVER, Dossier, keys, seal, signed, written
from baton.names import score_of
from baton.record import ledger, warehouse

_CARD = "model_card.md"
_NOT_YET = {
    "approvals: votes and permits of the version": "Baton asks one person about a model, as approvals.jsonl has it, and "
    "issues permits for effects only",
    "usage: calls, tokens and cost": "in the table `usage`, not in the pack yet; usage.jsonl has partitions and rows",
    "drift: tables of single features": "they may hold values of entities; the pages stay in the installation",
}


def evidence(
    model: str, version: int, keys_dir: Path, folder: Path | str, seen: str = "", as_of: str = ""
) -> bytes:  # fmt: skip
    """The pack of a model version; the same bytes as long as the ledger and what is on record stay the same.

    Args:
        keys_dir: where the public key of models is.
        folder: the verified files of the version; a text: why there are none.
        seen: a checkpoint that the reader kept: the pack shows that the ledger continues it.
        as_of: leave out what is of later (`record.asof.moment`).

    Raises:
        BatonError: nothing on record is about such a version, or the ledger is broken.
    """
    at = ledger.checkpoint()
    made = Dossier(from_ledger.named(f"model:{model}@{version}", as_of), missing=NEVER | _NOT_YET)
    with warehouse.read() as conn:
        entries = from_ledger.about_model(conn, model, version, from_ledger.size_of(conn, at, as_of))
        from_ledger.add(conn, made, entries, at, seen, as_of)
        from_ledger.add_lineage(conn, made, entries)
        found = {
            "gate.jsonl": list(rows.judged(conn, model, version, as_of)),
            "approvals.jsonl": list(rows.answered(conn, model, version, as_of)),
            "drift.jsonl": list(rows.windows(conn, model, version, as_of)),
            "usage.jsonl": list(rows.made_with(conn, model, version, (score_of(model),), rows.usage, as_of)),
            "contracts.jsonl": list(rows.made_with(conn, model, version, None, rows.contract, as_of)),
        }
    if not any(found.values()) and not any(one["subject"] == f"{model}/{version}" for one in entries):
        raise BatonError(f"{model} version {version}: nothing on record is about it; `baton status` lists the models")
    made.files |= {name: written(some) for name, some in found.items()}
    made.from_ledger = [
        ("gate.jsonl", "gate_verdict", ("decision", "reasons", "champion")),
        ("approvals.jsonl", "approval", ("answer", "reviewer", "channel")),
        ("drift.jsonl", "window_judged", ("version", "verdict", "features")),
    ]
    made.asserted += [
        f"usage.jsonl: {len(found['usage.jsonl'])} partitions were scored with it",
        f"contracts.jsonl: {len(found['contracts.jsonl'])} results of contracts on the rows that it scored",
        "gate.jsonl, drift.jsonl: figures beside the fields that the ledger has",
    ]
    made.files["keys.json"] = keys(keys_dir if _files(made, folder) else None)
    made.files["annex_iv.md"] = annex_iv(made, {name: len(some) for name, some in found.items()}).encode()
    return seal(made, at)


def _files(made: Dossier, folder: Path | str) -> bool:
    """Add what of the version's files goes into the pack; whether there are any."""
    if isinstance(folder, str):
        made.missing["model: signed manifest and card"] = folder
        return False
    made.files |= signed(folder, "model")
    if (card := folder / _CARD).is_file():
        made.files["card.md"] = card.read_bytes()
        made.asserted.append("card.md: what it says of the model; the manifest has its digest")
    made.missing["model: its own files"] = (
        "they may hold what it learnt from rows; the signed manifest has their digests"
    )
    return True
