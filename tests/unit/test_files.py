"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from baton.files import place


def test_the_first_stays_unless_it_is_to_give_way(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert place(path, "erste Fassung ü")
    assert not place(path, b"second")
    assert path.read_text(encoding="utf-8") == "erste Fassung ü"
    assert place(path, b"second", replace=True)
    assert path.read_bytes() == b"second"
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("replace", [False, True])
def test_what_cannot_be_written_leaves_what_was_there(
    replace: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    path.write_text("before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        place(path, "after", replace=replace)
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def test_only_the_owner_reads_it_whatever_the_mask_says(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        place(tmp_path / "secret", "x")
        place(tmp_path / "public", "x", mode=0o644)
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("secret", "public")] == [0o600, 0o644]
