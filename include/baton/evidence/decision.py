"""Evidence about one decision: what it was made of and by whom it was agreed to, without the data of whom it is about.

What a contract calls not personal is shown, and numbers of columns that nobody marked, but never its key; every other value, key,
address and free text is a digest: HMAC-SHA-256 under a salt of the entity's own, which is in the warehouse only and goes when the
entity is erased. Whoever knows salt and value can show that a digest is of it; nobody else can tell, also not by trying all values.
People who answered are named, as the ledger has them.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.errors import BatonError
from baton.evidence import flow as about_flow
from baton.evidence import from_ledger, rows, verifier
from baton.evidence.pack import NEVER, Dossier, document, keys, seal, written
from baton.jsontext import to_json
from baton.published import keyed
from baton.published.rows import DECISIONS, PREDICTIONS, Kind, in_force
from baton.record import ledger, tables, warehouse

# columns with an effect's key -> the name that its digest is made under
_EFFECT = {"key": "effect", "used_by": "effect"}
# times that are filled in later -> what is filled in with them
_FILLED = {"sent_at": (), "undone_at": (), "used_at": ("used_by",), "void_at": ("void_why",)}
_LONGEST = 64  # characters of a text that is shown; what is longer is a digest, whatever its contract calls it
_SHOWN = (*verifier.PUBLISHED, "contract_verdict")  # of entries about the partition; they name nobody
_NOT_YET = {
    "duty audit": "the command asks for it, of whom the account that typed is; nothing here proves that it was asked, since whoever "
    "has that account could write the same pack without the command",
    "values": "personal and free ones are digests, salted per entity; the salt stays in the warehouse and goes with the person",
    "proof of the published row": "decision.json has the hash of the row group that holds it, checked against the store when the "
    "pack was written; the group itself has other entities' rows. Who may read the store compares its bytes with the hash",
    "entries that name the entity": "by place and kind; whoever may read the ledger looks there with `baton ledger show`. What is beside one "
    "that is shown, or newest, has its hash here, as its `prev` or in ledger/proof.json: a guess at all of its content can be tried by that, "
    "also after an erasure",
    "reasons in words": "they are made from figures that scores.jsonl has, and may quote the row",
    "the system that was asked or told": "its own records",
}


@dataclass(frozen=True)
class Basis:
    """What a decision rests on, as the walk over the commits finds it.

    Attributes:
        decision: the published decision; None: the entity was only scored.
        scores: its published predictions.
        published: the commit that published it.
        checked: commits of contracts, nearest first, each with the entity's row in it (None: not there).
        sources: commits of deliveries.
    """

    flow: str
    entity: str
    partition: str
    decision: Mapping[str, Any] | None
    scores: Sequence[Mapping[str, Any]]
    published: Mapping[str, Any]
    checked: Sequence[tuple[Mapping[str, Any], Mapping[str, Any] | None]] = ()
    sources: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class _Mask:
    salt: bytes = field(repr=False)

    def __call__(self, name: str, value: Any) -> str | None:
        """The salted digest of a value of that name; None stays None."""
        if value is None:
            return None
        text = f"{name}\0{value if isinstance(value, str) else to_json(value)}"
        return hmac.new(self.salt, text.encode(), hashlib.sha256).hexdigest()

    def cell(self, name: str, value: Any, contract: Mapping[str, Any]) -> dict[str, Any]:
        """A cell: its value where the contract calls it not personal, else its digest; of a column that nobody marked numbers only."""
        plain = value.item() if hasattr(value, "item") else value
        if plain is None or plain != plain or type(plain).__name__ in ("NaTType", "NAType"):
            return {"value": None}
        number, pii = isinstance(plain, (bool, int, float)), contract["columns"][name]["pii"]
        shown = pii in ("none", None) if number else pii == "none" and len(str(plain)) <= _LONGEST
        if shown and name not in contract["key"]:  # the key says who it is
            return {"value": plain if number else str(plain)}
        return {"digest": self(name, str(plain))}


def evidence(given: Basis, keys_dir: Path, folder: about_flow.Folder, seen: str = "", as_of: str = "") -> bytes:
    """The pack of the decision in force; the same bytes as long as the ledger and what is on record stay the same.

    Args:
        keys_dir, folder: as `flow.evidence` takes them.
        seen, as_of: as `model.evidence` takes them.

    Raises:
        BatonError: the decision was published after `as_of`, or the ledger is broken.
        DatasetCorrupt: the published row is not as it was written.
    """
    made_at, flow, partition = given.published["created_at"], given.flow, given.partition
    if as_of and made_at > as_of:
        raise BatonError(
            f"the decision in force was published at {made_at} (commit {given.published['id']}), after {as_of}: what was in force "
            f"then is not kept by entity; `baton evidence flow:{flow} --as-of` has the commits of that time"
        )
    mask = _Mask(bytes.fromhex(_salt(flow, given.entity, partition)))
    who = mask("entity", given.entity) or ""
    at = ledger.checkpoint()
    made = Dossier(from_ledger.named(f"decision:{flow}@{partition}#{who[:16]}", as_of), missing=NEVER | _NOT_YET)
    versions = {(str(one["model"]), int(one["version"])) for one in given.scores if int(one["version"])}
    with warehouse.read() as conn:
        size = from_ledger.size_of(conn, at, as_of)
        models = about_flow.versions_of(conn, made, sorted(versions), size, as_of)
        entries = about_flow.merged(_entries(conn, given, size), models, *_judged(conn, given, versions, size))
        from_ledger.add(conn, made, entries, at, seen, as_of)
        from_ledger.add_lineage(conn, made, entries)
        found = {
            "scores.jsonl": [_score(one, mask, given) for one in given.scores],
            "contracts.jsonl": [rows.contract(commit) for commit, _ in given.checked],
            "sources.jsonl": [_source(one, mask) for one in given.sources],
            "drift.jsonl": [row for one in sorted(versions) for row in rows.windows(conn, *one, as_of, partition)],
            **_people(conn, given, mask, as_of),
            **_effects(conn, given, mask, as_of),
        }
    made.files |= {name: written(some) for name, some in found.items()}
    made.files["decision.json"] = document(_decision(given, mask, who, _told(given, entries)))
    made.from_ledger += (
        [("drift.jsonl", "window_judged", ("version", "verdict", "features"))] if found["drift.jsonl"] else []
    )
    made.asserted += [f"{name}: {len(some)}" for name, some in sorted(found.items()) if some and name != "drift.jsonl"]
    made.asserted.append("decision.json: the published row, masked, and that it is in the row group")
    used = [{"model": model, "version": version} for model, version in sorted(versions)]
    made.files["keys.json"] = keys(keys_dir if about_flow.manifests(made, used, folder) else None)
    return seal(made, at)


def _salt(flow: str, entity: str, partition: str) -> str:
    """The entity's salt, made on first use; it goes with the person, or with the partition's predictions."""

    def work(conn: Connection) -> str:
        c = tables.evidence_salts.c
        row = {
            "flow": flow,
            "entity_key": entity,
            "partition": partition,
            "salt": secrets.token_hex(32),
            "at": warehouse.now(),
        }
        warehouse.upsert(conn, tables.evidence_salts, [row], update=["partition"])
        return str(conn.execute(sa.select(c.salt).where(c.flow == flow, c.entity_key == entity)).scalar_one())

    return warehouse.transact(work)


def _entries(conn: Connection, given: Basis, size: int) -> list[dict[str, Any]]:
    """Entries about the commits and the partition; those that name the entity, or may, by place and kind."""
    commits = [given.published, *(commit for commit, _ in given.checked), *given.sources]
    subjects = {_slot(one) for one in commits}
    flows = {(one["flow"], one["partition"]) for one in commits}
    found = from_ledger.about(conn, subjects, size, ["dataset_committed"])
    found += from_ledger.about(conn, [f"{flow}/{partition}" for flow, partition in sorted(flows)], size, _SHOWN)
    named = [f"{given.flow}/{given.entity}", f"{given.flow}/{given.partition}/{given.entity}"]
    hidden = [{name: one[name] for name in ("seq", "kind")} for one in from_ledger.about(conn, sorted(named), size)]
    return about_flow.merged(found, hidden)


def _judged(
    conn: Connection, given: Basis, versions: set[tuple[str, int]], size: int
) -> Iterator[list[dict[str, Any]]]:
    """Entries about how the partition was judged for these versions, and for no other."""
    for model, version in sorted(versions):
        found = from_ledger.about(conn, [f"{model}/{given.partition}"], size, ["window_judged"])
        yield [one for one in found if json.loads(one["payload"]).get("version") == version]


def _slot(commit: Mapping[str, Any]) -> str:
    mapped = "" if commit["map_index"] < 0 else f"[{commit['map_index']}]"
    return f"{commit['flow']}/{commit['stage']}{mapped}/{commit['partition']}"


def _told(given: Basis, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the ledger was told when the decision was published; nothing of an entry that the pack has not."""
    said = (json.loads(one["payload"]) for one in entries if one["kind"] in verifier.PUBLISHED and "payload" in one)
    return next((one for one in said if one.get("commit") == given.published["id"]), {})


