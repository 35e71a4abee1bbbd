"""Writing what a partition publishes: sorted by key, beside the attempt's own dataset, and put in force by its commit."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from baton.data import parts
from baton.data.datasets import DatasetRef, DatasetWriter, delete
from baton.errors import BatonError, StaleAttempt
from baton.jsontext import to_json
from baton.published import index, keyed
from baton.published.rows import DECISIONS, KEY, PREDICTIONS, SORTED, Kind, stored
from baton.record import tables, warehouse

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MEMORY = 256_000_000  # bytes, for sorting what is more than a part
_LEVEL = re.compile(r"q0?\.\d+")  # columns of a forecast
Frames = Callable[[], Iterable["pd.DataFrame | pa.Table"]]


@dataclass
class Publication:
    """What one attempt publishes of a partition.

    Attributes:
        models: version by model, as every decision names them.
        rows: at most so many of each kind, which says how they are sorted.
        decisions: frames with entity_key, risk, route, money; None: none are published.
        predictions: frames with entity_key, model, version, score, reasons (JSON), perhaps category, accepted, strangeness, and
            `q0.1`, ... of a forecast; of several models one after the other. None: none.
    """

    flow: str
    partition: str
    models: Mapping[str, int]
    rows: int
    decisions: Frames | None = None
    predictions: Frames | None = None
    _refs: dict[Kind, DatasetRef] = field(default_factory=dict)
    _groups: dict[Kind, dict[str, Any]] = field(default_factory=dict)
    _number: int = 0
    _segment: tuple[int, DatasetRef] | None = None
    _entities: int = 0

    def write(self, name: str) -> list[DatasetRef]:
        """Write the rows beside the attempt's dataset `name`, and a segment of the index; return what was written.

        Raises:
            BatonError: an entity is published twice; nothing is left behind.
        """
        return self.write_announced(name, *warehouse.transact(self.announce))

    def announce(self, conn: Connection) -> tuple[int, int, str]:
        """Have the index expect the partition's keys; see `write_announced`."""
        return index.number_of(conn, self.flow, self.partition), *index.begin(conn)

    def write_announced(self, name: str, number: int, segment: int, segment_name: str) -> list[DatasetRef]:
        """Write as `write` does, with what `announce` returned."""
        self._refs = {}
        try:
            for kind, frames in ((DECISIONS, self.decisions), (PREDICTIONS, self.predictions)):
                if frames is not None:
                    self._refs[kind] = ref = self._sorted(kind, frames(), name)
                    groups = [group for *_, group in keyed.row_groups(ref)]
                    self._groups[kind] = {"size": len(groups), "root": keyed.tree_of(groups).root(len(groups)).hex()}
            refs = self._refs.values()
            many, shape = sum(ref.rows for ref in refs), index.schema()
            hashes = in_order((table for ref in refs for table in index.hashes_of(ref, KEY)), shape, many, ("hash",))
            self._number, self._segment = number, (segment, index.write(segment_name, hashes, number))
        except BaseException:  # a task's time limit is no Exception
            for ref in self._refs.values():
                delete(ref)
            raise
        return [*self._refs.values(), self._segment[1]]

    def enforce(self, conn: Connection, commit_id: int) -> None:
        """Put in force what was written, in the transaction of the commit: the partition is replaced whole.

        Raises:
            StaleAttempt: `gc` gave it up, or the partition was retained meanwhile.
        """
        self.put(conn, commit_id, warehouse.now())
        warehouse.after_commit(conn, index.merge_small)

    @property
    def told(self) -> dict[str, Any]:
        """What the ledger is told of what was written, by kind.

        Returns:
            datasets: the content hash (SHA-256), of a manifest over its parts and their row groups.
            row_groups: number of the groups, and the root of the Merkle tree over their hashes: from one group it is reached
                without the manifest, which holds keys.
        """
        return {
            "datasets": {kind: ref.content_sha256 for kind, ref in self._refs.items()},
            "row_groups": dict(self._groups),
        }

    def put(self, conn: Connection, commit_id: int, at: str) -> None:
        """The same, of a publication that took place at another time."""
        assert self._segment is not None
        index.complete(conn, *self._segment)
        table, refs = tables.published, {kind: ref.to_dict() for kind, ref in self._refs.items()}
        values = {"commit_id": commit_id, "models": dict(self.models), "entities": self._entities, "at": at}
        if index.number_of(conn, self.flow, self.partition) != self._number:
            raise StaleAttempt(
                f"{self.flow}/{self.partition}: was retained while it was being published; run the stage again"
            )
        conn.execute(
            table.update()
            .where(table.c.flow == self.flow, table.c.partition == self.partition)
            .values(**values, **{kind: refs.get(kind) for kind in (DECISIONS, PREDICTIONS)})
        )

    def _sorted(self, kind: Kind, frames: Iterable[pd.DataFrame | pa.Table], name: str) -> DatasetRef:
        schema, entities = stored(kind), 0
        last = schema.empty_table()
        with DatasetWriter(beside(name, kind), self.partition, key=KEY) as writer:
            writer.add(schema.empty_table())
            for table in in_order((_shaped(kind, frame) for frame in frames), schema, self.rows, SORTED[kind]):
                entities += _new(kind, table, last)
                writer.add(table)
                last = table.slice(table.num_rows - 1) if table.num_rows else last
            ref = writer.close()
        if kind == DECISIONS or not self._entities:
            self._entities = entities
        return ref


