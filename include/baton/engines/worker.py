"""Runs on a cluster's worker: one unit of an order at a time, from the store's parts to a new part.

Nothing here knows the cluster. A worker has this package, the pack and the same libraries, rights in the store, and no more: no
warehouse, no registry, no Airflow. What an order says is checked before it is used: the build, the bytes of each part, signature and
hash of the model's files. What is wrong for good comes back as an answer, so that the cluster does not try again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from baton.data import datasets, objects, parts
from baton.data.datasets import DatasetRef
from baton.engines.orders import build
from baton.errors import BatonError
from baton.registry.content import refuse_names
from baton.registry.manifest import public_key, verify
from baton.stages.job import StageJob
from baton.stages.run import checked, one_by_one, reader
from baton.stages.step import Keywords, Read, Step, resolve, with_options


def work(order: str, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """For `mapInArrow`: numbers of units in, a row (`part`, `said`) out for each.

    `said` is JSON: uri, rows, bytes, sha256 and schema (Arrow's, as hex) of the part; or error (a class of `baton.errors`) and message.

    Raises:
        StoreError: the store does not answer; the cluster may try again.
    """
    told = json.loads(order)
    for batch in batches:
        for number in batch.column(0).to_pylist():
            try:
                said = _unit(told, number)
            except objects.StoreError:
                raise
            except BatonError as error:
                said = {"error": type(error).__name__, "message": str(error)}
            yield pa.RecordBatch.from_pydict({"part": [number], "said": [json.dumps(said)]})


def pure(job: StageJob[Any], read: Read, files: Path | None) -> Iterator[pd.DataFrame]:
    """The work of a pack's function that is `row_local`."""
    return one_by_one(resolve(job.step), read, job.options)


def _unit(told: Mapping[str, Any], number: int) -> dict[str, Any]:
    _same_build(told)
    job: StageJob[Any] = StageJob(**told["job"])
    step = resolve(job.step)
    job = with_options(job, step.options if isinstance(step, Step) else Keywords)
    with tempfile.TemporaryDirectory(prefix="baton-model-") as scratch:  # mode 0700
        files = _fetched(told["model"], Path(scratch)) if told["model"] else None
        refs = {name: DatasetRef.from_dict(dict(said)) for name, said in told["units"][number].items()}
        made = resolve(told["work"])(job, reader(refs, (), at_once=told["at_once"]), files)
        try:
            table = datasets.in_one(
                checked(job, made, alone=told["at_once"], some=not told["at_once"]), f"{job.slot}, part {number}"
            )
        except objects.StoreError as error:
            if not isinstance(error.__cause__, pa.ArrowException | ValueError):
                raise
            raise BatonError(
                str(error)
            ) from error  # columns that are not there or do not fit each other, not the store
    put = parts.put(told["targets"][number], table, objects.no_fault, again=True)
    return {**vars(put), "schema": table.schema.remove_metadata().serialize().to_pybytes().hex()}


def _same_build(told: Mapping[str, Any]) -> None:
    """Raises BatonError: this worker's packages are others than the task's, so its rows might be."""
    here = build(told["job"]["pack"])
    for name, wanted in told["build"].items():
        if here[name] != wanted:
            raise BatonError(
                f"the cluster has another {name} ({here[name]}) than the task ({wanted}): install the same wheels there, "
                "from the same lock"
            )


def _fetched(model: Mapping[str, str], scratch: Path) -> Path:
    """The model's files in a folder of this process, verified as a task would.

    Raises:
        DatasetCorrupt: the object is another than the task put there.
        RegistryRefused: it holds other files than were signed.
    """
    folder, keys = scratch / "model", scratch / "keys"
    ref = DatasetRef(model["uri"], 0, "", model["sha256"], "")
    for path, content in zip(*datasets.table(ref).to_pydict().values(), strict=True):
        refuse_names(path)
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    keys.mkdir()
    (keys / "signing.pub").write_text(model["key"], encoding="utf-8")
    verify(folder, public_key(keys))
    return folder
