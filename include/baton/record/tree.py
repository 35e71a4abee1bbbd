"""The ledger as a Merkle tree (RFC 9162): its root at any size, and the proofs that lead there.

A leaf is the 32 bytes of an entry's hash. Roots of complete subtrees of 256 entries and more are kept in the table
`ledger_tree`, so that a root or a proof reads at most two blocks of entries and a few rows, however long the ledger is.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.record.tables import ledger, ledger_tree

BLOCK = 8  # level of the lowest subtrees that are kept
ENTRIES = 2**BLOCK

Subtree = Callable[[int, int], bytes]  # (level, number) -> root of the 2**level entries from number * 2**level on


def leaf(entry: bytes) -> bytes:
    """Hash of a leaf."""
    return hashlib.sha256(b"\0" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees side by side."""
    return hashlib.sha256(b"\1" + left + right).digest()


def split(count: int) -> int:
    """Entries of the left one of two subtrees: the largest power of two below their number."""
    return 1 << (count - 1).bit_length() - 1


class MerkleTree:
    """A tree of which only complete subtrees are asked for, each once."""

    def __init__(self, subtree: Subtree) -> None:
        """Take what answers for complete subtrees."""
        self._subtree = subtree
        self._known: dict[tuple[int, int], bytes] = {}

    def range(self, first: int, end: int) -> bytes:
        """Root of the entries from `first` (counted from 0) up to, not with, `end`; at least one."""
        count = end - first
        level = count.bit_length() - 1
        if count == 1 << level and first % count == 0:
            key = (level, first >> level)
            if key not in self._known:
                self._known[key] = self._subtree(*key)
            return self._known[key]
        middle = first + split(count)
        return node(self.range(first, middle), self.range(middle, end))

    def root(self, size: int) -> bytes:
        """Root of the first `size` entries."""
        return self.range(0, size) if size else hashlib.sha256().digest()

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Proof that entry `index` (counted from 0) is among the first `size`; the leaf's neighbour comes first."""
        first, end, path = 0, size, []
        while end - first > 1:
            middle = first + split(end - first)
            if index < middle:
                path.append(self.range(middle, end))
                end = middle
            else:
                path.append(self.range(first, middle))
                first = middle
        return path[::-1]

    def consistency(self, old: int, size: int) -> list[bytes]:
        """Proof that the first `old` entries begin the first `size`: empty where they are the same, or none."""
        if old in (0, size):
            return []
        first, end, path, whole = 0, size, [], True
        while end != old:
            middle = first + split(end - first)
            if old <= middle:
                path.append(self.range(middle, end))
                end = middle
            else:
                path.append(self.range(first, middle))
                first, whole = middle, False
        return ([] if whole else [self.range(first, end)]) + path[::-1]


def over(entries: Sequence[bytes]) -> MerkleTree:
    """The tree of entries that are at hand, each by its hash."""
    leaves = [leaf(one) for one in entries]
    return MerkleTree(lambda level, number: _folded(leaves[number << level : (number + 1) << level]))


def kept(conn: Connection) -> MerkleTree:
    """The tree of the ledger, as far as `grow` has come."""
    blocks: dict[int, list[bytes]] = {}

    def subtree(level: int, number: int) -> bytes:
        if level >= BLOCK:
            table = ledger_tree.c
            query = sa.select(table.hash).where(table.level == level, table.number == number)
            return bytes.fromhex(str(conn.execute(query).scalar_one()))
        block = number >> BLOCK - level
        if block not in blocks:
            blocks[block] = [leaf(bytes.fromhex(one)) for one in _hashes(conn, block)]
        at = (number << level) % ENTRIES
        return _folded(blocks[block][at : at + 2**level])

    return MerkleTree(subtree)


def _hashes(conn: Connection, block: int) -> Iterable[str]:
    c, first = ledger.c, block * ENTRIES
    query = sa.select(c.hash).where(c.seq > first, c.seq <= first + ENTRIES).order_by(c.seq)
    return conn.execute(query).scalars()


def _folded(hashes: list[bytes]) -> bytes:
    """Root of a complete subtree, of its leaves' hashes."""
    while len(hashes) > 1:
        hashes = [node(*hashes[at : at + 2]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def grown(conn: Connection, size: int, new: Iterable[str]) -> Iterator[tuple[int, int, bytes]]:
    """Level, number and root of the subtrees that become complete by new entries.

    Args:
        conn: for what is kept already of the first `size` entries.
        size: entries that the tree has.
        new: hashes of those behind them, in their order.
    """
    number = size // ENTRIES
    block = [leaf(bytes.fromhex(one)) for one in _hashes(conn, number)][: size % ENTRIES]
    tree, made = kept(conn), dict[tuple[int, int], bytes]()
    for entry in new:
        block.append(leaf(bytes.fromhex(entry)))
        if len(block) < ENTRIES:
            continue
        level, at, root = BLOCK, number, _folded(block)
        yield level, at, root
        while at % 2:  # its left neighbour is complete
            left = made.pop((level, at - 1), None) or tree.range((at - 1) << level, at << level)
            level, at, root = level + 1, at // 2, node(left, root)
            yield level, at, root
        made[level, at] = root
        number, block = number + 1, []
