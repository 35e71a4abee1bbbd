"""Backup and restore on one machine: the state comes back whole, on an empty home alone, and never from a damaged backup."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from baton.actions import switch
from baton.data import objects, parts
from baton.errors import BatonError
from baton.keys import signing_key
from baton.record import anchor, ledger, warehouse
from baton.recovery import backup as writing
from baton.recovery import index, restore, sealing
from baton.recovery.backup import backup
from baton.recovery.index import Contents, Filed
from baton.recovery.verify import verify
from baton.settings import settings
from baton.stages import groups
from baton.stages.slots import Slot, head

STATE = runpy.run_path(str(Path(__file__).with_name("test_verify.py")))
commit, HOURS = STATE["commit"], STATE["HOURS"]
OWNER = X25519PrivateKey.generate()
TO = OWNER.public_key()


@pytest.fixture
def filled(home: Path) -> Path:
    """A home with two partitions in force and an earlier version of one, an artefact, a password, and no services."""
    warehouse.migrate()
    commit(0), commit(1, rows=5), commit(1, rows=4)
    for name, content in (("mlflow/artifacts/1/models/m-1/tree.txt", "tree"), ("secrets/mlflow.json", "{}")):
        (home / name).parent.mkdir(parents=True)
        (home / name).write_text(content)
    return home


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def move_to(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another machine: nothing of the old one but the backup."""
    warehouse.engine().dispose()
    monkeypatch.setenv("BATON_HOME", str(home))
    settings.cache_clear()
    return home


def come_back(shelf: Path, **how: Any) -> None:
    found = restore.opened(shelf, OWNER, any_key=True, **how)
    restore.restore(found)
    restore.record(found)


# --- the way there and back ---


