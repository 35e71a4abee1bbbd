"""Rows by key out of a sorted dataset: of each part only the row groups that may hold them, each verified by its own hash.

The manifest, whose hash is the dataset's, names the groups and the hashes of their bytes, so nobody gets other rows than were
committed though nobody reads the whole object.
"""

from __future__ import annotations

import hashlib
import io
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from baton.data import objects, parts
from baton.data.datasets import DatasetRef
from baton.data.parts import Group, StoredPart
from baton.errors import DatasetCorrupt
from baton.record import tree
from baton.record.tree import MerkleTree

if TYPE_CHECKING:
    import pyarrow as pa


def find(ref: DatasetRef, key: str, values: Collection[Any], columns: Sequence[str] | None = None) -> pa.Table:
    """Read the rows whose `key` is one of the values.

    Args:
        ref: a dataset that was written sorted by `key` (`DatasetWriter`).
        columns: only these; default all.

    Raises:
        DatasetCorrupt: an object is missing, or has other bytes than were committed where it was read.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = sorted(set(values))
    chosen = None if columns is None else list(dict.fromkeys([key, *columns]))
    found: list[pa.Table] = []
    these: pa.Array | None = None
    try:
        for part in parts.of_manifest(ref.uri, ref.content_sha256):
            numbers = [number for number, group in enumerate(part.groups[:-1]) if _meets(group, wanted)]
            if not numbers and (found or part.rows):
                continue
            about = pq.read_metadata(pa.BufferReader(_verified(part, part.groups[-1])))
            file = pq.ParquetFile(_Pieces(part), metadata=about)
            table = file.read_row_groups(numbers, columns=chosen, use_threads=False)
            these = pa.array(wanted, table.schema.field(key).type) if these is None else these
            found.append(table.filter(pc.is_in(table.column(key), value_set=these)))
    except FileNotFoundError as error:
        raise DatasetCorrupt(f"{ref.uri}: an object of it is missing; run its stage again to build it anew") from error
    return pa.concat_tables(found) if found else pa.table({})


def row_groups(ref: DatasetRef) -> Iterator[tuple[int, StoredPart, int, Group]]:
    """The groups that have rows, in the order of these: number of the part, the part, number of the group in it, the group.

    Raises:
        DatasetCorrupt: the manifest is missing, or another than was committed.
    """
    for number, part in enumerate(parts.of_manifest(ref.uri, ref.content_sha256)):
        for place, group in enumerate(part.groups[:-1]):
            if group.rows:
                yield number, part, place, group


def tree_of(groups: Iterable[Group]) -> MerkleTree:
    """The tree over row groups in their order; its leaves are the hashes of their bytes, which hold no key."""
    return tree.over([bytes.fromhex(one.sha256) for one in groups])


def _meets(group: Group, wanted: Sequence[Any]) -> bool:
    if not group.rows:
        return False
    place = bisect_left(wanted, group.first)
    return place < len(wanted) and bool(wanted[place] <= group.last)


def _verified(part: StoredPart, group: Group) -> bytes:
    body = objects.get(part.uri, group.at, group.at + group.bytes)
    if hashlib.sha256(body).hexdigest() != group.sha256:
        raise DatasetCorrupt(
            f"{part.uri}: bytes {group.at} to {group.at + group.bytes} are not those that were committed; "
            "run its stage again to build it anew"
        )
    return body


class _Pieces(io.RawIOBase):
    """A part as a file of which only whole groups are fetched, each when something of it is read."""

    def __init__(self, part: StoredPart) -> None:
        self._part, self._place = part, 0
        self._group: Group | None = None
        self._body = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._part.bytes}[whence]
        self._place = start + offset
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        end = self._part.bytes if size is None or size < 0 else min(self._place + size, self._part.bytes)
        found = b""
        for group in self._part.groups:  # in their order; neighbours are asked for at once
            start, stop = max(self._place, group.at), min(end, group.at + group.bytes)
            if start < stop:
                found += self._body_of(group)[start - group.at : stop - group.at]
        if len(found) != max(0, end - self._place):
            raise DatasetCorrupt(f"{self._part.uri}: its groups are not where its manifest says")
        self._place = end
        return found

    def _body_of(self, group: Group) -> bytes:
        if group is not self._group:
            self._group, self._body = group, _verified(self._part, group)
        return self._body
