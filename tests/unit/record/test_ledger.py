"""The ledger: a whole chain verifies; all tampering is detected and the first broken entry named."""

import hashlib
import json
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from baton.errors import BatonError
from baton.record import anchor, ledger, tables, warehouse
from baton.settings import settings

RECORDS = 12


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BATON_HOME", str(tmp_path))
    settings.cache_clear()
    warehouse.migrate()
    yield tmp_path
    warehouse.engine().dispose()
    settings.cache_clear()


@pytest.fixture
def filled(home):
    for number in range(1, RECORDS + 1):
        append(number)
    assert ledger.verify().ok
    return home


def append(number, kind="decision_taken", subject=None):
    with warehouse.write() as conn:
        return ledger.append(conn, kind, subject or f"flow/{number % 3}", {"number": number})


def rows():
    with warehouse.read() as conn:
        return [dict(row) for row in conn.execute(sa.select(tables.ledger).order_by(tables.ledger.c.seq)).mappings()]


def replace_all(new):
    with warehouse.write() as conn:
        conn.execute(tables.ledger.delete())
        if new:
            conn.execute(tables.ledger.insert(), new)


def digest(row):
    """The hash of an entry, as anybody may compute it."""
    hashed = [row[name] for name in ("seq", "at", "kind", "subject", "payload", "prev")]
    return hashlib.sha256(json.dumps(hashed).encode()).hexdigest()


def rehash(entries, start):
    """What somebody with the database and the source would do: make the chain whole again from `start` on."""
    prev = entries[start - 1]["hash"] if start else ledger.GENESIS
    for row in entries[start:]:
        row["prev"] = prev
        row["hash"] = prev = digest(row)
    return entries


# --- what is fine ---


def test_an_empty_ledger_is_whole(home):
    verdict = ledger.verify()
    assert (verdict.ok, verdict.records, verdict.first_broken, verdict.head) == (True, 0, None, ledger.GENESIS)


def test_entries_are_numbered_chained_and_anchored(home):
    assert [append(number) for number in (1, 2, 3)] == [1, 2, 3]
    stored = rows()
    assert [row["prev"] for row in stored] == [ledger.GENESIS, stored[0]["hash"], stored[1]["hash"]]
    lines = anchor.anchor_path().read_text().splitlines()
    assert lines == [f"{row['seq']} {row['hash']} {row['seal']}" for row in stored]
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in [anchor.folder(), *anchor.folder().iterdir()]} == {
        "ledger": "0o700", "key": "0o600", "anchor": "0o600",
    }  # fmt: skip
    assert ledger.verify() == ledger.ChainCheck(True, 3, None, stored[2]["hash"], "", 0)


def test_a_rolled_back_transaction_leaves_no_trace(home):
    with pytest.raises(ZeroDivisionError), warehouse.write() as conn:  # noqa: PT012
        ledger.append(conn, "kind", "subject", {})
        _ = 1 / 0
    assert append(1) == 1
    assert ledger.verify().ok


def test_several_entries_of_one_transaction(home):
    with warehouse.write() as conn:
        assert [ledger.append(conn, "kind", "subject", {"n": n}) for n in range(3)] == [1, 2, 3]
    assert ledger.verify() == ledger.ChainCheck(True, 3, None, rows()[2]["hash"], "", 0)


def test_entries_filters_newest_first(filled):
    append(99, kind="repaired", subject="flow/10")
    assert [entry.payload["number"] for entry in ledger.entries(limit=2)] == [99, RECORDS]
    assert {entry.subject for entry in ledger.entries(subject="flow/1")} == {"flow/1"}
    assert len(ledger.entries(subject="flow/")) == RECORDS + 1
    assert [entry.seq for entry in ledger.entries(kind="repaired")] == [RECORDS + 1]
    assert ledger.entries(subject="flow/1_") == []  # no pattern


def test_only_committing_transactions_may_append(home):
    with warehouse.read() as conn, pytest.raises(BatonError, match="write"):
        ledger.append(conn, "kind", "subject", {})
    with warehouse.write() as conn, conn.begin_nested(), pytest.raises(BatonError, match="savepoint"):
        ledger.append(conn, "kind", "subject", {})
    with warehouse.write() as conn, pytest.raises(TypeError):
        ledger.append(conn, "kind", "subject", {"x": object()})


def test_concurrent_writers_build_one_chain(home):
    code = """
from baton.record import ledger, warehouse
for number in range(20):
    warehouse.transact(lambda conn: ledger.append(conn, "kind", "subject", {"number": number}))
"""
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(timeout=120) for process in started] == [0] * 3
    verdict = ledger.verify()
    assert (verdict.ok, verdict.records, verdict.unanchored) == (True, 60, 0)


