"""What a task orders of a cluster, and what it makes of the answers: parts that it has hashed itself, named by a reference.

The cluster only carries parts about. Each unit of work is the rows of one part of the first input; a worker reads them from the
store, checks their hash, runs the stage's function, checks the contract and writes one new part under a name that the task gave
(`worker`). So the slot's protocol stays the only mechanism: the names carry the attempt's fence, a unit that the cluster runs
twice meets its own equal bytes, and nothing is data before the task has committed the reference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd
import pyarrow as pa

from baton import errors
from baton.data import datasets, objects, parts, stored
from baton.data.datasets import DatasetRef, schema_fingerprint
from baton.data.parts import StoredPart
from baton.errors import BatonError, DatasetCorrupt, SpecError
from baton.packs.pack import pack_folder
from baton.progress import told
from baton.settings import settings
from baton.stages.digests import build_of
from baton.stages.run import require_whole
from baton.stages.slots import StageOutput
from baton.stages.step import as_json

if TYPE_CHECKING:
    from baton.stages.job import StageJob

Reports = Generator[tuple[int, str], None, None]  # number of a unit -> JSON, see `worker`
_LIBRARIES = ("lightgbm", "numpy", "pandas", "pyarrow", "scikit-learn")  # that scores or a part's bytes depend on
_ENGINE = Path(__file__).parents[1]


class EngineError(BatonError):
    """A cluster cannot be reached, gave up, or did not do what it was asked for; nothing was committed."""


class Distributor(Protocol):
    """A cluster: it hands the numbers of units to its workers and brings back what `worker.work` says of each."""

    @property
    def local(self) -> bool:
        """Whether its workers see this machine's folders."""

    def each(self, order: str, count: int) -> Reports:
        """What became of the units 0 to `count`, in any order, some perhaps twice. Raises EngineError."""


def build(pack: str) -> dict[str, str]:
    """What must be the same on both sides, so that the rows are those that the task would have made."""
    builds = {"baton": build_of(_ENGINE), f"pack {pack}": build_of(pack_folder(pack))}
    return builds | {name: version(name) for name in _LIBRARIES}


def output(
    cluster: Distributor,
    job: StageJob[Any],
    work: str,
    files: Path | None = None,
    facts: Mapping[str, Any] | None = None,
) -> StageOutput:
    """What a stage returns whose rows a cluster makes; it is asked when the attempt's name is known.

    Args:
        work: dotted path of what a worker calls with job, frames by input and the folder of `files`: see `worker.pure`.
        files: a verified model folder.

    Raises:
        SpecError: the workers could not see the store.
    """
    if settings().store_url.startswith("file://") and not cluster.local:
        raise SpecError(
            f"stage {job.flow}.{job.stage}, engine: spark: the cluster does not see the folder {settings().store_url}; "
            "set BATON_STORE_URL to an object store that both reach"
        )
    return StageOutput(pd.DataFrame(), dict(facts or {}), made=partial(_made, cluster, job, work, files))


def _made(cluster: Distributor, job: StageJob[Any], work: str, files: Path | None, name: str) -> DatasetRef:
    """Have the parts of the dataset `name` made, hash them, write the manifest; when that fails, remove them."""
    units = units_of(job.inputs)
    targets = [name] if len(units) == 1 else [parts.named(name, number) for number in range(len(units))]
    addresses = [objects.address(target) for target in targets]
    spare = [parts.named(name, len(units) + number) for number in range(len(units))]  # of parts that are written anew
    model = f"{name.removesuffix('.parquet')}.model.parquet"
    try:
        order = _order(job, work, units, addresses, shipped(files, model) if files else None)
        have, schemas = _answered(cluster, job, json.dumps(order), addresses)
        schema = _alike(f"stage {job.flow}.{job.stage}", have, schemas, spare)
        if len(have) > 1:
            require_whole(job, [DatasetRef(one.uri, one.rows, "", one.sha256, job.partition) for one in have])
        made = have[0] if len(have) == 1 else parts.put_manifest(name, have, objects.no_fault)
    except BaseException:  # a task's time limit is no Exception; what a worker writes later, gc finds
        _remove([*addresses, *map(objects.address, spare)])
        raise
    finally:
        if files:
            _remove([objects.address(model)])
    return DatasetRef(made.uri, made.rows, schema_fingerprint(schema), made.sha256, job.partition)