def beside(name: str, kind: Kind) -> str:
    """Name of a dataset that lies beside an attempt's own, `name`, and belongs to it."""
    return f"{name.removesuffix('.parquet')}.{kind}.parquet"


def in_order(tables_: Iterable[pa.Table], schema: pa.Schema, rows: int, by: tuple[str, ...]) -> Iterator[pa.Table]:
    """Rows sorted by their keys, ascending; what is more than a part is sorted on disk.

    Args:
        rows: how many there are, about.
    """
    import pyarrow as pa

    fitting = (table.cast(schema) for table in tables_)
    if rows <= parts.ROWS:
        whole = pa.concat_tables([schema.empty_table(), *fitting]).combine_chunks()
        yield whole.sort_by([(name, "ascending") for name in by])
        return
    yield from on_disk(fitting, schema, by)


def on_disk(tables_: Iterable[pa.Table], schema: pa.Schema, by: tuple[str, ...]) -> Iterator[pa.Table]:
    """Rows sorted by their keys, ascending, however many: no more than `MEMORY` bytes of them are held."""
    import duckdb
    import pyarrow as pa

    with tempfile.TemporaryDirectory(prefix="baton-sorting-") as spilled:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{MEMORY}B",
            "threads": "2",
            "temp_directory": spilled,
            "preserve_insertion_order": "false",
        }
        conn = duckdb.connect(":memory:", config=settings)
        try:
            given = (batch for table in tables_ for batch in table.to_batches())
            conn.register("given", pa.RecordBatchReader.from_batches(schema, given))
            for batch in conn.table("given").order(", ".join(by)).to_arrow_reader(100_000):
                yield pa.Table.from_batches([batch]).cast(schema)
        finally:
            conn.close()


def _new(kind: Kind, table: pa.Table, last: pa.Table) -> int:
    """How many entities begin in a sorted table; `last`: the row before it.

    Raises:
        BatonError: two rows have the same key.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = pa.concat_tables([last, table]).combine_chunks()
    before, here = whole.slice(0, max(0, whole.num_rows - 1)), whole.slice(1)
    same = {name: pc.equal(before.column(name), here.column(name)) for name in SORTED[kind]}
    twice = reduce(pc.and_, same.values())
    if pc.any(twice).as_py():
        key = here.filter(twice).slice(0, 1).select(SORTED[kind]).to_pylist()[0]
        of_model = f" by the model {key['model']}" if "model" in key else ""
        raise BatonError(
            f"{key[KEY]!r} has two {kind}{of_model} in this partition: an entity is published once; "
            "have the contract check that its key is unique"
        )
    first = 0 if last.num_rows or not table.num_rows else 1
    return first + int(pc.sum(pc.invert(same[KEY])).as_py() or 0)


def _shaped(kind: Kind, rows: pd.DataFrame | pa.Table) -> pa.Table:
    """The columns that are stored, out of a stage's."""
    import pyarrow as pa

    fields = stored(kind)
    if not isinstance(rows, pa.Table):
        levels = [name for name in rows if _LEVEL.fullmatch(str(name))]
        known = [name for name in rows if name in fields.names]
        rows = pa.Table.from_pandas(rows[[*known, *levels]], preserve_index=False)
    columns = {field.name: _column(rows, field) for field in fields}
    levels = [name for name in rows.column_names if _LEVEL.fullmatch(name)]
    if levels:
        columns["quantiles"] = _quantiles(rows.select(levels))
    return pa.table(columns, schema=fields)


def _column(rows: pa.Table, field: pa.Field) -> pa.Array | pa.ChunkedArray:
    """A column in its type; null where a family does not give it, or gives something else than a text."""
    import pyarrow as pa

    if field.name not in rows.column_names:
        return pa.nulls(rows.num_rows, field.type)
    cells = rows.column(field.name)
    if field.type != pa.string() or cells.type in (pa.string(), pa.large_string(), pa.null()):
        return cells.cast(field.type)
    if field.name in ("category", "reasons"):
        return pa.array([one if isinstance(one, str) else None for one in cells.to_pylist()], pa.string())
    return pa.array(cells.to_pandas().astype(str), pa.string())


def _quantiles(levels: pa.Table) -> pa.Array:
    """Quantiles of a forecast by level, out of its columns `q0.1`, `q0.9`, as JSON."""
    import pyarrow as pa

    names = [name.removeprefix("q") for name in levels.column_names]
    rows = zip(*(column.cast(pa.float64()).to_pylist() for column in levels.columns), strict=True)
    return pa.array([to_json(dict(zip(names, row, strict=True))) for row in rows], pa.string())