def _decision(given: Basis, mask: _Mask, who: str, told: Mapping[str, Any]) -> dict[str, Any]:
    said = given.decision or {}
    row = next(((commit, cells) for commit, cells in given.checked if cells is not None), None)
    # a column that no contract names has a header that may be a value
    contract = row[0]["params"]["state"]["contract"] if row else {"columns": {}}
    made = given.published
    return {
        "flow": given.flow, "partition": given.partition, "entity": who,
        "decision": {name: said.get(name) for name in ("route", "risk", "money", "models", "decided_at")} if said else None,
        "commit": {name: made[name] for name in ("id", "created_at", "digest", "code", "run_id")}
        | {"rows": made["ref"]["rows"], "sha256": made["ref"]["content_sha256"]},
        "published": {kind: _groups(given, kind, told) for kind in (DECISIONS, PREDICTIONS)},
        "row": {name: mask.cell(name, value, contract) for name, value in sorted(row[1].items()) if name in contract["columns"]}
        if row and row[1] else {},
    }  # fmt: skip


def _groups(given: Basis, kind: Kind, told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The row groups that what is published of the entity was read from, verified by their hashes: number, rows, bytes and SHA-256.

    Where the ledger was told of just this dataset, also what leads from a group to the root that it has: `index` and `path`.
    """
    there = in_force(given.flow, given.partition)
    ref = there.ref(kind) if there is not None else None
    if ref is None:
        return []
    groups, found = list(keyed.row_groups(ref)), []
    # else it was published before the ledger was told, or written anew by an erasure
    same = kind in told.get("row_groups", {}) and told["datasets"][kind] == ref.content_sha256
    tree = keyed.tree_of(one for *_, one in groups) if same else None
    for index, (number, part, place, group) in enumerate(groups):
        if not group.first <= given.entity <= group.last:
            continue
        said: dict[str, Any] = {"dataset_sha256": ref.content_sha256, "rows": ref.rows, "part": number, "part_sha256": part.sha256, "group": place,
                "group_rows": group.rows, "group_bytes": group.bytes, "group_sha256": group.sha256}  # fmt: skip
        if tree is not None:
            said |= {"index": index, "path": [one.hex() for one in tree.inclusion(index, len(groups))]}
        found.append(said)
    return found


def _score(one: Mapping[str, Any], mask: _Mask, given: Basis) -> dict[str, Any]:
    """A prediction; of what contributed the names of columns, and of words their digest."""
    columns = {name for commit, _ in given.checked for name in commit["params"]["state"]["contract"]["columns"]}
    why = [[name if name in columns else mask("reason", str(name)), value] for name, value in one["reasons"] or []]
    names = ("model", "version", "score", "category", "accepted", "quantiles", "scored_at", "commit_id")
    return {**{name: one.get(name) for name in names}, "reasons": why}


def _source(commit: Mapping[str, Any], mask: _Mask) -> dict[str, Any]:
    facts = commit["facts"]
    said = {name: commit[name] for name in ("flow", "stage", "partition", "created_at")} | {"commit": commit["id"]}
    known = {name: facts.get(name) for name in ("source_sha256", "format", "rows_in")}
    return {**said, **known, "uri": mask("uri", facts.get("uri")), "sha256": commit["ref"]["content_sha256"]}


# --- people and effects ---


def _rows(conn: Connection, table: sa.Table, until: str, time: str, **where: Any) -> Iterator[dict[str, Any]]:
    conditions = [
        table.c[name].in_(value) if isinstance(value, list) else table.c[name] == value for name, value in where.items()
    ]
    query = sa.select(table).where(*conditions, table.c[time] <= until if until else sa.true())
    yield from map(dict, conn.execute(query.order_by(table.c[time], *table.primary_key)).mappings())


def _shown(
    found: Iterator[dict[str, Any]], mask: _Mask, names: str, hidden: str
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows with some columns as they are, and some as their digests; an effect's key has the same one wherever it stands."""
    return [
        {name: _to_the_second(name, row[name]) for name in names.split()}
        | {name: mask(_EFFECT.get(name, name), row[name]) for name in hidden.split()}
        for row in found
    ]


def _until(row: dict[str, Any], until: str) -> dict[str, Any]:
    """A row without what was filled in after the moment."""
    later = [name for name in _FILLED if until and (row.get(name) or "") > until]
    return row | {one: None for name in later for one in (name, *_FILLED[name])}


def _to_the_second(name: str, value: Any) -> Any:
    """Of a time its seconds: to the microsecond it would be a help to guess a withheld entry by."""
    return f"{value[:19]}Z" if value and (name == "at" or name.endswith(("_at", "_seen"))) else value


def _people(conn: Connection, given: Basis, mask: _Mask, until: str) -> dict[str, list[dict[str, Any]]]:
    who = {"flow": given.flow, "entity_key": given.entity}
    cases = _rows(conn, tables.cases, until, "updated_at", **who)
    labels, changes = (
        _rows(conn, tables.labels, until, "known_at", **who),
        _rows(conn, tables.adjustments, until, "at", **who),
    )
    broken = _rows(conn, tables.quarantine, until, "updated_at", **who)
    return {
        "answers.jsonl": _shown(cases, mask, "partition route queue status resolution actor opened_at updated_at", "note text"),
        "changes.jsonl": _shown(changes, mask, "partition field actor at", "proposed decided reason"),
        "labels.jsonl": _shown(labels, mask, "partition target origin label category rank actor known_at", ""),
        "quarantine.jsonl": _shown(broken, mask, "partition rule column status actor first_seen updated_at", "value reason"),
    }  # fmt: skip


def _effects(conn: Connection, given: Basis, mask: _Mask, until: str) -> dict[str, list[dict[str, Any]]]:
    """What was done outside because of the decision; addresses, payloads and keys as digests, by which the files refer to each other."""
    who = {"flow": given.flow, "entity_key": given.entity}
    placed = list(_rows(conn, tables.outbox, until, "created_at", **who))
    asked = list(_rows(conn, tables.requests, until, "opened_at", **who))
    given_by = _rows(conn, tables.votes, until, "at", request=[one["id"] for one in asked])
    allowed = _rows(conn, tables.permits, until, "issued_at", effect=[one["key"] for one in placed])
    placed, asked = ([one for one in some if not until or one["updated_at"] <= until] for some in (placed, asked))
    placed, permits = ([_until(one, until) for one in some] for some in (placed, allowed))
    return {
        "effects.jsonl": _shown(iter(placed), mask, "kind partition state attempts created_at updated_at sent_at undone_at", "key target payload"),
        "requests.jsonl": _shown(iter(asked), mask, "id kind pack level rule needs requester policy state opened_at updated_at expires_at", "effect target subject seen action reasons note"),
        "votes.jsonl": _shown(given_by, mask, "request person name answer channel at", "seen reason"),
        "permits.jsonl": _shown(iter(permits), mask, "id request pack level rule policy issued_at expires_at used_at void_at", "effect used_by subject void_why"),
    }  # fmt: skip
