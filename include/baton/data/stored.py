"""Stored: which objects hold a dataset's rows, or some of them, and whether these are the bytes that were committed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, groupby, pairwise
from typing import TYPE_CHECKING

from baton.data import objects, parts
from baton.data.objects import no_fault
from baton.data.parts import StoredPart
from baton.errors import DatasetCorrupt

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    from baton.data.datasets import DatasetRef

_SAMPLE = 1_000  # cells of a column, by which is seen whether its texts repeat


def held(ref: DatasetRef) -> tuple[int, list[StoredPart]]:
    """Rows of its first object that come before its own, and its objects in order.

    Raises:
        DatasetCorrupt: its manifest is missing, or names other parts than were committed.
    """
    if ref.kind == "parquet":
        return ref.start, [StoredPart(ref.uri, ref.rows, 0, ref.of or ref.content_sha256)]
    try:
        if not ref.of:
            return 0, parts.of_manifest(ref.uri, ref.content_sha256)
        skip, have, found = parts.range_of(parts.read_manifest(ref.uri), ref.start, ref.rows)
    except FileNotFoundError as error:
        raise DatasetCorrupt(f"{ref.uri}: the object is missing; run its stage again to build it anew") from error
    except ValueError as error:
        raise DatasetCorrupt(f"{ref.uri}: {error}; run its stage again to build it anew") from error
    if found != ref.content_sha256:
        raise DatasetCorrupt(f"{ref.uri}: its rows from {ref.start} are others by now; run the stage behind it again")
    return skip, have


def verified(part: StoredPart) -> bytes:
    """An object's bytes.

    Raises:
        DatasetCorrupt: it is missing or has other bytes than were committed.
    """
    try:
        body = objects.get(part.uri)
    except FileNotFoundError as error:
        raise DatasetCorrupt(f"{part.uri}: the object is missing; run its stage again to build it anew") from error
    found = hashlib.sha256(body).hexdigest()
    if found != part.sha256:
        raise DatasetCorrupt(
            f"{part.uri}: the bytes have SHA-256 {found[:12]}..., committed was {part.sha256[:12]}...; "
            "run its stage again to build it anew"
        )
    return body


def files(ref: DatasetRef, have: Sequence[StoredPart] | None = None) -> Iterator[pq.ParquetFile]:
    """Its objects, one at a time, each checked before it is parsed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in held(ref)[1] if have is None else have:
        yield pq.ParquetFile(pa.BufferReader(verified(part)))


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """The tables in one; where a column of one holds nothing, it has the type that another one knows."""
    import pyarrow as pa

    return tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="default")


def frame_of(table: pa.Table, *, exact: bool = False) -> pd.DataFrame:
    """The rows as pandas has them; `exact`: see `datasets.read`.

    Equal texts of a column are one object, which costs a look-up for each cell; where they hardly repeat (keys, hashes) none is made.
    """
    import pandas as pd
    import pyarrow as pa

    texts = [n for n, one in enumerate(table.schema) if table.num_rows > _SAMPLE and pa.types.is_string(one.type)]
    apart = {n for n in texts if len(table.column(n).slice(0, _SAMPLE).unique()) > _SAMPLE // 2}
    kept = (table.schema.pandas_metadata or {}).get("index_columns", [])
    if not apart or any(isinstance(one, str) for one in kept):  # an index that is a column belongs to all others
        return table.to_pandas(integer_object_nulls=exact)
    halves = [  # as tables: what pandas knew of a column, such as its dtype, is in a table's metadata
        table.select([n for n in range(table.num_columns) if (n in apart) == alone]).to_pandas(
            integer_object_nulls=exact, deduplicate_objects=not alone
        )
        for alone in (False, True)
    ]
    runs, taken = [], [0, 0]
    for alone, run in groupby(range(table.num_columns), apart.__contains__):
        start, taken[alone] = taken[alone], taken[alone] + len(list(run))
        runs.append(halves[alone].iloc[:, start : taken[alone]])
    return pd.concat(runs, axis=1, copy=False)


def ends(ref: DatasetRef) -> list[int]:
    """Numbers of rows after which its parts end, the last of all: 500000, 1000000, 1200000.

    Raises:
        DatasetCorrupt: its manifest is missing, or another than was committed.
    """
    if ref.kind == "parquet":
        return [ref.rows]
    skip, have = held(ref)
    return [min(end - skip, ref.rows) for end in accumulate(part.rows for part in have)]


def windows(ref: DatasetRef, edges: Sequence[int]) -> list[DatasetRef]:
    """The rows of a dataset between each two of `edges` (from 0, ascending), each as a dataset: what takes the reference reads
    these and the parts that hold them, no others.

    Raises:
        ValueError: it has no such rows.
        DatasetCorrupt: its manifest is missing, or another than was committed.
    """
    have = held(ref)[1]
    found = [parts.range_of(have, start, end - start)[2] for start, end in pairwise(edges)]
    return [
        replace(ref, rows=end - start, start=start, content_sha256=digest, of=ref.content_sha256)
        for (start, end), digest in zip(pairwise(edges), found, strict=True)
    ]


def union(refs: Sequence[DatasetRef], name: str, at: Callable[[str], None] = no_fault) -> DatasetRef:
    """The rows of several datasets, in this order, as a new dataset `name`: a manifest of their parts, nothing is copied.

    Raises:
        DatasetCorrupt: an object is missing or another than was committed.
        StoreError: see `parts.put_manifest`.
    """
    have = [
        replace(part, bytes=part.bytes or len(verified(part))) for ref in refs for part in held(ref)[1]
    ]  # a single object's size is not in its reference
    made = parts.put_manifest(name, have, at)
    known = sorted({ref.schema_fingerprint for ref in refs})
    print_ = known[0] if len(known) == 1 else hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]
    return replace(refs[0], uri=made.uri, rows=made.rows, schema_fingerprint=print_, content_sha256=made.sha256)
