"""The ledger as a Merkle tree, and its signed checkpoints."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from baton.errors import BatonError
from baton.evidence import from_ledger, proofs
from baton.keys import signing_key
from baton.record import anchor, checkpoint, ledger, tables, tree, warehouse

LEAVES = [hashlib.sha256(str(number).encode()).digest() for number in range(300)]


def plain(first: int, end: int) -> bytes:
    """RFC 9162, 2.1.1, as it stands there."""
    if end - first == 1:
        return hashlib.sha256(b"\0" + LEAVES[first]).digest()
    middle = 1
    while middle * 2 < end - first:
        middle *= 2
    return hashlib.sha256(b"\1" + plain(first, first + middle) + plain(first + middle, end)).digest()


whole = tree.MerkleTree(lambda level, number: plain(number << level, (number + 1) << level))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 64, 129, 300])
def test_each_entry_of_a_tree_is_proven_and_no_other(size: int) -> None:
    root, at_hand = whole.root(size), tree.over(LEAVES[:size])
    assert root == plain(0, size) == at_hand.root(size)
    for index in range(size):
        path, leaf = whole.inclusion(index, size), tree.leaf(LEAVES[index])
        assert at_hand.inclusion(index, size) == path
        assert proofs.included(index, size, leaf, path, root)
        assert not proofs.included(index, size, tree.leaf(b"\0" * 32), path, root)
        assert not proofs.included(index, size, leaf, [*path, root], root)
        if path:
            assert not proofs.included(index, size, leaf, path[:-1], root)
            assert not proofs.included(index ^ 1, size, leaf, path, root)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 64])
def test_each_earlier_tree_is_shown_to_begin_a_later_one(size: int) -> None:
    root = whole.root(size)
    for old in range(size + 1):
        path, before = whole.consistency(old, size), whole.root(old)
        assert proofs.continued(old, size, before, root, path)
        assert not proofs.continued(old, size, b"\0" * 32, root, path)
        assert not old or not proofs.continued(old, size, before, b"\0" * 32, path)  # any tree continues the empty one
        assert not proofs.continued(old, size, before, root, [*path, root])
        assert not path or not proofs.continued(old, size, before, root, path[:-1])


# --- the ledger's own ---


def rows(count: int) -> None:
    """Entries as `append` seals them, without a file's line for each."""
    with warehouse.write() as conn:
        for number in range(count):
            ledger.append(conn, "noted", f"s/{number}", {"n": number})