def test_a_restored_home_holds_the_same_and_goes_on(
    filled: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify(None)
    before, entries = files(filled), ledger.entries()
    written = backup(shelf, TO)
    commit(2, rows=6)  # is lost
    elsewhere = move_to(tmp_path / "new place", monkeypatch)
    come_back(shelf)
    after = files(elsewhere)
    for name in ("keys/signing.pem", "keys/signing.pub", "secrets/mlflow.json", "ledger/key", "ledger/verified",
                 "mlflow/artifacts/1/models/m-1/tree.txt"):  # fmt: skip
        assert after[name] == before.get(name, after[name]), name
    assert {name: body for name, body in after.items() if name.startswith("store/")} == {
        name: body for name, body in before.items() if name.startswith("store/")
    }
    assert [entry for entry in ledger.entries() if entry.seq <= len(entries)] == entries
    assert [entry.kind for entry in ledger.entries()][:3] == ["effects_stopped", "restored", "backup_begun"]
    found = verify(None)
    assert (found.faults, found.datasets) == ([], 2)
    assert head(Slot("shop", "ingest", HOURS[2])) is None
    assert commit(0).cached  # at its new address
    assert not commit(2, rows=6).cached
    assert verify(None).faults == []
    assert str(switch.stopped()).endswith(
        f"(restored from the backup {written.path.stem}: later effects may have been sent)"
    )
    modes = {
        path.name: path.stat().st_mode & 0o077
        for path in (elsewhere, elsewhere / "warehouse.db", elsewhere / "keys/signing.pem")
    }
    assert set(modes.values()) == {0}


def test_secrets_are_nowhere_open(filled: Path, shelf: Path) -> None:
    (filled / "secrets/mlflow.json").write_text('{"password": "open sesame"}')
    backup(shelf, TO)
    for secret in (b"open sesame", (filled / "ledger/key").read_bytes(), (filled / "keys/signing.pem").read_bytes()):
        assert [name for name, body in files(shelf).items() if secret in body] == []
    assert [name for name in files(shelf) if name.startswith("unfinished")] == []
    assert {path.stat().st_mode & 0o077 for path in shelf.rglob("*") if path.is_file() and path.name != "lock"} == {0}


def test_a_second_backup_copies_what_is_new(filled: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup(shelf, TO)
    opened: list[str] = []
    read = writing.opened
    monkeypatch.setattr(writing, "opened", lambda uri: opened.append(uri) or read(uri))
    new = commit(2, rows=6)
    tree = filled / "mlflow/artifacts/1/models/m-1/tree.txt"
    (shelf / "unfinished/half").write_text("of a backup that was killed")
    kept = {name: body for name, body in files(shelf).items() if name.startswith("files/")}
    backup(shelf, TO)
    assert opened == [new.ref.uri]
    assert kept.items() <= files(shelf).items()
    assert list((shelf / "unfinished").iterdir()) == []
    assert len(index.names(shelf)) == 2
    tree.write_text("oak!")
    backup(shelf, TO)
    part = index.read(shelf).index.parts["mlflow/artifacts/1/models/m-1/tree.txt"]
    assert (shelf / "files" / part.sha256[:2] / part.sha256).read_text() == "oak!"


def test_an_earlier_backup_is_restored_by_its_name(
    filled: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = backup(shelf, TO).path.stem
    commit(2, rows=6)
    backup(shelf, TO)
    move_to(tmp_path / "new", monkeypatch)
    with pytest.raises(BatonError, match=f"no backup 2020; there are: {first}"):
        come_back(shelf, name="2020")
    come_back(shelf, name=first)
    assert head(Slot("shop", "ingest", HOURS[2])) is None


def test_a_store_elsewhere_comes_back_elsewhere(
    filled: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(shelf, TO)
    store = tmp_path / "an other store"
    monkeypatch.setenv("BATON_STORE_URL", store.as_uri())
    move_to(tmp_path / "new", monkeypatch)
    come_back(shelf)
    assert len(list(objects.listed())) == 3
    assert (verify(None).faults, (tmp_path / "new/store").exists()) == ([], False)
    # and away again: what was written under the old address and what came under the new one
    commit(2, rows=6)
    monkeypatch.delenv("BATON_STORE_URL")
    settings.cache_clear()
    commit(3, rows=7)
    backup(shelf, TO)
    move_to(tmp_path / "third", monkeypatch)
    come_back(shelf)
    assert (verify(None).faults, len(list(objects.listed()))) == ([], 5)


def test_a_dataset_of_parts_comes_back_elsewhere(
    filled: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROWS", 2)
    monkeypatch.setattr(parts, "STEP", 1)
    groups.whole(Slot("shop", "ingest", HOURS[2]), [commit(2, rows=5, of=0).ref], [{}], {})  # parts in another folder
    backup(shelf, TO)
    monkeypatch.setenv("BATON_STORE_URL", (tmp_path / "an other store").as_uri())
    move_to(tmp_path / "new", monkeypatch)
    come_back(shelf)
    assert (verify(None).faults, len(list(objects.listed()))) == ([], 3 + 4 + 1)


def test_only_so_many_stay_and_those_stay_whole(filled: Path, shelf: Path) -> None:
    names = [backup(shelf, TO).path.stem]
    for item in list(objects.listed(lambda name: HOURS[1] in name)):  # an earlier version and the one in force
        objects.delete(item.uri)
    commit(1, rows=4)
    names += [backup(shelf, TO, keep=2).path.stem, backup(shelf, TO, keep=2).path.stem]
    assert index.names(shelf) == names[1:]
    parts = [part.sha256 for name in names[1:] for part in index.read(shelf, name).index.parts.values()]
    assert {name.rpartition("/")[2] for name in files(shelf) if name.startswith("files/")} == set(parts)
    for name in names[1:]:
        assert restore.check(restore.opened(shelf, OWNER, name, any_key=True)) > 0


# --- what is written while others write ---


def test_entries_of_the_moment_are_in_anchor_and_database_alike(
    filled: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = writing.databases.copy

    def busy(path: Path, target: Path) -> None:
        keep(path, target)
        commit(4)  # after the copy: its line is in the anchor, its entry is not in the copy

    monkeypatch.setattr(writing.databases, "copy", busy)
    backup(shelf, TO)
    monkeypatch.undo()
    move_to(tmp_path / "new", monkeypatch)
    come_back(shelf)
    assert verify(None).faults == []


def test_an_entry_without_a_line_is_waited_for(filled: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "PATIENCE", 0.0)
    monkeypatch.setattr(anchor, "add", lambda *_: None)
    with pytest.raises(BatonError, match=r"has no line in .*anchor yet; repeat the backup"):
        backup(shelf, TO)
    assert index.names(shelf) == []


# --- refusals while writing ---


def test_what_is_in_force_and_missing_or_changed_stops_it(filled: Path, shelf: Path) -> None:
    ref = commit(2, rows=6).ref
    path = objects.path_of(ref.uri)
    body = path.read_bytes()
    path.write_bytes(body[:-1] + b"x")
    with pytest.raises(BatonError, match=f"{path.name}: has other bytes than were committed"):
        backup(shelf, TO)
    path.unlink()
    with pytest.raises(BatonError, match=f"{path.name} is in force and missing"):
        backup(shelf, TO)
    assert index.names(shelf) == []
    with pytest.raises(BatonError, match="none was finished there"):
        restore.opened(shelf, OWNER, any_key=True)


def test_an_earlier_version_that_was_retained_is_no_loss(filled: Path, shelf: Path) -> None:
    with warehouse.read() as conn:
        uris = (
            conn.exec_driver_sql("select uri from commits where id not in (select commit_id from heads)")
            .scalars()
            .all()
        )
    objects.delete(uris[0])
    assert backup(shelf, TO).parts == len(index.read(shelf).index.parts)


def test_not_inside_of_what_it_saves_and_not_two_at_once(filled: Path, shelf: Path) -> None:
    with pytest.raises(BatonError, match="would be lost with it"):
        backup(filled / "backups", TO)
    with writing.Pool(shelf).writing(), pytest.raises(BatonError, match="another backup is being written"):
        backup(shelf, TO)


# --- refusals on the way back ---


def test_a_target_that_holds_something_is_refused(
    filled: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(shelf, TO)
    with pytest.raises(BatonError, match=r"home is not empty \(keys\)"):
        come_back(shelf)
    home = move_to(tmp_path / "new", monkeypatch)
    database = tmp_path / "elsewhere.db"
    database.touch()
    monkeypatch.setenv("BATON_WAREHOUSE_URL", f"sqlite:///{database}")
    settings.cache_clear()
    with pytest.raises(BatonError, match=r"elsewhere\.db is not empty"):
        come_back(shelf)
    monkeypatch.setenv("BATON_WAREHOUSE_URL", "postgresql+psycopg2://nobody@localhost/none")
    settings.cache_clear()
    with pytest.raises(BatonError, match="the backup's warehouse is sqlite"):
        come_back(shelf)
    monkeypatch.delenv("BATON_WAREHOUSE_URL")
    monkeypatch.setenv("BATON_STORE_URL", (filled / "store").as_uri())
    settings.cache_clear()
    with pytest.raises(BatonError, match=r"the store .* is not empty"):
        come_back(shelf)
    assert not home.exists()


def test_what_a_killed_restore_left_is_no_hindrance(
    filled: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(shelf, TO)
    home = move_to(tmp_path / "new", monkeypatch)
    (home / ".restoring/store").mkdir(parents=True)
    volume, mounted = tmp_path / "volume", home / "ledger"
    volume.mkdir(), mounted.symlink_to(volume)  # as a new volume of a container: there, and elsewhere
    (home / "mlflow/artifacts").mkdir(parents=True)
    come_back(shelf)
    assert not (home / ".restoring").exists()
    assert (volume / "anchor").exists()
    assert (home / "mlflow/artifacts/1/models/m-1/tree.txt").read_text() == "tree"


def damaged(shelf: Path, name: str, how: Callable[[Path], None]) -> None:
    part = index.read(shelf).index.parts[name]
    how(shelf / "files" / part.sha256[:2] / part.sha256)


def test_every_file_that_is_missing_or_changed_is_refused_by_name(
    filled: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(shelf, TO)
    whole = tmp_path / "whole"
    shutil.copytree(shelf, whole)
    home = move_to(tmp_path / "new", monkeypatch)
    monkeypatch.setenv("BATON_STORE_URL", (tmp_path / "store").as_uri())
    settings.cache_clear()
    for name in index.read(shelf).index.parts:
        for why, how in (
            ("missing from", Path.unlink),
            ("changed after", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"~")),
        ):
            shutil.rmtree(shelf)
            shutil.copytree(whole, shelf)
            damaged(shelf, name, how)
            with pytest.raises(BatonError, match=f"^{name}: .*{why} the backup"):
                restore.check(restore.opened(shelf, OWNER, any_key=True))
            with pytest.raises(BatonError, match=f"^{name}: "):
                come_back(shelf)
            left = [*home.iterdir()] if home.exists() else []
            assert (left, list(objects.listed())) == ([], []), name


def test_an_index_that_was_changed_is_refused(filled: Path, shelf: Path) -> None:
    path = backup(shelf, TO).path
    body = path.read_bytes()
    document = json.loads(body.partition(b"\n")[0])
    document["records"] += 1
    path.write_bytes(json.dumps(document).encode() + b"\n" + body.partition(b"\n")[2])
    with pytest.raises(BatonError, match="was changed after it was signed"):
        restore.opened(shelf, OWNER, any_key=True)
    for broken in (b"", b"{}", body[:50], body.replace(b'"format":1', b'"format":9')):
        path.write_bytes(broken)
        with pytest.raises(BatonError, match=r"not an index|of another format"):
            index.read(shelf)
    path.write_bytes(body)
    path.rename(path.with_name("2020-01-01T00-00-00.000Z.index"))
    with pytest.raises(BatonError, match="somebody renamed it"):
        index.read(shelf)


def test_a_part_stays_below_its_folder(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    for name in ("../x", "/etc/passwd", "a/../../b", "a//b"):
        made = Contents("2026-11-30T10-00-00.000Z", "file:///s", "sqlite", 1, {name: Filed("a" * 64, 1)})
        index.write(tmp_path, made, key)
        with pytest.raises(BatonError, match="not a place below a folder"):
            index.read(tmp_path)
        (tmp_path / "2026-11-30T10-00-00.000Z.index").unlink()


# --- whose backup it is ---


def test_a_public_key_alone_makes_nobody_trusted(filled: Path, shelf: Path, tmp_path: Path) -> None:
    written = backup(shelf, TO)
    with pytest.raises(BatonError, match=f"signed with key {written.signer}.*--signed-by"):
        restore.opened(shelf, OWNER)
    assert restore.opened(shelf, OWNER, signed_by=filled / "keys/signing.pub").signer == written.signer
    other = tmp_path / "other.pub"
    strange = Ed25519PrivateKey.generate().public_key()
    other.write_bytes(strange.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(BatonError, match=f"signed with key {written.signer}, not with"):
        restore.opened(shelf, OWNER, signed_by=other)
    other.write_text("no key")
    with pytest.raises(BatonError, match="no public key in PEM form"):
        restore.opened(shelf, OWNER, signed_by=other)


def test_whoever_knows_the_passphrase_is_believed(filled: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "COST", 2**4)
    written = backup(shelf, "correct horse battery")
    assert restore.opened(shelf, "correct horse battery").signer == written.signer
    with pytest.raises(BatonError, match="do not open"):
        restore.opened(shelf, "another horse battery")
    # an index that somebody else signed over the same secrets
    forged = Contents(**{**vars(index.read(shelf).index), "name": "2030-01-01T00-00-00.000Z"})
    index.write(shelf, forged, Ed25519PrivateKey.generate())
    with pytest.raises(BatonError, match=r"signed with key .*, not with"):
        restore.opened(shelf, "correct horse battery")


def test_two_backups_of_one_moment_do_not_overwrite_each_other(filled: Path, tmp_path: Path) -> None:
    made = Contents("2026-11-30T10-00-00.000Z", "file:///s", "sqlite", 1)
    index.write(tmp_path, made, signing_key(filled / "keys"))
    with pytest.raises(BatonError, match="is there already"):
        index.write(tmp_path, made, signing_key(filled / "keys"))
