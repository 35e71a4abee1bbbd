"""Backups in an object store: the same as in a folder, one writer at a time, and never in the store that they save."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from baton.errors import BatonError
from baton.recovery import backup as writing
from baton.recovery import index, restore, shelf
from baton.recovery.backup import backup
from baton.recovery.verify import verify
from baton.settings import settings

SAVED = runpy.run_path(str(Path(__file__).with_name("test_backup.py")))
filled, TO, OWNER, come_back, commit, move_to = (
    SAVED[name] for name in ("filled", "TO", "OWNER", "come_back", "commit", "move_to")
)
PLACE = "memory://bucket/backups"


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    yield
    fsspec.filesystem("memory").store.clear()


def kept() -> dict[str, bytes]:
    """What lies in the store, by name below the place of backups."""
    files = fsspec.filesystem("memory")
    return {path.removeprefix("/bucket/backups/"): files.cat_file(path) for path in files.find("/bucket/backups")}


def test_what_went_into_it_comes_back(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = backup(PLACE, TO)
    assert str(written.path) == f"{PLACE}/{written.name}.index"
    assert {name.partition("/")[0] for name in kept()} == {"files", f"{written.name}.index"}, "nor lock nor half a file"
    secret = (filled / "keys/signing.pem").read_bytes()
    assert [name for name, body in kept().items() if secret in body] == []
    home = move_to(tmp_path / "new", monkeypatch)
    come_back(PLACE)
    assert verify(None).faults == []
    assert (home / "keys/signing.pem").read_bytes() == secret
    assert commit(0).cached


def test_only_what_is_new_is_copied_and_what_nobody_names_goes(filled: Path) -> None:
    backup(PLACE, TO)
    before = kept()
    commit(2, rows=6)
    second = backup(PLACE, TO)
    assert before.items() <= kept().items()
    assert second.copied == sum(len(body) for name, body in kept().items() if name not in before and "files/" in name)
    third = backup(PLACE, TO, keep=1)
    assert index.names(PLACE) == [third.name]
    parts = {part.sha256 for part in index.read(PLACE).index.parts.values()}
    assert {name.rpartition("/")[2] for name in kept() if name.startswith("files/")} == parts
    assert restore.check(restore.opened(PLACE, OWNER, any_key=True)) == third.parts


def test_a_file_that_is_missing_or_changed_is_refused_by_name(filled: Path) -> None:
    backup(PLACE, TO)
    files = fsspec.filesystem("memory")
    sha256 = index.read(PLACE).index.parts["warehouse.db"].sha256
    path = f"/bucket/backups/files/{sha256[:2]}/{sha256}"
    files.pipe_file(path, files.cat_file(path)[:-1] + b"~")
    with pytest.raises(BatonError, match=r"^warehouse\.db: its file memory://.*was changed"):
        restore.check(restore.opened(PLACE, OWNER, any_key=True))
    files.rm_file(path)
    with pytest.raises(BatonError, match=r"^warehouse\.db: .*is missing from the backup"):
        restore.check(restore.opened(PLACE, OWNER, any_key=True))


def test_one_writer_at_a_time_and_one_that_died_counts_for_a_day(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writing.Pool(PLACE).writing(), pytest.raises(BatonError, match=r"another backup is being written there, by"):
        backup(PLACE, TO)
    files = fsspec.filesystem("memory")
    dead = {"host": "gone", "process": 7, "at": "2026-01-01T00:00:00+00:00", "token": "x"}
    files.pipe_file("/bucket/backups/lock", json.dumps(dead).encode())
    backup(PLACE, TO)
    assert "lock" not in kept()
    # of two the one that was taken for dead writes no index
    gather = writing.secrets.gather

    def slow(here: object) -> bytes:
        files.pipe_file("/bucket/backups/lock", json.dumps(dead).encode())
        return gather(here)  # type: ignore[arg-type]

    monkeypatch.setattr(writing.secrets, "gather", slow)
    with pytest.raises(BatonError, match="took longer than a day"):
        backup(PLACE, TO)
    assert len(index.names(PLACE)) == 1
    assert "lock" in kept(), "it is the other one's"


def test_not_inside_of_the_store_that_it_saves(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATON_STORE_URL", "memory://bucket")
    settings.cache_clear()
    with pytest.raises(BatonError, match="is inside of memory://bucket, and would be lost with it"):
        backup(PLACE, TO)
    with pytest.raises(BatonError, match="no backup; none was finished there"):
        index.read(PLACE)


def test_an_address_of_a_folder_is_a_folder(tmp_path: Path) -> None:
    assert shelf.at(tmp_path.as_uri()).place("x") == tmp_path / "x"
