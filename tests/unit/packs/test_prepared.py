"""A pack's data are made once, as a whole, and again when a file or the origin is another."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.errors import SourceError
from baton.packs.downloads import PackagedFile, file_sha256
from baton.packs.prepared import Builder, intact, prepared

ORIGIN = {"layout": 1, "sha256": "ab"}


class Build:
    """Counts how often it is asked."""

    def __init__(self, fails: bool = False) -> None:
        self.calls, self.fails = 0, fails

    def __call__(self, builder: Builder, work: Path) -> dict[str, Any]:
        self.calls += 1
        builder.write(pd.DataFrame({"a": [1, 2]}), "rows/hour=00.parquet")
        if self.fails:
            raise ValueError("half done")
        return {"rows": 2}


def test_a_folder_is_made_once_and_knows_its_files(tmp_path: Path) -> None:
    build, folder = Build(), tmp_path / "data" / "pack"
    manifest = prepared(folder, ORIGIN, build)
    assert prepared(folder, ORIGIN, build) == manifest
    assert (build.calls, manifest["rows"], list(manifest["files"])) == (1, 2, ["rows/hour=00.parquet"])
    assert pd.read_parquet(folder / "rows/hour=00.parquet")["a"].tolist() == [1, 2]
    assert [path.name for path in folder.parent.iterdir()] == ["pack"]


@pytest.mark.parametrize("harm", ["file", "manifest", "missing"])
def test_what_is_not_whole_is_made_again(tmp_path: Path, harm: str) -> None:
    build, folder = Build(), tmp_path / "pack"
    prepared(folder, ORIGIN, build)
    file = folder / "rows/hour=00.parquet"
    if harm == "file":
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    elif harm == "manifest":
        (folder / "manifest.json").write_text("[]")
    else:
        file.unlink()
    assert intact(folder, ORIGIN) is None
    prepared(folder, ORIGIN, build)
    assert build.calls == 2
    assert intact(folder, ORIGIN) is not None


def test_another_origin_makes_it_again(tmp_path: Path) -> None:
    build = Build()
    prepared(tmp_path / "pack", ORIGIN, build)
    prepared(tmp_path / "pack", {**ORIGIN, "layout": 2}, build)
    assert build.calls == 2
    assert json.loads((tmp_path / "pack/manifest.json").read_text())["origin"]["layout"] == 2


def test_a_build_that_fails_leaves_the_old_folder(tmp_path: Path) -> None:
    prepared(tmp_path / "pack", ORIGIN, Build())
    with pytest.raises(ValueError, match="half done"):
        prepared(tmp_path / "pack", {**ORIGIN, "layout": 2}, Build(fails=True))
    assert intact(tmp_path / "pack", ORIGIN) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]


def test_a_build_finds_its_files_fetched_and_checked_and_only_once(tmp_path: Path) -> None:
    (kept := tmp_path / "downloads").mkdir()
    with zipfile.ZipFile(kept / "some_data-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("data/rows.csv", b"a\n1\n")
    wheel = file_sha256(kept / "some_data-1.0-py3-none-any.whl")
    inside = hashlib.sha256(b"a\n1\n").hexdigest()
    one = PackagedFile("some-data", "1.0", wheel, "data/rows.csv", inside, 10, "rows")
    seen = []

    def build(builder: Builder, work: Path) -> dict[str, Any]:
        seen.append((work / "rows.csv").read_text())
        return {}

    folder, origin = tmp_path / "data" / "pack", {"layout": 1, **one.origin}
    assert prepared(folder, origin, build, [one])["origin"] == {
        "layout": 1, "package": "some-data", "version": "1.0", "member": "data/rows.csv", "sha256": inside,
    }  # fmt: skip
    for left in kept.iterdir():
        left.unlink()
    prepared(folder, origin, build, [one])  # nothing is fetched for what is there
    assert seen == ["a\n1\n"]
    assert [path.name for path in folder.iterdir()] == ["manifest.json"]


def test_a_file_that_is_another_is_no_data(tmp_path: Path) -> None:
    (kept := tmp_path / "downloads").mkdir()
    with zipfile.ZipFile(kept / "some_data-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("data/rows.csv", b"other")
    wheel = file_sha256(kept / "some_data-1.0-py3-none-any.whl")
    one = PackagedFile("some-data", "1.0", wheel, "data/rows.csv", "0" * 64, 10, "rows")
    build, folder = Build(), tmp_path / "data" / "pack"
    with pytest.raises(SourceError, match="has SHA-256"):
        prepared(folder, ORIGIN, build, [one])
    assert (build.calls, folder.exists()) == (0, False)
