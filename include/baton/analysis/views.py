"""The views `predictions`, `decisions`, `labels`, `cases` as Arrow batches, a batch in memory at a time.

Labels and cases are one query of the warehouse a scan; what is published is read from the store, partition by partition. As of an
earlier moment, predictions and decisions of a partition that was published again since are read from the objects of the commit
that was in force then, which the store keeps.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from baton.data import datasets
from baton.data.datasets import DatasetRef
from baton.errors import BatonError
from baton.names import PUBLISH
from baton.published import rows as published
from baton.published.rows import COLUMNS, DECISIONS, PREDICTIONS, Kind
from baton.record import tables, warehouse
from baton.record.tables import cases, commits, heads, labels

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

AT_ONCE = 10_000  # rows
TABLES = {table.name: table for table in (labels, cases)}
VIEWS: dict[str, tuple[str, ...]] = {kind: COLUMNS[kind] for kind in (PREDICTIONS, DECISIONS)}
VIEWS |= {name: tuple(table.columns.keys()) for name, table in TABLES.items()}
# what people wrote or a decision says in words may name people
PERSONAL = {"cases": ("title", "reasons", "text")}
_LEVEL = re.compile(r"q0?\.\d+")  # columns of a forecast
_MADE = {"predictions": "scored_at", "decisions": "decided_at"}


@dataclass(frozen=True)
class Extent:
    """Of which rows views consist.

    Attributes:
        flow: only of this flow.
        first, last: partitions to begin and end with.
        at: as of this moment, ISO-8601 text in UTC as the tables have it; None: now.
        personal: also what may name people; else it is null.
    """

    flow: str | None = None
    first: str | None = None
    last: str | None = None
    at: str | None = None
    personal: bool = False

    def of(self, columns: Any) -> list[Any]:
        """Conditions on a table's columns flow and partition."""
        found = [columns.flow == self.flow] if self.flow else []
        found += [columns.partition >= self.first] if self.first else []
        return found + ([columns.partition <= self.last] if self.last else [])


