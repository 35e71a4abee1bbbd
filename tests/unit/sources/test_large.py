"""A large file, read some rows at a time, gives the rows that the same file gives in one piece, or says that it changed."""

from __future__ import annotations

import io
import json
import random
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from baton.data import datasets, formats
from baton.data.cells import PROBLEM
from baton.data.identity import row_shas, with_row_identity
from baton.errors import BatonError, SourceError, StaleAttempt
from baton.sources import large
from baton.sources.large import LargeFile, large_file
from baton.stages.job import StageJob
from baton.stages.slots import Slot, run_stage
from baton.steps.ingest import ingest

LARGE = runpy.run_path(str(Path(__file__).with_name("large_stage.py")))
ODD = ["", "x", "ä€😀", "a,b", 'say "hi"', "two\nlines", "nul\0", "\u2028", "  ", "é" * 3, "=1", "1e5", "\x1b"]


def csv_file(rng: random.Random) -> bytes:
    def cell() -> str:
        return '"' + rng.choice(ODD).replace('"', '""') + '"'

    end = rng.choice(["\n", "\r\n"])
    lines = [
        ",".join(cell() for _ in range(3 if rng.random() > 0.1 else rng.randint(1, 5)))
        for _ in range(rng.randint(0, 30))
    ]
    body = rng.choice(["", "\ufeff"]) + end.join(["a,b, c ", *lines, *[""] * rng.randint(0, 2)])
    return body.encode() + (rng.choice([b"", b"\n\xff\xfe,\x80,1\n"]) if lines else b"")


def json_file(rng: random.Random) -> bytes:
    def record() -> str:
        if rng.random() < 0.1:
            return rng.choice(["{", "[1]", "7", '{"a": 1, "a": 2}', '{"nul\\u0000": 1}', "", "  "])
        names = rng.sample(["a", "b", "deep", "late"], rng.randint(0, 3))
        return json.dumps({name: rng.choice([*ODD, 1, 2.5, True, None, {"k": [1]}]) for name in names})

    return "\n".join(['{"a": 1}', *(record() for _ in range(rng.randint(0, 30)))]).encode()


def parquet_file(rng: random.Random) -> bytes:
    count, gaps = rng.randint(0, 30), rng.choice([0.0, 0.1, 1.0])

    def cells(made: Any) -> list[Any]:
        return [None if rng.random() < gaps else made() for _ in range(count)]

    table = pa.table({
        "n": pa.array(cells(lambda: rng.randint(-5, 2**60)), pa.int64()), "small": pa.array(cells(lambda: rng.randint(0, 9)), pa.uint8()),
        "flag": pa.array(cells(lambda: rng.random() < 0.5), pa.bool_()), "x": pa.array(cells(rng.random), pa.float64()),
        "at": pa.array(cells(lambda: rng.randint(0, 10**15)), pa.timestamp("us", "UTC")), "raw": pa.array(cells(lambda: b"\0"), pa.binary()),
        "text": pa.array(cells(lambda: rng.choice(ODD)), pa.string()), "kind": pa.array(cells(lambda: rng.choice(["p", "q"]))).dictionary_encode()
        if gaps < 1 and count else pa.array(cells(lambda: "p"), pa.string()),
    })  # fmt: skip
    body = io.BytesIO()
    parquet.write_table(table, body, row_group_size=rng.choice([3, 100]), write_statistics=rng.random() < 0.5)
    return body.getvalue()


def texts(frame: pd.DataFrame) -> dict[str, list[str | None]]:
    """What a contract sees of a frame, by column."""
    return {
        name: [None if pd.isna(cell) else str(cell) for cell in frame[name].tolist()]
        for name in frame
        if name != PROBLEM
    }


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_rows_cells_and_hashes_are_those_of_the_file_in_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(large, "BYTES", 0)
    for seed in range(25):
        rng = random.Random(seed)
        body = {"csv": csv_file, "json": json_file, "parquet": parquet_file}[form](rng)
        path = tmp_path / f"rows.{form}"
        path.write_bytes(body)
        monkeypatch.setattr(large, "ROWS", rng.randint(1, 9))
        monkeypatch.setattr(formats, "PIECE", rng.randint(1, 40))
        known = with_row_identity(formats.read_bytes(body, str(path), form), "feed")
        found = large_file(str(path), form)
        assert found is not None
        tables = list(found.tables("feed"))
        assert len({table.schema for table in tables}) == 1
        read = pd.concat([table.to_pandas(integer_object_nulls=True) for table in tables], ignore_index=True)
        problems = known[PROBLEM].tolist() if PROBLEM in known else [None] * len(known)
        assert read[PROBLEM].tolist() == problems, seed
        assert texts(read) == texts(known), seed
        assert list(read.columns) == [*(name for name in known if name != PROBLEM), PROBLEM]


