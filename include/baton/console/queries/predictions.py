"""Published predictions as a file for other programs, partition by partition: memory does not grow with their number."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.data.cells import as_text, guarded
from baton.data.datasets import read_batches
from baton.errors import BatonError
from baton.progress import told
from baton.published.rows import COLUMNS, PREDICTIONS, Published, batches, published, schema
from baton.record import tables
from baton.record.warehouse import read

if TYPE_CHECKING:
    import pyarrow as pa

KEPT = [name for name in COLUMNS[PREDICTIONS] if name != "commit_id"]


def export(
    path: Path, flow: str, model: str | None = None, first: str | None = None, last: str | None = None,
) -> int:  # fmt: skip
    """Write a flow's published predictions to a new .csv or .parquet file, mode 0600: entities may be people.

    Args:
        first, last: partitions to begin and end with.

    Returns:
        number of rows.

    Raises:
        BatonError: the file exists, has another ending, or there is nothing to write.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise BatonError(f"{path}: the name must end in .csv or .parquet")
    table = tables.published.c
    bounds = [table.flow == flow]
    bounds += [table.partition >= first] if first else []
    bounds += [table.partition <= last] if last else []
    with read() as conn:
        places = [one for one in published(conn, *bounds) if one.predictions is not None and one.predictions.rows]
    if model:
        places = [one for one in places if model in _models(one)]
    if not places:
        asked = ", ".join(
            f"{name} {value}" for name, value in (("model", model), ("from", first), ("until", last)) if value
        )
        raise BatonError(
            f"no predictions of flow {flow}{f' with {asked}' if asked else ''}; `baton trace` knows single ones"
        )
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise BatonError(f"{path} exists: choose another name or delete it") from error
    given = _tables(places, model)
    try:
        with os.fdopen(handle, "wb") as file:
            return (_as_csv if path.suffix == ".csv" else _as_parquet)(file, given)
    except BaseException:  # half of them is not what was asked for
        path.unlink(missing_ok=True)
        raise


def _models(one: Published) -> set[str]:
    assert one.predictions is not None
    return {name for batch in read_batches(one.predictions, ["model"]) for name in batch.column(0).unique().to_pylist()}


def _tables(places: list[Published], model: str | None) -> Iterator["pa.Table"]:
    """The rows, some at a time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for one in told(places, "predictions written", "partitions"):
        for batch in batches(one, PREDICTIONS):
            table = pa.Table.from_batches([batch]).select(KEPT)
            yield table if model is None else table.filter(pc.equal(table.column("model"), model))


def _as_csv(file: Any, given: Iterator["pa.Table"]) -> int:
    import io

    total = 0
    with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(KEPT)
        for table in given:
            writer.writerows([guarded(as_text(value)) for value in row.values()] for row in table.to_pylist())
            total += table.num_rows
    return total


def _as_parquet(file: Any, given: Iterator["pa.Table"]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    total = 0
    with pq.ParquetWriter(file, pa.schema([schema(PREDICTIONS).field(name) for name in KEPT])) as writer:
        for table in given:
            writer.write_table(table)
            total += table.num_rows
    return total
