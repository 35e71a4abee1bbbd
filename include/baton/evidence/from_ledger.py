"""Entries of the ledger with the proofs that they are in it."""

import base64
import json
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.errors import BatonError
from baton.evidence import verifier
from baton.evidence.pack import Dossier, document, written
from baton.evidence.proofs import Unproven, head, included, root_of
from baton.keys import signing_key
from baton.lineage.events import lines, of_entries
from baton.record import anchor, asof, tree, warehouse
from baton.record.checkpoint import KEY, Checkpoint
from baton.record.tables import ledger

_FIELDS = ("seq", "at", "kind", "subject", "payload", "prev", "hash")


def named(about: str, as_of: str) -> str:
    """What a pack is about, with the moment if it leaves out what is of later."""
    return f"{about} as of {as_of}" if as_of else about


def size_of(conn: Connection, at: Checkpoint, as_of: str) -> int:
    """How many entries there were at a moment; without one, those of the checkpoint."""
    return min(asof.entries_until(conn, as_of), at.size) if as_of else at.size


def add(
    conn: Connection, made: Dossier, entries: Sequence[dict[str, Any]], at: Checkpoint, seen: str, as_of: str
) -> None:
    """Add the files `ledger/` to a pack, and what of a moment it cannot say.

    Args:
        seen: a checkpoint that the reader kept; empty: none.

    Raises:
        BatonError: as `proven` and `continuing`.
    """
    made.files |= proven(conn, entries, at)
    if seen:
        path = [one.hex() for one in continuing(conn, seen, at)]
        made.files[verifier.SEEN] = document({"checkpoint": seen, "path": path})
    if as_of:
        made.missing["as of: rows that were changed later"] = (
            "of what changed later (a verdict, an answer, a case, an effect, a request, a quarantined row) the pack has the ledger's "
            "entry of that time alone; `now` in drift.jsonl "
            "is of today, and so is the checkpoint"
        )


def add_lineage(conn: Connection, made: Dossier, entries: Sequence[dict[str, Any]]) -> None:
    """Add what these entries are as OpenLineage events."""
    events = list(chain(*of_entries(conn, [one for one in entries if "payload" in one])))
    made.files["lineage.jsonl"] = lines(events).encode()
    made.asserted.append(f"lineage.jsonl: {len(events)} OpenLineage events, made of entries and commits")


def about(conn: Connection, subjects: Iterable[str], size: int, kinds: Collection[str] = ()) -> list[dict[str, Any]]:
    """Entries about exactly these subjects, in their order.

    Args:
        size: only of the first so many entries.
        kinds: only of these; empty: all.
    """
    query = sa.select(*(ledger.c[name] for name in _FIELDS)).where(ledger.c.seq <= size)
    rows = warehouse.among(conn, query, ledger.c.subject, list(dict.fromkeys(subjects)))
    found = [dict(row._mapping) for row in rows]
    return sorted((one for one in found if not kinds or one["kind"] in kinds), key=lambda one: int(one["seq"]))


def about_version(conn: Connection, model: str, version: int, size: int) -> list[dict[str, Any]]:
    """Entries about a version itself, and the moves of the champion to and from it."""
    found = about(conn, [f"{model}/{version}", model], size)
    return [
        one
        for one in found
        if one["subject"] != model or (one["kind"] == "alias_moved" and _concerns(one, model, version))
    ]


def about_model(conn: Connection, model: str, version: int, size: int) -> list[dict[str, Any]]:
    """Entries about a model version, and those about the model that name no other version; in their order.

    Args:
        size: only of the first so many entries.
    """
    c = ledger.c
    subject = sa.or_(c.subject == model, c.subject.startswith(f"{model}/", autoescape=True))
    query = sa.select(*(c[name] for name in _FIELDS)).where(subject, c.seq <= size).order_by(c.seq)
    return [dict(row) for row in conn.execute(query).mappings() if _concerns(row, model, version)]


def _concerns(row: Any, model: str, version: int) -> bool:
    rest = row["subject"].removeprefix(model).removeprefix("/")
    if rest.isdigit():
        return int(rest) == version
    payload = json.loads(row["payload"])
    named = {payload.get(one) for one in ("version", "before") if payload.get(one) is not None}
    return not named or version in named


def proven(conn: Connection, entries: Sequence[dict[str, Any]], at: Checkpoint) -> dict[str, bytes]:
    """The files `ledger/`: checkpoint, entries, and the nodes by which those that are not withheld lead to its root.

    Raises:
        BatonError: what is kept of the tree was changed.
    """
    leaves = {one["seq"] - 1: bytes.fromhex(one["hash"]) for one in entries if set(one) != verifier.WITHHELD}
    kept, order, nodes = tree.kept(conn), list(leaves), dict[str, str]()

    def cover(first: int, end: int) -> None:
        if bisect_left(order, first) == bisect_left(order, end):
            nodes[f"{first}-{end}"] = kept.range(first, end).hex()
        elif end - first > 1:
            middle = first + tree.split(end - first)
            cover(first, middle)
            cover(middle, end)

    cover(0, at.size)
    _require(root_of(at.size, leaves, nodes) == at.root)
    made = {verifier.CHECKPOINT: at.note.encode(), verifier.ENTRIES: written(entries)}
    return made | {verifier.PROOF: document(nodes)}


def _require(proves: bool) -> None:
    if not proves:
        raise BatonError(
            "the entries do not lead to the root that was just signed: the ledger or its table ledger_tree was changed. "
            "`baton ledger verify` says which: if the ledger is whole, delete `ledger/checkpoint` and the table is made anew"
        )


def continuing(conn: Connection, note: str, at: Checkpoint) -> list[bytes]:
    """Proof that the ledger continues a checkpoint that somebody kept.

    Raises:
        BatonError: it is none of this ledger, is newer, or the ledger was rewritten since.
    """
    key = signing_key(anchor.folder(), KEY).public_key().public_bytes_raw()
    try:
        size, root = head(note, key)
    except Unproven as refusal:
        raise BatonError(f"not a checkpoint of this ledger: {refusal}") from None
    kept = tree.kept(conn)
    if size > at.size or kept.root(size) != root:
        raise BatonError(
            f"the ledger does not continue the checkpoint of {size} entries, which it signed: it was rewritten or put back; "
            "`baton ledger verify` says where"
        )
    return kept.consistency(size, at.size)


def inclusion(conn: Connection, number: int, at: Checkpoint) -> str:
    """Proof of one entry (counted from 1), in the form c2sp.org/tlog-proof.

    Raises:
        BatonError: there is no such entry, or what is kept of the tree was changed.
    """
    if not 0 < number <= at.size:
        raise BatonError(f"there is no entry {number}: the ledger has {at.size}")
    path = tree.kept(conn).inclusion(number - 1, at.size)
    entry = conn.execute(sa.select(ledger.c.hash).where(ledger.c.seq == number)).scalar_one()
    _require(included(number - 1, at.size, tree.leaf(bytes.fromhex(entry)), path, at.root))
    lines = ["c2sp.org/tlog-proof@v1", f"index {number - 1}", *(base64.b64encode(one).decode() for one in path)]
    return "\n".join(lines) + f"\n\n{at.note}"