def append_and_die(number):
    """An entry whose process dies between commit and anchor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warehouse, "after_commit", lambda conn, callback: None)
        append(number)


def test_a_death_between_commit_and_anchor_is_no_tampering(home):
    append(1)
    append_and_die(2)
    verdict = ledger.verify()
    assert (verdict.ok, verdict.unanchored) == (True, 1)
    append_and_die(3)
    append(4)
    verdict = ledger.verify()
    assert (verdict.ok, verdict.unanchored) == (True, 0), "the next entry writes the lines that are missing"
    assert len(anchor.anchor_path().read_text().splitlines()) == 4


def test_a_line_that_another_process_wrote_first_is_not_written_twice(home):
    append(1)
    append_and_die(2)
    append(3)
    stored = rows()[1]
    anchor.add(stored["seq"], stored["hash"], lambda first, last: pytest.fail("nothing is missing"))
    assert [line.split()[0] for line in anchor.anchor_path().read_text().splitlines()] == ["1", "2", "3"]


def test_a_torn_line_of_the_anchor_is_passed_over(filled):
    with anchor.anchor_path().open("a") as file:
        file.write("13 abc")
    append(13)
    assert ledger.verify().unanchored == 0, "its own line stands by itself at once"
    append(14)
    assert (ledger.verify().ok, ledger.verify().unanchored) == (True, 0)
    assert anchor.anchor_path().read_text().splitlines()[-2].startswith("13 ")


# --- what is not ---


def edited(entries, k):
    entries[k]["payload"] = json.dumps({"number": 1000})
    return entries, k + 1


def edited_and_rehashed(entries, k):
    entries[k]["payload"] = json.dumps({"number": 1000})
    entries[k]["hash"] = digest(entries[k])
    return entries, k + 1


def backdated(entries, k):
    entries[k]["at"] = "2020-01-01T00:00:00.000000Z"
    return entries, k + 1


def deleted(entries, k):
    return entries[:k] + entries[k + 1 :], k + 1


def deleted_and_renumbered(entries, k):
    left = entries[:k] + entries[k + 1 :]
    for number, row in enumerate(left, 1):
        row["seq"] = number
    return rehash(left, k), k + 1


def inserted(entries, k):
    new = [dict(row) for row in entries]
    new.insert(k, {**new[k], "payload": json.dumps({"number": 1000})})
    for number, row in enumerate(new, 1):
        row["seq"] = number
    return new, k + 1


def inserted_and_rehashed(entries, k):
    new, broken = inserted(entries, k)
    return rehash(new, k), broken


def reordered(entries, k):
    a, b = entries[k], entries[k + 1]
    a["seq"], b["seq"] = b["seq"], a["seq"]
    return sorted(entries, key=lambda row: row["seq"]), k + 1


def truncated(entries, k):
    return entries[:k], k + 1


def emptied(entries, _k):
    return [], 1


def rewritten_from_the_middle(entries, k):
    entries[k]["payload"] = json.dumps({"number": 1000})
    return rehash(entries, k), k + 1


def given_a_forged_start(entries, _k):
    return [{**entries[0], "seq": 0}, *entries], 0


MUTATIONS = [
    edited, edited_and_rehashed, backdated, deleted, deleted_and_renumbered, inserted, inserted_and_rehashed,
    reordered, truncated, emptied, rewritten_from_the_middle, given_a_forged_start,
]  # fmt: skip


@pytest.mark.parametrize("mutate", MUTATIONS)
@pytest.mark.parametrize("k", [0, 5, RECORDS - 2])
def test_tampering_is_detected_and_the_first_broken_entry_named(filled, mutate, k):
    changed, broken = mutate(rows(), k)
    replace_all(changed)
    verdict = ledger.verify()
    assert not verdict.ok
    assert verdict.first_broken == broken
    assert str(broken) in verdict.reason or "out of order" in verdict.reason


def test_entries_written_over_a_cut_end_do_not_hide_the_cut(filled):
    replace_all(rows()[:-2])
    for number in range(5):
        append(100 + number)
    verdict = ledger.verify()
    assert (verdict.ok, verdict.first_broken, "rewritten" in verdict.reason) == (False, RECORDS - 1, True)


def test_a_missing_anchor_is_not_taken_for_wholeness(filled):
    copy = filled / "copy"
    anchor.anchor_path().rename(copy)
    verdict = ledger.verify()
    assert (verdict.ok, verdict.first_broken, "missing" in verdict.reason) == (False, None, True)
    assert ledger.verify(copy).ok


def test_random_single_byte_changes_are_all_detected(filled):
    rng = random.Random(7)
    original = rows()
    for _ in range(60):
        changed = [dict(row) for row in original]
        row = rng.choice(changed)
        name = rng.choice(["at", "kind", "subject", "payload", "prev", "hash", "seal"])
        place = rng.randrange(len(row[name]))
        row[name] = row[name][:place] + chr(ord(row[name][place]) ^ 1) + row[name][place + 1 :]
        replace_all(changed)
        verdict = ledger.verify()
        assert not verdict.ok, (row["seq"], name, place)
        assert verdict.first_broken == row["seq"]


# --- somebody who can write to the database, and to the anchor, but has no key ---


def later(monkeypatch, seconds=61):
    """Let everything on record be so much older."""
    now = datetime.now(UTC) + timedelta(seconds=seconds)
    monkeypatch.setattr(ledger, "datetime", SimpleNamespace(now=lambda zone: now, fromisoformat=datetime.fromisoformat))


def test_an_entry_that_plain_sql_added_is_not_taken_for_one_of_batons(filled):
    last = rows()[-1]
    forged = {**last, "seq": last["seq"] + 1, "payload": '{"answer": "approved"}', "prev": last["hash"]}
    with warehouse.write() as conn:
        conn.execute(tables.ledger.insert().values({**forged, "hash": digest(forged)}))
    for number in (1, 2):
        verdict = ledger.verify()
        assert (verdict.ok, verdict.first_broken) == (False, RECORDS + 1)
        assert "not written by Baton" in verdict.reason
        append(number)
    assert f"\n{RECORDS + 1} " not in anchor.anchor_path().read_text(), "the next entry does not vouch for it"


@pytest.mark.parametrize(
    "change", [lambda found: rewritten_from_the_middle(found, 5)[0], lambda found: found[:-3], list]
)
def test_an_emptied_anchor_proves_nothing(filled, change):
    replace_all(change(rows()))
    for content in ("", "1 abc\n"):
        anchor.anchor_path().write_text(content)
        assert not ledger.verify().ok
    append(1)
    assert not ledger.verify().ok, "later entries do not heal it"


def test_an_entry_has_a_line_of_the_anchor_within_a_minute(filled, monkeypatch):
    append_and_die(RECORDS)
    assert ledger.verify().ok
    later(monkeypatch)
    verdict = ledger.verify()
    assert (verdict.ok, verdict.first_broken, verdict.unanchored) == (False, RECORDS + 1, 1)
    later(monkeypatch, -61)
    assert not ledger.verify().ok, "nor is an entry of the future excused"


def test_lines_that_were_added_to_the_anchor_need_the_key(filled):
    replace_all(rehash(rows(), 5))
    lines = [f"{row['seq']} {row['hash']} {'0' * anchor.SEAL}\n" for row in rows()]
    anchor.anchor_path().write_text("".join(lines))
    assert not ledger.verify().ok


def test_the_last_check_remembers_where_the_ledger_was(filled):
    ledger.remember(ledger.verify(), "tester")
    whole, lines = rows(), anchor.anchor_path().read_text().splitlines(keepends=True)
    replace_all(whole[:-2])  # back to an earlier state, database and anchor together
    anchor.anchor_path().write_text("".join(lines[:-2]))
    for new in (False, True):
        verdict = ledger.verify(new=new)
        assert (verdict.ok, verdict.first_broken) == (False, RECORDS - 1)
        assert "verified" in verdict.reason
    append(1)
    append(2)
    assert ledger.verify(new=True).first_broken == RECORDS, "another entry has its number"
    replace_all(whole)
    for new in (False, True):
        anchor.anchor_path().write_text("".join(lines[:-2]))
        assert "does not name entry 12" in ledger.verify(new=new).reason


def test_only_what_is_new_is_looked_at(filled):
    ledger.remember(ledger.verify(), "tester")
    for number in range(3):
        append(number)
    verdict = ledger.verify(new=True)
    assert (verdict.ok, verdict.records, verdict.after, verdict.unanchored) == (True, RECORDS + 3, RECORDS, 0)
    replace_all(edited(rows(), RECORDS + 1)[0])
    assert ledger.verify(new=True).first_broken == RECORDS + 2
    failed = ledger.remember(ledger.verify(), "tester")
    assert ledger.last_check() == failed, "the last check, not the first"
    assert (failed["ok"], failed["whole"]) == (False, RECORDS), "the head that was verified stays"


def test_a_record_of_a_check_needs_the_key(filled):
    kept = ledger.remember(ledger.verify(), "tester")
    assert ledger.last_check() == kept
    path = anchor.folder() / "verified"
    path.write_text(path.read_text().replace("tester", "mallory"))
    assert not ledger.verify().ok
    assert "not written by Baton" in ledger.last_check()["reason"]


def test_a_copy_of_the_anchor_may_be_older_and_shows_what_was_put_back(filled):
    copy = filled / "copy"
    copy.write_bytes(anchor.anchor_path().read_bytes())
    append(1)
    verdict = ledger.verify(copy)
    assert (verdict.ok, verdict.unanchored) == (True, 1)
    replace_all(rows()[:4])
    anchor.anchor_path().write_text("".join(copy.read_text().splitlines(keepends=True)[:4]))
    assert ledger.verify().ok, "an earlier state, restored as a whole"
    assert ledger.verify(copy).first_broken == 5
    copy.write_text("".join(copy.read_text().splitlines(keepends=True)[2:]))
    assert ledger.verify(copy).first_broken == 1, "a copy with a hole"


def test_without_the_key_nothing_is_written_or_believed(filled):
    (anchor.folder() / "key").rename(filled / "elsewhere")
    with pytest.raises(BatonError, match="bring it back"):
        append(1)
    assert (ledger.verify().ok, ledger.verify().records) == (False, RECORDS)
    assert "key is missing" in ledger.verify().reason
    replace_all([])
    assert "key is missing" in ledger.verify().reason, "an empty ledger with an anchor had one"
    assert not (anchor.folder() / "key").exists()