def _answered(
    cluster: Distributor, job: StageJob[Any], order: str, addresses: Sequence[str]
) -> tuple[list[StoredPart], list[pa.Schema]]:
    """The parts in order, of each what the cluster said first, and the columns of each."""
    found: dict[int, Mapping[str, Any]] = {}
    where = f"stage {job.flow}.{job.stage}"
    with closing(cluster.each(order, len(addresses))) as answers:
        for number, said in told(answers, f"{job.stage}: parts made on the cluster", "parts", len(addresses)):
            if number not in found:
                found[number] = _checked(json.loads(said), addresses[number])
    if missing := sorted(set(range(len(addresses))) - set(found)):
        raise EngineError(
            f"{where}: the cluster said nothing of part {missing[0]}; nothing was committed, run it again"
        )
    ordered = [found[number] for number in range(len(addresses))]
    have = [StoredPart(one["uri"], one["rows"], one["bytes"], one["sha256"]) for one in ordered]
    return have, [pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(one["schema"]))) for one in ordered]


def _alike(where: str, have: list[StoredPart], schemas: Sequence[pa.Schema], spare: Sequence[str]) -> pa.Schema:
    """Give all parts the columns of the first, as a task does; a column that holds nothing in it gets a later part's type.

    Raises:
        BatonError: the cells of a part do not have that type.
    """
    known = schemas[0]
    for schema in schemas:
        if schema.names == known.names:
            known = pa.schema(
                [new if pa.types.is_null(old.type) else old for old, new in zip(known, schema, strict=True)]
            )
    for number, (part, schema) in enumerate(zip(have, schemas, strict=True)):
        if schema != known:
            try:
                table = datasets.table(DatasetRef(part.uri, part.rows, "", part.sha256, "")).cast(known)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
                raise BatonError(
                    f"{where}: part {number} does not fit part 0: {error}; give each column one type"
                ) from error
            have[number] = parts.put(spare[number], table, objects.no_fault)
            objects.delete(part.uri)
    return known


def _remove(addresses: Iterable[str]) -> None:
    for uri in addresses:
        with suppress(objects.StoreError):
            objects.delete(uri)


def _order(
    job: StageJob[Any], work: str, units: Sequence[Any], addresses: Sequence[str], model: Mapping[str, str] | None
) -> dict[str, Any]:
    fields = ("pack", "flow", "stage", "partition", "step", "output_contract", "map_index", "dry_run")
    return {
        "work": work,
        "job": {**{name: getattr(job, name) for name in fields}, "models": dict(job.models), "options": as_json(job)},
        "units": [{name: ref.to_dict() for name, ref in unit.items()} for unit in units],
        "targets": list(addresses),
        # of a batch in one part a stage in its task sees all rows at once
        "at_once": len(units) == 1,
        "build": build(job.pack),
        "model": model,
    }


def units_of(inputs: Mapping[str, DatasetRef]) -> list[dict[str, DatasetRef]]:
    """The inputs' rows cut where the parts of the first one end, whatever the parts of the others.

    Raises:
        BatonError: they have not the same number of rows.
        DatasetCorrupt: a manifest is missing or names other parts than were committed.
    """
    many = {name: ref.rows for name, ref in inputs.items()}
    if len(set(many.values())) != 1:
        raise BatonError(f"engine: spark: the inputs need the same rows in the same order, they have {many}")
    edges = [0, *stored.ends(next(iter(inputs.values())))]
    if len(edges) == 2:
        return [dict(inputs)]
    rows = {name: stored.windows(ref, edges) for name, ref in inputs.items()}
    return [{name: ref[number] for name, ref in rows.items()} for number in range(len(edges) - 1)]


def shipped(folder: Path, name: str) -> dict[str, str]:
    """Put a signed model folder into the store as one object, for the workers; returns what they need to check it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = {
        "path": [path.relative_to(folder).as_posix() for path in files],
        "bytes": [path.read_bytes() for path in files],
    }
    table = pa.table(content, pa.schema([("path", pa.string()), ("bytes", pa.large_binary())]))
    put = parts.put(name, table, objects.no_fault)
    key = (settings().keys_dir / "signing.pub").read_text(encoding="utf-8")
    return {"uri": put.uri, "sha256": put.sha256, "key": key}


def _checked(said: Mapping[str, Any], address: str) -> Mapping[str, Any]:
    """An answer, after the bytes of the part that it names were hashed here.

    Raises:
        BatonError: what the worker raised; DatasetCorrupt: the part is another than it says.
    """
    if "error" in said:
        kind: Callable[[str], BatonError] = getattr(errors, said["error"], BatonError)
        raise kind(said["message"])
    size, sha256 = objects.digest(address)
    if (said["uri"], said["bytes"], said["sha256"]) != (address, size, sha256):
        raise DatasetCorrupt(f"{address}: is not what the worker that wrote it says; run the stage again")
    return said
