"""What no part of a batch can know: which rows share a key, and what a whole column comes to.

Counts, sums and extremes are merged from those of each frame. Keys, medians and numbers of different values come from DuckDB,
over the columns that rules ask for and no others: on a disk, in bounded memory, in a folder that is gone afterwards.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from baton.contracts.findings import Rule
from baton.specs.contract import ContractSpec

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pandas as pd
    import pyarrow as pa


SHARED = {"expect_column_values_to_be_unique", "expect_compound_columns_to_be_unique"}
"""Rules that no two rows share their values."""
_MEMORY = 128_000_000  # bytes of DuckDB's; what does not fit goes into its folder
SHOWN = 20  # values of a rule, as many as Great Expectations shows
_ROW_COUNT = ("expect_table_row_count_to_be_between", "expect_table_row_count_to_equal")
_ANY_TYPE = {
    f"expect_column_{what}_to_be_between"
    for what in ("unique_value_count", "proportion_of_unique_values", "proportion_of_non_null_values")
}
_NUMBERS = {
    f"expect_column_{what}_to_be_between"
    for what in ("min", "max", "mean", "sum", "stdev", "median", "quantile_values")
}
_STORED = SHARED | {
    f"expect_column_{what}_to_be_between"
    for what in ("median", "quantile_values", "unique_value_count", "proportion_of_unique_values")
}


def merges(rule: Rule, spec: ContractSpec) -> bool:
    """Whether a rule on a whole batch can be judged exactly by what is kept of its frames."""
    if "row_condition" in rule.kwargs or any(name not in spec.columns for name in rule.columns):
        return False
    kinds = {spec.columns[name].type for name in rule.columns}
    if rule.type in _NUMBERS:
        return kinds <= {"int", "float"}
    return rule.type in {*SHARED, *_ROW_COUNT, *_ANY_TYPE}


@dataclass
class _Numbers:
    """Sums and extremes of a column, frame by frame; the sum of squares as Chan, Golub and LeVeque merge it."""

    count: int = 0
    sums: list[float] = field(default_factory=list)
    whole: int = 0  # the sum of integers, which needs no rounding
    squares: float = 0.0  # of the distances from the mean
    low: Any = math.nan
    high: Any = math.nan
    frames: list[list[Any]] = field(
        default_factory=list
    )  # what each frame came to, in the order in which it was merged

    def add(self, values: np.ndarray) -> None:
        import numpy as np

        if not len(values):
            return
        total = float(np.sum(values, dtype=np.float64))
        squares = float(np.sum((values - total / len(values)) ** 2))
        whole = int(np.sum(values)) if values.dtype.kind == "i" else 0
        self.take([len(values), total, whole, squares, values.min().item(), values.max().item()])

    def take(self, frame: list[Any]) -> None:
        """Merge what a frame came to; in the order of frames, on which the last digit may depend."""
        count, total, whole, squares, low, high = frame
        distance = total / count - self.mean if self.count else 0.0
        self.squares += squares
        self.squares += distance**2 * self.count * count / (self.count + count)
        self.low, self.high = (min(self.low, low), max(self.high, high)) if self.count else (low, high)
        self.count += count
        self.sums.append(total)
        self.whole += whole
        self.frames.append(frame)

    @property
    def mean(self) -> float:
        return math.fsum(self.sums) / self.count if self.count else math.nan

    @property
    def deviation(self) -> float:
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else math.nan


class KeptColumns:
    """What is kept of the columns that rules on the whole look at; a context, which removes it all at its end."""

    def __init__(self, rules: Sequence[Rule], spec: ContractSpec) -> None:
        """`rules`: those that `merges` takes."""
        self._spec, self.rows = spec, 0
        stored = {name for rule in rules if rule.type in _STORED for name in rule.columns}
        self._stored = [name for name in spec.columns if name in stored]
        self._numbers = {name: _Numbers() for rule in rules if rule.type in _NUMBERS for name in rule.columns}
        self._nulls = dict.fromkeys([name for rule in rules for name in rule.columns], 0)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what is on the disk."""
        if "_database" in self.__dict__:
            conn, folder = self._database
            conn.close()
            folder.cleanup()

    @cached_property
    def _database(self) -> tuple[duckdb.DuckDBPyConnection, tempfile.TemporaryDirectory[str]]:
        import duckdb

        folder = tempfile.TemporaryDirectory(prefix="baton-contract-")
        conn = duckdb.connect(str(Path(folder.name) / "columns.duckdb"), config={
            "enable_external_access": "false", "python_enable_replacements": "false", "memory_limit": f"{_MEMORY}B",
            "autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "threads": "2",
            "temp_directory": str(Path(folder.name) / "spilled"),
        })  # fmt: skip
        conn.execute("PRAGMA disable_checkpoint_on_shutdown")  # the file is removed, not kept
        types = {"int": "BIGINT", "float": "DOUBLE", "bool": "BOOLEAN", "timestamp": "BIGINT", "str": "VARCHAR"}
        columns = [f"c{number} {types[self._spec.columns[name].type]}" for number, name in enumerate(self._stored)]
        conn.execute(f"CREATE TABLE kept (n BIGINT, {', '.join(columns)})")
        return conn, folder

    def add(self, frame: pd.DataFrame, nulls: Mapping[str, int]) -> None:
        """Take the next rows, typed by the contract, and how many cells of each column are empty."""
        for name, numbers in self._numbers.items():
            numbers.add(_plain(frame[name]))
        for name in self._nulls:
            self._nulls[name] += nulls[name]
        if self._stored:
            self._store(
                {
                    f"c{number}": _array(frame[name], self._spec.columns[name].type)
                    for number, name in enumerate(self._stored)
                },
                len(frame),
            )
        self.rows += len(frame)

    def _store(self, cells: Mapping[str, Any], rows: int) -> None:
        """Keep the cells of the next rows, which the count does not have yet."""
        import numpy as np
        import pyarrow as pa

        self._database[0].register("given", pa.table({"n": np.arange(self.rows, self.rows + rows), **cells}))
        self._database[0].execute("INSERT INTO kept SELECT * FROM given")
        self._database[0].unregister("given")

    def noted(self) -> dict[str, Any]:
        """What is known besides what is `stored`, as JSON."""
        numbers = {name: one.frames for name, one in self._numbers.items()}
        return {"rows": self.rows, "nulls": self._nulls, "numbers": numbers}

    def stored(self) -> Iterator[pa.Table]:
        """The cells that are kept, the rows as they came; nothing where no rule asks for any."""
        import pyarrow as pa

        if self._stored and self.rows:
            columns = ", ".join(f"c{number}" for number in range(len(self._stored)))
            reader: Any = self._database[0].sql(f"SELECT {columns} FROM kept ORDER BY n").to_arrow_reader(100_000)
            for batch in reader:
                yield pa.Table.from_batches([batch])

    def take(self, said: Mapping[str, Any], stored: Iterable[pa.Table]) -> None:
        """Take the next rows as another one kept them: what it `noted`, and what it has `stored`."""
        for name, numbers in self._numbers.items():
            for frame in said["numbers"][name]:
                numbers.take(frame)
        for name in self._nulls:
            self._nulls[name] += said["nulls"][name]
        before = self.rows
        for table in stored:
            self._store({name: table.column(name) for name in table.column_names}, table.num_rows)
            self.rows += table.num_rows
        self.rows = before + said["rows"]

    def metrics(self, rule: Rule) -> dict[str, Any]:
        """What Great Expectations' verdict on a rule needs, by its names for it."""
        if rule.type in _ROW_COUNT:
            return {"table.row_count": self.rows}
        if rule.type in SHARED:
            return self._shared(rule)
        (name,) = rule.columns
        found: dict[str, Any] = {
            "table.row_count": self.rows,
            "column_values.nonnull.unexpected_count": self._nulls[name],
        }
        values = self.rows - self._nulls[name]
        if rule.type == "expect_column_proportion_of_non_null_values_to_be_between":
            return {"column.non_null_proportion": values / self.rows if self.rows else 0}
        if rule.type in _ANY_TYPE:
            different = self._one(
                f"SELECT count(*) FROM (SELECT {self._named(name)} AS c FROM kept GROUP BY c) WHERE c IS NOT NULL"
            )
            return found | {
                "column.distinct_values.count": different, "column.unique_proportion": different / values if values else 0
            }  # fmt: skip
        return self._of_numbers(rule, name)

    def _of_numbers(self, rule: Rule, name: str) -> dict[str, Any]:
        numbers = self._numbers[name]
        if rule.type == "expect_column_median_to_be_between":
            return {"column.median": self._quantiles(name, [0.5], "linear")[0]}
        if rule.type == "expect_column_quantile_values_to_be_between":
            ranges, how = rule.kwargs["quantile_ranges"], rule.kwargs.get("allow_relative_error") or "nearest"
            return {"column.quantile_values": self._quantiles(name, ranges["quantiles"], how)}
        whole = self._spec.columns[name].type == "int"
        return {
            "column.mean": numbers.mean, "column.standard_deviation": numbers.deviation, "column.min": numbers.low,
            "column.max": numbers.high, "column.sum": numbers.whole if whole else math.fsum(numbers.sums),
        }  # fmt: skip

    def _quantiles(self, name: str, wanted: Sequence[float], how: str) -> list[Any]:
        """As pandas takes them of the whole column; all NaN where it holds nothing."""
        import pandas as pd

        last = self._numbers[name].count - 1
        if last < 0:
            return [math.nan] * len(wanted)
        conn, column = self._database[0], self._named(name)
        conn.execute(f"CREATE OR REPLACE TABLE sorted AS SELECT {column} AS c FROM kept WHERE c IS NOT NULL ORDER BY c")
        found = []
        for quantile in wanted:
            place = last * (quantile * 100 / 100)  # pandas asks NumPy for percents
            low = min(math.floor(place), last)
            ends = [self._one(f"SELECT c FROM sorted WHERE rowid = {at}") for at in (low, min(low + 1, last))]
            if how == "nearest":  # half way the even place, which two values alone cannot tell
                found.append(ends[round(place) - low])
            else:
                found.append(pd.Series(ends).quantile([place - low], interpolation=how).tolist()[0])  # type: ignore[call-overload]
        conn.execute("DROP TABLE sorted")
        return found

    def _shared(self, rule: Rule) -> dict[str, Any]:
        """Of a rule that values differ: how many rows share theirs, and the first of these values."""
        conn, names = self._database[0], rule.columns
        columns = [self._named(name) for name in names]
        outer, judged = ", ".join(columns), self._judged(rule)
        rows = int(self._one(f"SELECT count(*) FROM kept WHERE {judged}"))
        twice = int(self._one(f"SELECT count(*) FROM ({self._twice(rule)})"))
        query = f"SELECT {outer} FROM kept WHERE n IN (SELECT n FROM ({self._twice(rule)}) ORDER BY n LIMIT {SHOWN}) ORDER BY n"
        shown = [
            {name: self._read(name, cell) for name, cell in zip(names, row, strict=True)}
            for row in conn.execute(query).fetchall()
        ]
        values = shown if "column_list" in rule.kwargs else [row[names[0]] for row in shown]
        return {
            "table.row_count": self.rows, "column_values.nonnull.unexpected_count": self.rows - rows,
            "*.filtered_row_count": rows, "*.unexpected_count": twice,
            "*.unexpected_values": values, "*.unexpected_index_list": [],
        }  # fmt: skip

    def shared(self, rule: Rule) -> np.ndarray:
        """For each row whether it shares its values with another one (n rows, bool)."""
        import numpy as np

        mask = np.zeros(self.rows, dtype=bool)
        reader: Any = self._database[0].sql(self._twice(rule)).to_arrow_reader(100_000)
        for batch in reader:
            mask[batch.column(0).to_numpy()] = True
        return mask

    def _twice(self, rule: Rule) -> str:
        columns = [self._named(name) for name in rule.columns]
        same = " AND ".join(f"kept.{name} IS NOT DISTINCT FROM twice.{name}" for name in columns)
        listed, judged = ", ".join(columns), self._judged(rule)
        return (
            f"SELECT n FROM kept SEMI JOIN (SELECT {listed} FROM kept WHERE {judged} GROUP BY {listed} HAVING count(*) > 1) AS twice "
            f"ON {same} WHERE {judged}"
        )

    def _judged(self, rule: Rule) -> str:
        """Which rows the rule looks at: of one column those with a value, of several as Great Expectations says."""
        columns = [f"kept.{self._named(name)} IS NOT NULL" for name in rule.columns]
        ignored = str(rule.kwargs.get("ignore_row_if", "all_values_are_missing"))
        how = {"all_values_are_missing": " OR ", "any_value_is_missing": " AND "}
        return f"({how[ignored].join(columns)})" if ignored in how else "true"

    def _named(self, name: str) -> str:
        return f"c{self._stored.index(name)}"

    def _read(self, name: str, cell: Any) -> Any:
        import pandas as pd

        return (
            pd.Timestamp(cell, tz="UTC") if self._spec.columns[name].type == "timestamp" and cell is not None else cell
        )

    def _one(self, query: str) -> Any:
        (row,) = self._database[0].execute(query).fetchall()  # to its end: the next query waits for that
        return row[0]


def _plain(cells: pd.Series) -> np.ndarray:
    """Numbers without what is empty."""
    found = cells.dropna()
    return found.to_numpy("int64" if found.dtype.kind == "i" else "float64")


def _array(cells: pd.Series, kind: str) -> pa.Array:
    """As DuckDB keeps them: times as nanoseconds since 1970, of which it would drop three digits."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == "timestamp":
        return pa.array(cells, pa.timestamp("ns", "UTC"), from_pandas=True).cast(pa.int64())
    if kind == "float":
        return pc.add(pa.array(cells, pa.float64(), from_pandas=True), 0.0)  # -0.0 is 0.0, as pandas compares it
    return pa.array(cells, {"int": pa.int64(), "bool": pa.bool_(), "str": pa.string()}[kind], from_pandas=True)
