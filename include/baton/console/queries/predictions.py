"""Published predictions as a file for other programs, partition by partition: memory does not grow with their number."""

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from baton.data.cells import as_text, guarded
from baton.errors import BatonError
from baton.progress import told
from baton.record.tables import predictions
from baton.record.warehouse import read

KEPT = [column for column in predictions.c if column.name != "commit_id"]
_JSON = [column.name for column in KEPT if isinstance(column.type, sa.JSON)]


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
    conditions = [predictions.c.flow == flow]
    conditions += [predictions.c.model == model] if model else []
    conditions += [predictions.c.partition >= first] if first else []
    conditions += [predictions.c.partition <= last] if last else []
    with read() as conn:
        partitions = list(conn.scalars(sa.select(predictions.c.partition).where(*conditions).distinct()))
    if not partitions:
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
    batches = _batches(conditions, sorted(partitions))
    try:
        with os.fdopen(handle, "wb") as file:
            return (_as_csv if path.suffix == ".csv" else _as_parquet)(file, batches)
    except BaseException:  # half of them is not what was asked for
        path.unlink(missing_ok=True)
        raise


def _batches(conditions: list[Any], partitions: list[str]) -> Iterator[list[Mapping[str, Any]]]:
    for partition in told(partitions, "predictions written", "partitions"):
        query = sa.select(*KEPT).where(*conditions, predictions.c.partition == partition)
        with read() as conn:
            rows = conn.execute(query.order_by(predictions.c.entity_key, predictions.c.model)).mappings().all()
        yield [{**row, **{name: None if row[name] is None else as_text(row[name]) for name in _JSON}} for row in rows]


def _as_csv(file: Any, batches: Iterator[list[Mapping[str, Any]]]) -> int:
    import io

    total = 0
    with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow([column.name for column in KEPT])
        for rows in batches:
            writer.writerows([guarded(as_text(value)) for value in row.values()] for row in rows)
            total += len(rows)
    return total


def _as_parquet(file: Any, batches: Iterator[list[Mapping[str, Any]]]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([
        (column.name, pa.string() if column.name in _JSON else kinds.get(column.type.python_type, pa.string())) for column in KEPT
    ])  # fmt: skip
    total = 0
    with pq.ParquetWriter(file, schema) as writer:
        for rows in batches:
            writer.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema))
            total += len(rows)
    return total