def test_what_is_wrong_with_a_row_changes_its_own_hash_and_no_others() -> None:
    good = pd.DataFrame({"a": ["1", "2"], "n": [1, 2]})
    told = good.assign(**{PROBLEM: [None, "ragged: 3 cells"]})
    assert row_shas(told)[0] == row_shas(good)[0]
    assert row_shas(told)[1] not in (
        row_shas(good)[1],
        row_shas(told.assign(**{PROBLEM: [None, "ragged: 4 cells"]}))[1],
    )
    numbers = told[["n", PROBLEM]]
    assert (row_shas(numbers)[0] == row_shas(good[["n"]])[0], row_shas(numbers)[1] == row_shas(good[["n"]])[1]) == (
        True,
        False,
    )


@pytest.mark.parametrize(
    ("form", "body", "words"),
    [
        ("csv", b"a;b\n1;2\n", "the header is one cell"), ("csv", b'a,b\n1,"x"y\n', "line 2, after row 0"),
        ("csv", b"PK\x03\x04", "a zip archive"), ("json", b"{\n{\n", "neither a JSON array"), ("parquet", b"PAR1", "not a readable Parquet"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_says_so_as_a_small_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, body: bytes, words: str
) -> None:
    monkeypatch.setattr(large, "BYTES", 0)
    (tmp_path / "f").write_bytes(body)
    for reading in (
        lambda: formats.read_bytes(body, "f", form),
        lambda: list(large_file(str(tmp_path / "f"), form).tables("feed")),  # type: ignore[union-attr]
    ):
        with pytest.raises(SourceError, match=words):
            reading()


def test_what_is_small_or_an_array_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.json").write_bytes(b'\xef\xbb\xbf\n [{"a": 1}]')
    assert large_file(str(tmp_path / "rows.json"), "json") is None
    monkeypatch.setattr(large, "BYTES", 0)
    assert large_file(str(tmp_path / "rows.json"), "json") is None
    with pytest.raises(SourceError, match="cannot be read"):
        large_file(str(tmp_path / "none.csv"), "csv")


# --- the stage ---


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with LARGE["small_limits"](tmp_path, monkeypatch, at_once=3, part=4):
        yield tmp_path


def job(home: Path, form: str, body: bytes) -> StageJob[Any]:
    path = home / f"landing/rows-{LARGE['HOUR'].replace(':', '-')}.{form}"
    path.write_bytes(body)
    return StageJob(
        "shop", "intake", "ingest", LARGE["HOUR"], "", {}, {"source": "orders"}, connections=SimpleNamespace(rows=None)
    )  # type: ignore[arg-type]


def run(given: StageJob[Any]) -> Any:
    output = ingest(given)
    return run_stage(
        Slot("intake", "ingest", given.partition),
        lambda _: output,
        inputs={},
        params={},
        models={},
        code="1",
        run_id="t",
    )


@pytest.mark.parametrize("empty", [0, 9])
def test_a_large_file_becomes_a_dataset_in_parts(home: Path, empty: int) -> None:
    body = "id,note\n" + "".join(f"{n},{'' if n < empty else 'longer text'}\n" for n in range(20))
    result = run(job(home, "csv", body.encode()))
    assert (result.ref.kind, result.ref.rows, result.facts["rows_in"]) == ("manifest", 20, 20)
    read = datasets.read(result.ref)
    known = with_row_identity(formats.read_bytes(body.encode(), "f", "csv"), "orders")
    pd.testing.assert_frame_equal(read.drop(columns=PROBLEM)[list(known)], known)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_file_that_changes_while_it_is_read_is_not_committed(
    home: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    table = io.BytesIO()
    parquet.write_table(pa.table({"id": range(50)}), table)
    body = table.getvalue() if form == "parquet" else b"id\n" + b"123\n" * 50
    given = job(home, form, body)
    path = next((home / "landing").iterdir())

    def changed(self: LargeFile, source: str) -> Any:
        path.write_bytes(body + b"4\n")
        return tables(self, source)

    tables = LargeFile.tables
    monkeypatch.setattr(LargeFile, "tables", changed)
    with pytest.raises((StaleAttempt, SourceError), match=r"changed while it was read|not a readable Parquet"):
        run(given)
    assert not [path for path in home.rglob("*.parquet") if "intake" in str(path)]


def test_a_fault_far_behind_leaves_nothing(home: Path) -> None:
    with pytest.raises(BatonError, match="line 41, after row 39"):
        run(job(home, "csv", b"id,a\n" + b"1,2\n" * 39 + b'1,"x"y\n'))
    assert not [path for path in home.rglob("*.parquet") if "intake" in str(path)]
