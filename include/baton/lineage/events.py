"""OpenLineage events out of the ledger: a run per commit of a stage, an event per thing that happened to a model version.

Made by hand, after the published schema (2-0-2): forty lines, where the client library would bring its own transports, none of which
remembers what was not delivered. Airflow's provider for OpenLineage stays useful beside this one: it tells of tasks, when they end, by
what operators declare. It knows no commit, no model version and no hash, and it tells of a task that Airflow repeats though
Baton's result was there; so these events come from the record itself.

Names: jobs `<flow>.<stage>`, datasets `<flow>/<stage>`, `sources/<source>`, `models/<model>`; the namespace is the warehouse's. An event
has names, hashes and counts; no entity, no address, and nobody's name.
"""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.names import EDGES, PUBLISH
from baton.record import warehouse
from baton.record.tables import commits

COMMITTED = "dataset_committed"
OF_MODELS = ("version_registered", "gate_verdict", "approval", "alias_moved", "alias_reverted")
KINDS = (COMMITTED, *OF_MODELS)
PRODUCER = "x-baton://lineage/v1"
SPEC, FACETS = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs", f"{PRODUCER}/facets.json#/$defs"
_VERSION = "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"
_IDS = uuid.UUID("7f0a4c1e-6f5d-5c6b-9d2e-3b1a8e0c4f77")
_TOLD = ("decision", "answer", "before", "alias", "rollback", "manifest", "dataset", "winner")

Event = dict[str, Any]


def of_entries(conn: Connection, entries: Sequence[Mapping[str, Any]]) -> Iterator[list[Event]]:
    """Events of each ledger entry (seq, at, kind, subject, payload as text, hash), in their order; of other kinds than `KINDS` none.

    The same entry gives the same events: what is told twice has the same run id.
    """
    namespace = f"baton-{warehouse.meta_get('warehouse_id', conn) or 'new'}"  # new: nothing was committed yet
    said = {one["seq"]: json.loads(one["payload"]) for one in entries if one["kind"] in KINDS}
    wanted = [said[one["seq"]]["commit"] for one in entries if one["kind"] == COMMITTED]
    rows = {row.id: row._mapping for row in warehouse.among(conn, sa.select(commits), commits.c.id, wanted)}
    uris = {given["uri"] for row in rows.values() for given in row["inputs"].values()}
    names = sa.select(commits.c.uri, commits.c.flow, commits.c.stage)
    made = {row.uri: f"{row.flow}/{row.stage}" for row in warehouse.among(conn, names, commits.c.uri, sorted(uris))}
    for one in entries:
        if one["kind"] == COMMITTED:
            yield list(_run(namespace, one, said[one["seq"]], rows.get(said[one["seq"]]["commit"]), made))
        else:
            yield [_model(namespace, one, said[one["seq"]])] if one["kind"] in KINDS else []


def _run(
    namespace: str, entry: Mapping[str, Any], said: Mapping[str, Any], row: Mapping[Any, Any] | None, made: Mapping[str, str]
) -> Iterator[Event]:  # fmt: skip
    """START and COMPLETE of a commit, which the schema wants both of."""
    flow, stage, partition = entry["subject"].split("/", 2)
    stage, facts = stage.partition("[")[0], dict(row["facts"]) if row is not None else {}
    given = row["inputs"] if row is not None else {}
    inputs = [
        _dataset(namespace, made.get(one["uri"], f"{flow}/{name}"), one["content_sha256"])
        for name, one in given.items()
    ]
    inputs += [
        _dataset(namespace, f"models/{model}", str(version)) for model, version in sorted(said["models"].items())
    ]
    if "source_sha256" in facts and row is not None:
        source = facts.get("source") or (row["params"].get("options") or {}).get("source", stage)
        inputs.append(_dataset(namespace, f"sources/{source}", facts["source_sha256"]))
    output = _dataset(namespace, f"{flow}/{stage}", said["sha256"])
    if stage == PUBLISH and facts.get("routes"):
        output["outputFacets"] = {"baton_decisions": _facet("Decisions", routes=facts["routes"])}
    about = {"entry": entry["seq"], "commit": said["commit"], "partition": partition, "digest": said["digest"],
             "code": row["code"] if row is not None else None, "rows": said["rows"], "airflow_run": said["run_id"]}  # fmt: skip
    run = {"runId": str(uuid.uuid5(_IDS, entry["hash"])), "facets": {"baton_commit": _facet("Commit", **about)}}
    shared = {"run": run, "job": {"namespace": namespace, "name": f"{flow}.{stage}"}}
    begun = row["created_at"] if row is not None else entry["at"]
    yield _event("RunEvent", begun, eventType="START", **shared)
    # what a task judged apart is nobody's but the whole's, which is a run of its own
    outputs = [] if EDGES in facts and row is not None and row["map_index"] >= 0 else [output]
    yield _event("RunEvent", entry["at"], eventType="COMPLETE", **shared, inputs=inputs, outputs=outputs)


def _model(namespace: str, entry: Mapping[str, Any], said: Mapping[str, Any]) -> Event:
    model, _, number = entry["subject"].partition("/")
    version = int(number) if number.isdigit() else said.get("version")
    told = {name: said[name] for name in _TOLD if name in said}
    dataset = _dataset(namespace, f"models/{model}", str(version))
    dataset["facets"]["baton_model"] = _facet("Model", entry=entry["seq"], what=entry["kind"], version=version, **told)
    return _event("DatasetEvent", entry["at"], dataset=dataset)


def _event(kind: str, at: str, **more: Any) -> Event:
    return {"eventTime": at, "producer": PRODUCER, "schemaURL": f"{SPEC}/{kind}", **more}


def _dataset(namespace: str, name: str, version: str) -> dict[str, Any]:
    facet = {"_producer": PRODUCER, "_schemaURL": _VERSION, "datasetVersion": version}
    return {"namespace": namespace, "name": name, "facets": {"version": facet}}


def _facet(name: str, **fields: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": f"{FACETS}/{name}", **fields}


def lines(events: Iterable[Event]) -> str:
    """Events as JSON lines."""
    return "".join(f"{json.dumps(one, sort_keys=True, ensure_ascii=False)}\n" for one in events)
