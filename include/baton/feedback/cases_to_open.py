"""Decisions that need a person, from the first look at them until the commit opens their cases: few are held, many wait on the disk.

There they are sorted by key, as what is published is: so what lists show of them is read once, not once for every frame of cases.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from baton.data import stored
from baton.data.datasets import DatasetRef, read_batches
from baton.published.rows import KEY
from baton.published.writing import on_disk

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.parquet as pq

HELD = 100_000  # rows in memory
AT_ONCE = 20_000  # rows of a frame, of those that were on the disk


class CasesToOpen:
    """Decisions that open a case each.

    `add` them, then `settle`, outside of a transaction; `frames` are for within it.
    """

    def __init__(self, of: DatasetRef) -> None:
        """`of`: the dataset whose rows they are."""
        self._of, self._rows = of, 0
        self._held: list[pd.DataFrame] = []
        self._folder: Path | None = None
        self._writer: pq.ParquetWriter | None = None

    def add(self, frame: pd.DataFrame) -> None:
        """Take some of the decisions."""
        self._held.append(frame)
        self._rows += len(frame)
        if self._rows > HELD:
            self._spill()

    def settle(self) -> None:
        """There are no more."""
        if self._folder is None or self._writer is None:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._spill()
        self._writer.close()
        with pq.ParquetFile(self._folder / "given.parquet") as file:
            schema = file.schema_arrow
            tables = (pa.Table.from_batches([batch]) for batch in file.iter_batches(AT_ONCE))
            with pq.ParquetWriter(self._folder / "sorted.parquet", schema) as writer:
                for table in on_disk(tables, schema, (KEY,)):
                    writer.write_table(table)
        (self._folder / "given.parquet").unlink()

    def frames(self) -> Iterator[pd.DataFrame]:
        """The decisions as they came, or those that were on the disk some at a time, in the order of their keys."""
        import pandas as pd
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._folder is None:
            yield pd.concat([one for one in self._held if len(one)] or self._held[:1])
            return
        with pq.ParquetFile(self._folder / "sorted.parquet") as file:
            for batch in file.iter_batches(AT_ONCE):
                yield stored.frame_of(pa.Table.from_batches([batch]))

    def _spill(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writer is None:
            self._folder = Path(tempfile.mkdtemp(prefix="baton-cases-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            schema = next(read_batches(self._of, rows=1)).schema
            self._writer = pq.ParquetWriter(self._folder / "given.parquet", schema)
        for frame in self._held:
            self._writer.write_table(pa.Table.from_pandas(frame, self._writer.schema, preserve_index=False))
        self._held, self._rows = [], 0
