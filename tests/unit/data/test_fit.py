"""Text that no database should hold is found wherever it stands, named, and shown without what makes it so."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from baton.data.fit import LONGEST_CELL, fit, flaw, flaws
from baton.data.formats import read_bytes
from baton.errors import SourceError
from baton.sources.documents import BatchLimits, of_records
from baton.specs.source import DocumentFields


@pytest.mark.parametrize(
    ("text", "why", "shown"),
    [
        ("", None, ""),
        ("caf\u00e9 \U0001f600\u00a0\t\r\n\f\v", None, None),
        ("a\x00b", "control: holds U+0000", "a\ufffdb"),
        ("\x1b[2J", "control: holds U+001B", "\ufffd[2J"),
        ("a\x7f", "control: holds U+007F", "a\ufffd"),
        ("\ud800", "encoding: is not UTF-8", "\ufffd"),
        (chr(0xDFFF), "encoding: is not UTF-8", "\ufffd"),
        ("x" * LONGEST_CELL, None, None),
        ("x" * (LONGEST_CELL + 1), "too_long: has 100,001 characters, 100,000 are allowed", "x" * 500 + "... (100,001 characters)"),
    ],
    ids=range(9),
)  # fmt: skip
def test_a_text_is_fit_or_says_why_not(text: str, why: str | None, shown: str | None) -> None:
    assert (flaw(text), fit(text)) == (why, text if shown is None else shown)
    cells = pd.Series([None, text, np.nan, 1.5, "ok"], dtype=object)
    for column in (cells, cells[cells != 1.5], cells[1:2]):
        found = flaws(column)
        assert list(found.values()) == ([why] if why else [])
        assert [column.iloc[position] for position in found] == ([text] if why else [])


def test_a_key_is_counted_in_characters_and_not_in_bytes() -> None:
    assert flaws(pd.Series(["\u00e9" * 400, "e" * 501]), 500) == {1: "too_long: has 501 characters, 500 are allowed"}


def test_parquet_is_looked_at_too() -> None:
    body = pa.BufferOutputStream()
    parquet.write_table(pa.table({"n": [1, 2], "text": ["ok", "a\x00"], "raw": [b"\x00", b"\xff"]}), body)
    frame = read_bytes(body.getvalue().to_pybytes(), "f.parquet", "parquet")
    assert frame["_problem"].tolist() == [None, "control: column text holds U+0000"]
    assert (frame["text"].tolist(), frame["raw"].tolist()) == (["ok", "a\ufffd"], [b"\x00", b"\xff"])
    body = pa.BufferOutputStream()
    broken = pa.StringArray.from_buffers(1, pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xff"))
    parquet.write_table(pa.table({"text": broken}), body)
    with pytest.raises(SourceError, match="not a readable Parquet file"):
        read_bytes(body.getvalue().to_pybytes(), "f.parquet", "parquet")


def test_a_document_of_an_http_source_is_named_by_text() -> None:
    at, records = datetime(2026, 1, 1, tzinfo=UTC), [{"name": "a\x00\ud800.txt", "content": "YQ=="}]
    frame = of_records(records, DocumentFields(name="name", content="content"), at, "source", BatchLimits())
    assert frame["name"].tolist() == ["a\ufffd\ufffd.txt"]