@dataclass
class View:
    """One view; DuckDB asks it for a new stream at each scan.

    Attributes:
        reading: called with every batch's number of rows; may raise, to stop.
        failed: what went wrong while a batch was made, in its own words; DuckDB would change them.
    """

    name: str
    bounds: Extent
    reading: Callable[[str, int], None] = lambda name, rows: None
    failed: list[BaseException] = field(default_factory=list)

    def schema(self) -> "pa.Schema":
        """Columns and their types; JSON is text."""
        import pyarrow as pa

        if (kind := self._kind()) is not None:
            return published.schema(kind)
        kinds = {int: pa.int64(), float: pa.float64()}
        return pa.schema([(column.name, _kind(column, kinds, pa.string())) for column in TABLES[self.name].columns])

    def __arrow_c_schema__(self) -> Any:
        """The columns, without a pass over the rows."""
        return self.schema().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """A new pass over the rows."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema(), self._kept()).__arrow_c_stream__(requested_schema)

    def _kept(self) -> Iterator["pa.RecordBatch"]:
        try:
            for batch in self._batches():
                self.reading(self.name, batch.num_rows)
                yield batch
        except BaseException as error:
            self.failed.append(error)
            raise

    def _kind(self) -> Kind | None:
        """Which rows of the store it shows; None for a table's."""
        return next((kind for kind in (PREDICTIONS, DECISIONS) if kind == self.name), None)

    def _batches(self) -> Iterator["pa.RecordBatch"]:
        kind = self._kind()
        if kind is None:
            yield from self._rows(TABLES[self.name])
            return
        for one in self._in_force():
            yield from published.batches(one, kind, AT_ONCE)
        if self.bounds.at is not None:
            for partition in self._replaced():
                yield from self._then(partition, self.schema())

    def _in_force(self) -> list[published.Published]:
        """What is published now, and was already then."""
        table, at = tables.published.c, self.bounds.at
        where = self.bounds.of(table)
        if at is not None:
            since = sa.select(commits.c.id).where(commits.c.id == table.commit_id, commits.c.created_at <= at)
            where.append(since.exists())
        with warehouse.read() as conn:
            return list(published.published(conn, *where))

    def _rows(self, table: sa.Table) -> Iterator["pa.RecordBatch"]:
        import pyarrow as pa

        schema = self.schema()
        hidden = () if self.bounds.personal else PERSONAL.get(self.name, ())
        chosen = [
            sa.null().label(column.name) if column.name in hidden
            else sa.func.nullif(sa.cast(column, sa.Text), "null").label(column.name) if isinstance(column.type, sa.JSON) else column
            for column in table.columns
        ]  # fmt: skip
        with warehouse.read() as conn:
            for rows in conn.execution_options(yield_per=AT_ONCE).execute(self._query(table, chosen)).partitions():
                columns = zip(*rows, strict=True)
                yield pa.record_batch(
                    [pa.array(one, kind) for one, kind in zip(columns, schema.types, strict=True)], schema=schema
                )

    def _query(self, table: sa.Table, chosen: Sequence[Any]) -> sa.Select[Any]:
        query, at = sa.select(*chosen).where(*self.bounds.of(table.c)), self.bounds.at
        if at is None:
            return query
        if self.name == "labels":
            return query.where(labels.c.known_at <= at)
        raise BatonError("cases are kept as they are now: --as-of knows predictions, decisions and labels")

    def _replaced(self) -> list[Any]:
        """The commits that were in force then, of partitions that were published again since."""
        now, then = heads.alias(), commits.alias()
        later = (
            sa.select(commits.c.id)
            .where(commits.c.id == now.c.commit_id, commits.c.created_at > self.bounds.at)
            .exists()
        )
        same = [then.c[name] == now.c[name] for name in ("flow", "stage", "partition", "map_index")]
        last = sa.select(sa.func.max(then.c.id)).where(*same, then.c.created_at <= self.bounds.at).scalar_subquery()
        wanted = sa.select(last).where(now.c.stage == PUBLISH, later, *self.bounds.of(now.c))
        with warehouse.read() as conn:
            numbers = [one for one in conn.scalars(wanted) if one is not None]
            return list(warehouse.among(conn, sa.select(commits), commits.c.id, numbers))

    def _then(self, commit: Any, schema: "pa.Schema") -> Iterator["pa.RecordBatch"]:
        """The rows of a commit that is in force no more; of one that published something else, none."""
        import pyarrow as pa

        inputs = {name: DatasetRef.from_dict(ref) for name, ref in commit.inputs.items()}
        refs = [ref for name, ref in sorted(inputs.items()) if name != "decisions"]
        if self.name == "decisions":
            refs = [inputs["decisions"]] if "routes" in commit.facts and "decisions" in inputs else []
        shared = {"flow": commit.flow, "partition": commit.partition, "commit_id": commit.id}
        shared[_MADE[self.name]] = commit.created_at
        if self.name == "decisions":
            shared["models"] = json.dumps(commit.facts.get("models"))
        try:
            for frame in (
                frame for ref in refs if "models" in commit.facts for frame in datasets.read_frames(ref, AT_ONCE)
            ):
                columns = {name: _column(frame, name, schema.field(name).type, shared) for name in schema.names}
                yield from pa.table(columns, schema=schema).to_batches()
        except BatonError as error:
            where = f"{commit.flow}, partition {commit.partition} as of {self.bounds.at}"
            raise BatonError(f"{where}: {error} (or it was retained: begin later, with --from)") from error


def _kind(column: sa.Column[Any], kinds: dict[type, Any], text: Any) -> Any:
    return text if isinstance(column.type, sa.JSON) else kinds.get(column.type.python_type, text)


def _column(frame: "pd.DataFrame", name: str, kind: Any, shared: dict[str, Any]) -> list[Any]:
    """A column of an earlier publication, named as the table has it; null where that one had none."""
    if name in shared:
        return [shared[name]] * len(frame)
    if name == "quantiles":
        levels = [one for one in frame if _LEVEL.fullmatch(str(one))]
        rows = frame[levels].to_dict("records") if levels else []
        found = [json.dumps({str(key)[1:]: float(cell) for key, cell in row.items()}) for row in rows]
        return found or [None] * len(frame)
    if name not in frame:
        return [None] * len(frame)
    made = {"int64": int, "double": float}.get(str(kind), str)
    return [None if missing else made(cell) for cell, missing in zip(frame[name], frame[name].isna(), strict=True)]