@pytest.fixture
def filled(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Twelve entries, in blocks of eight instead of 256."""
    monkeypatch.setattr(tree, "BLOCK", 3)
    monkeypatch.setattr(tree, "ENTRIES", 8)
    warehouse.migrate()
    rows(12)
    yield rows
    warehouse.engine().dispose()


def test_a_checkpoint_is_of_the_whole_ledger_and_signed(filled: Callable[[int], None]) -> None:
    made = ledger.checkpoint()
    public = signing_key(anchor.folder(), checkpoint.KEY).public_key().public_bytes_raw()
    assert proofs.head(made.note, public) == (12, made.root)
    with warehouse.read() as conn:
        hashes = [bytes.fromhex(one) for one in conn.execute(sa.select(tables.ledger.c.hash).order_by("seq")).scalars()]
        kept = tree.kept(conn)
        for index in (0, 1, 7, 8, 11):
            assert proofs.included(index, 12, tree.leaf(hashes[index]), kept.inclusion(index, 12), made.root)
    assert ledger.checkpoint() == made
    with pytest.raises(proofs.Unproven, match="not signed by the trusted key"):
        proofs.head(made.note, b"\1" * 32)


def test_a_checkpoint_reads_what_is_new_and_one_block(filled: Callable[[int], None]) -> None:
    filled(5)  # 17: two blocks and one
    ledger.checkpoint()
    filled(3)
    read: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_more: object) -> None:
        read.append(statement)

    sa.event.listen(warehouse.engine(), "before_cursor_execute", note)
    made = ledger.checkpoint()
    sa.event.remove(warehouse.engine(), "before_cursor_execute", note)
    assert made.size == 20
    assert len(read) <= 12
    with warehouse.read() as conn:
        assert conn.execute(sa.select(sa.func.count()).select_from(tables.ledger_tree)).scalar() == 2 + 1


@pytest.mark.parametrize("number", [3, 8, 12])
def test_no_checkpoint_is_signed_over_a_rewritten_ledger(filled: Callable[[int], None], number: int) -> None:
    ledger.checkpoint()
    with warehouse.write() as conn:
        conn.execute(tables.ledger.update().where(tables.ledger.c.seq == number).values(hash="f" * 64))
        conn.execute(tables.ledger_tree.update().values(hash="f" * 64))
    with pytest.raises(BatonError, match=r"not those that .* was signed over"):
        ledger.checkpoint()


def test_no_checkpoint_is_signed_over_a_forged_or_a_missing_entry(filled: Callable[[int], None]) -> None:
    ledger.checkpoint()
    filled(2)
    with warehouse.write() as conn:
        conn.execute(tables.ledger.update().where(tables.ledger.c.seq == 13).values(payload="{}"))
    with pytest.raises(BatonError, match="no checkpoint: entry 13 was changed"):
        ledger.checkpoint()
    with warehouse.write() as conn:
        conn.execute(tables.ledger.delete().where(tables.ledger.c.seq > 10))
    with pytest.raises(BatonError, match="entries 11 to 12 are missing"):
        ledger.checkpoint()


def test_a_tree_without_its_rows_says_what_to_do(filled: Callable[[int], None]) -> None:
    ledger.checkpoint()
    with warehouse.write() as conn:
        conn.execute(tables.ledger_tree.delete())
    with pytest.raises(BatonError, match="lacks rows"):
        ledger.checkpoint()
    before = checkpoint.path().read_text()
    checkpoint.path().unlink()
    assert ledger.checkpoint().note == before


def test_no_proof_is_given_that_does_not_prove(filled: Callable[[int], None]) -> None:
    filled(5)
    at = ledger.checkpoint()
    with warehouse.read() as conn:
        entry = {
            "seq": 12,
            "hash": conn.execute(sa.select(tables.ledger.c.hash).where(tables.ledger.c.seq == 12)).scalar_one(),
        }
        assert from_ledger.proven(conn, [entry], at)
        assert from_ledger.inclusion(conn, 12, at)
    with warehouse.write() as conn:  # the neighbour that the root itself does not need
        conn.execute(tables.ledger_tree.update().where(tables.ledger_tree.c.level == 3).values(hash="f" * 64))
    assert ledger.checkpoint() == at
    with warehouse.read() as conn, pytest.raises(BatonError, match="its table ledger_tree was changed"):
        from_ledger.proven(conn, [entry], at)
    with warehouse.read() as conn, pytest.raises(BatonError, match="its table ledger_tree was changed"):
        from_ledger.inclusion(conn, 12, at)


def test_a_checkpoint_of_another_hand_is_refused(filled: Callable[[int], None]) -> None:
    note = ledger.checkpoint().note
    checkpoint.path().write_text(note.replace("\n12\n", "\n10\n"))
    with pytest.raises(BatonError, match="was not signed with"):
        ledger.checkpoint()


def test_writers_make_one_each_thousand_entries_and_each_hour(
    home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 20)
    warehouse.migrate()
    with pytest.raises(BatonError, match="empty"):
        ledger.checkpoint()
    rows(19)
    assert not checkpoint.path().exists()
    rows(1)
    assert (made := checkpoint.last())
    assert made.size == 20
    rows(1)
    assert checkpoint.last() == made
    hours = time.time() - checkpoint.AGE - 1
    os.utime(checkpoint.path(), (hours, hours))
    rows(1)
    assert (made := checkpoint.last())
    assert made.size == 22
    with warehouse.write() as conn:
        conn.execute(tables.ledger.update().where(tables.ledger.c.seq == 22).values(hash="f" * 64))
    os.utime(checkpoint.path(), (hours, hours))
    rows(1)  # the entry itself is written, and said is that no checkpoint is
    rows(1)
    assert [one.message[:30] for one in caplog.records] == ["no checkpoint of the ledger: t"]
    warehouse.engine().dispose()
