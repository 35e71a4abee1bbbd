"""Text becomes typed rows without guessing; a bad cell names its row."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from baton.data.cells import MASKED
from baton.data.formats import frame_of_records, read_bytes
from baton.data.identity import row_shas, with_row_identity
from baton.data.typed import adopt, parse
from baton.errors import SourceError
from baton.specs.contract import ContractSpec

COLUMNS = {
    "key": {"type": "int"},
    "amount": {"type": "float"},
    "paid": {"type": "bool", "nullable": True},
    "at": {"type": "timestamp", "nullable": True},
    "name": {"type": "str", "nullable": True},
}


def contract(columns: dict[str, Any] = COLUMNS, key: str = "key") -> ContractSpec:
    return ContractSpec.model_validate(
        {"contract": "orders", "version": 1, "owner": "team", "description": "rows", "key": key, "columns": columns}
    )


def one(kind: str, *cells: str | None) -> Any:
    spec = contract({"key": {"type": "int"}, "cell": {"type": kind, "nullable": True}})
    frame = pd.DataFrame({"key": [str(n) for n in range(len(cells))], "cell": pd.Series(cells, dtype=object)})
    return parse(with_row_identity(frame, "test"), spec)


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("int", "42", 42),
        ("int", " +7 ", 7),
        ("int", "12.0", 12),
        ("int", "-0", 0),
        ("int", "9223372036854775807", 2**63 - 1),
        ("float", "149.62", 149.62),
        ("float", ".5", 0.5),
        ("float", "5.", 5.0),
        ("float", "-1.5e-3", -0.0015),
        ("bool", "True", True),
        ("bool", "0", False),
        ("str", " text ", " text "),
        ("timestamp", "2026-01-31", pd.Timestamp("2026-01-31", tz="UTC")),
        ("timestamp", "2026-03-29T02:30:00", pd.Timestamp("2026-03-29 02:30", tz="UTC")),
        ("timestamp", "2026-01-31 09:30:00.123456789+02:00", pd.Timestamp("2026-01-31 07:30:00.123456789", tz="UTC")),
    ],
)
def test_cells_that_convert(kind: str, cell: str, value: object) -> None:
    parsed = one(kind, cell)
    assert parsed.bad == []
    assert parsed.frame["cell"].tolist() == [value]


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("int", "abc"), ("int", "1.5"), ("int", "9223372036854775808"), ("int", "-9223372036854775809"),
        ("int", "0x1A"), ("int", "1e3"),
        ("int", "1_000"), ("int", "true"), ("float", "1,5"), ("float", "nan"), ("float", "inf"),
        ("float", "1e999"), ("float", "NULL"), ("float", "-"), ("float", "."), ("bool", "yes"), ("bool", "2"),
        ("timestamp", "31.01.2026"), ("timestamp", "2026-02-30"), ("timestamp", "2026"),
        ("timestamp", "9999-12-31"), ("timestamp", "1769850000"),
    ],
)  # fmt: skip
def test_cells_that_do_not_convert_name_row_column_and_value(kind: str, cell: str) -> None:
    parsed = one(kind, None, cell, "", cell)
    assert [(v.row, v.key, v.rule, v.column, v.value) for v in parsed.bad] == [
        (2, "1", "type", "cell", cell),
        (4, "3", "type", "cell", cell),
    ]
    assert parsed.bad_rows == 2
    assert parsed.rows_in == 4
    assert parsed.frame["_row"].tolist() == [1, 3]
    assert parsed.frame["cell"].isna().all()


def test_types_of_the_frame_do_not_depend_on_the_values() -> None:
    frame = pd.DataFrame(
        {"key": ["1", ""], "amount": ["1", "2"], "paid": ["1", "0"], "at": ["", ""], "name": ["", "x"]}
    )
    parsed = parse(with_row_identity(frame, "s"), contract())
    kinds = {name: str(kind) for name, kind in parsed.frame.dtypes.items()}
    assert kinds == {
        "_source": "object", "_row": "int64", "_row_sha": "object", "key": "Int64", "amount": "float64",
        "paid": "bool", "at": "datetime64[ns, UTC]", "name": "object",
    }  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=8))
def test_any_integer_survives(numbers: list[int | None]) -> None:
    parsed = one("int", *(None if number is None else str(number) for number in numbers))
    assert [None if value is pd.NA else value for value in parsed.frame["cell"].astype("Int64")] == numbers


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=8))
def test_any_float_survives(numbers: list[float]) -> None:
    assert one("float", *map(repr, numbers)).frame["cell"].tolist() == numbers


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["int", "float", "bool", "timestamp"]), st.lists(st.text(max_size=12), max_size=6))
def test_any_text_either_converts_or_is_named(kind: str, cells: list[str]) -> None:
    cells = [cell.encode("utf-8", "replace").decode() for cell in cells]
    parsed = one(kind, *cells)
    assert len(parsed.frame) + parsed.bad_rows == len(cells)
    assert parsed.bad_rows == len({v.row for v in parsed.bad})


def test_typed_columns_are_cast_or_named() -> None:
    at = pd.Series(["2026-01-01T12:00", "2026-01-01T13:00"], dtype="datetime64[us]").dt.tz_localize("Europe/Berlin")
    frame = pd.DataFrame({"key": [1.0, 2.5], "amount": [1, 2], "paid": [True, False], "at": at, "name": [5, 6], "x": 0})
    parsed = adopt(frame, contract(), "api")
    assert [(v.row, v.rule, v.column, v.value) for v in parsed.bad] == [(2, "type", "key", "2.5")]
    row = parsed.frame.iloc[0]
    assert row[["key", "amount", "paid", "name"]].tolist() == [1, 1.0, True, "5"]
    assert row["at"] == pd.Timestamp("2026-01-01T11:00Z")
    assert parsed.dropped_columns == ["x"]


def test_rows_of_a_known_source_are_numbered_if_they_are_not_yet() -> None:
    frame = pd.DataFrame({"key": [1, 2], "amount": [1.0, 2.0], "_source": ["a.csv", "b.csv"]})
    parsed = adopt(frame, contract({"key": {"type": "int"}, "amount": {"type": "float"}}))
    assert parsed.frame["_row"].tolist() == [1, 2]
    assert parsed.frame["_source"].tolist() == ["a.csv", "b.csv"]
    assert "_row_sha" not in parsed.frame, "no row is hashed for it"


def test_a_key_may_have_500_characters_and_what_becomes_a_key_with_more_behind_it_400() -> None:
    spec = contract({"key": {"type": "str"}, "shop": {"type": "str"}})
    frame = pd.DataFrame({"key": ["k" * 500, "k" * 501, "a"], "shop": ["s" * 400, "s", "s" * 401]})
    parsed = parse(with_row_identity(frame, "test"), spec, entities=["shop"])
    assert [(v.row, v.rule, v.column) for v in parsed.bad] == [(2, "too_long", "key"), (3, "too_long", "shop")]


def test_infinity_in_a_typed_column_is_named() -> None:
    frame = pd.DataFrame({"key": [1, 2], "amount": [1.0, math.inf]})
    parsed = adopt(frame, contract({"key": {"type": "int"}, "amount": {"type": "float"}}))
    assert [(v.row, v.column, v.value) for v in parsed.bad] == [(2, "amount", "inf")]


def test_objects_from_databases_convert() -> None:
    frame = pd.DataFrame({"key": pd.Series([1, None], dtype=object), "amount": [Decimal("1.10"), Decimal("2")],
                          "paid": [True, None], "at": [pd.Timestamp("2026-01-01"), None], "name": ["a", None]})  # fmt: skip
    parsed = parse(with_row_identity(frame, "sql"), contract())
    assert parsed.bad == []
    assert parsed.frame["amount"].tolist() == [1.1, 2.0]
    assert parsed.frame["key"].isna().tolist() == [False, True]


def test_timestamps_beyond_nanoseconds_are_named() -> None:
    frame = pd.DataFrame({"key": [1, 2], "at": pd.Series(["2026-01-01", "3000-01-01"], dtype="datetime64[us]")})
    parsed = adopt(frame, contract({"key": {"type": "int"}, "at": {"type": "timestamp"}}))
    assert [(v.row, v.column) for v in parsed.bad] == [(2, "at")]


def test_unknown_columns_are_dropped_missing_ones_reported_and_bookkeeping_kept() -> None:
    frame = pd.DataFrame({"key": ["1"], "surprise": ["x"], "_part": ["train"]})
    parsed = parse(with_row_identity(frame, "s"), contract())
    assert parsed.dropped_columns == ["surprise"]
    assert parsed.missing == ["amount", "paid", "at", "name"]
    assert parsed.frame["_part"].tolist() == ["train"]


@pytest.mark.parametrize("kind", ["int", "float", "bool", "timestamp", "str"])
def test_a_sparse_contract_takes_a_column_that_no_row_has_as_empty_where_it_may_be(kind: str) -> None:
    spec = contract({"key": {"type": "int"}, "must": {"type": kind}, "may": {"type": kind, "nullable": True}})
    frame = with_row_identity(frame_of_records([{"key": 1}, {"key": 2}], "sensors"), "sensors")
    plain, sparse = parse(frame, spec), parse(frame, spec.model_copy(update={"sparse": True}))
    assert (plain.missing, plain.absent) == (["must", "may"], [])
    assert (sparse.missing, sparse.absent) == (["must"], ["may"])
    said = parse(with_row_identity(frame_of_records([{"key": 1, "may": None}] * 2, "s"), "s"), spec).frame["may"]
    pd.testing.assert_series_equal(sparse.frame["may"], said)  # as if each row had said null
    assert sparse.bad == []


def test_row_identity() -> None:
    frame = pd.DataFrame({"b": ["1", "1", None], "a": ["x", "x", ""]})
    made = with_row_identity(frame, "file")
    assert made["_row"].tolist() == [1, 2, 3]
    shas = made["_row_sha"].tolist()
    assert shas[0] == shas[1] != shas[2]
    assert all(len(sha) == 64 for sha in shas)
    assert row_shas(frame[["a", "b"]]) == shas  # the order of columns is not content
    assert with_row_identity(made, "other")["_source"].tolist() == ["file"] * 3
    assert "_row" not in frame


def test_row_identity_separates_cells() -> None:
    left, right = pd.DataFrame({"a": ["xy"], "b": [""]}), pd.DataFrame({"a": ["x"], "b": ["y"]})
    assert row_shas(left) != row_shas(right)
    typed = pd.DataFrame({"a": [1.5, float("nan")], "b": [1, 2], "c": pd.to_datetime(["2026-01-01", None], utc=True)})
    assert row_shas(typed)[0] == row_shas(typed.iloc[:1])[0]
    assert row_shas(typed)[0] != row_shas(typed.assign(a=1.6))[0]


def test_a_file_delivered_twice_is_refused() -> None:
    frame = read_bytes(b"a\n1\n2\n", "f.csv", "csv")
    with pytest.raises(SourceError, match=r"2 rows occur again .* the first is row 1: was a file delivered twice"):
        with_row_identity(pd.concat([frame, frame]), "feed")


# --- files --------------------------------------------------------------------------------------------------


def test_csv_keeps_text_and_numbers_rows_not_lines() -> None:
    frame = read_bytes(b'\xef\xbb\xbfkey,note\r\n007,"two\nlines, quoted ""x"""\r\n\r\n1e5,NA\r\n', "f.csv", "csv")
    assert frame["key"].tolist() == ["007", "1e5"]
    assert frame["note"].tolist() == ['two\nlines, quoted "x"', "NA"]
    assert frame["_row"].tolist() == [1, 2]
    assert "_problem" not in frame


def test_ragged_and_badly_encoded_rows_are_quarantined_with_their_reason() -> None:
    data = b"key,amount,name\n1,2\n2,3,ok\n3,4,x,y,z\n4,5,M\xfcller\n"
    spec = contract({"key": {"type": "int"}, "amount": {"type": "float"}, "name": {"type": "str"}})
    parsed = parse(with_row_identity(read_bytes(data, "f.csv", "csv"), "f"), spec)
    assert [(v.row, v.key, v.rule, v.value) for v in parsed.bad] == [
        (1, "1", "ragged", "2 cells, the header has 3"),
        (3, "3", "ragged", "5 cells, the header has 3; beyond the header: y,z"),
        (4, "4", "encoding", "column name is not UTF-8"),
    ]
    assert parsed.frame["key"].tolist() == [2]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a;b\n1;2\n", "separate cells by commas"),
        (b"a,a\n1,2\n", "two columns are called 'a'"),
        (b"a,\n1,2\n", "column 2 has no name"),
        (b"a,_row\n1,2\n", "a name that Baton uses"),
        (b'a,b\n1,2\n3,"open\n4,5\n', "line 4, after row 1: unexpected end of data"),
        (b'a,b\n1,"x"y\n', "line 2"),
        (b"a,b\x00\n1,2\n", "column 2 is called 'b\ufffd', which is too long or holds control"),
        (b"\x1f\x8b\x08rest", "gzip"),
        (b"PK\x03\x04rest", "zip archive or an Excel"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"PAR1rest", "format: parquet"),
    ],
)
def test_files_that_are_no_csv_say_why(data: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        read_bytes(data, "landing/f.csv", "csv")
    assert "landing/f.csv" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"key,amount\n"])
def test_empty_files_are_empty_frames(data: bytes) -> None:
    frame = read_bytes(data, "f.csv", "csv")
    assert len(frame) == 0
    assert parse(with_row_identity(frame, "f"), contract()).rows_in == 0


def test_json_keeps_digits_and_names_bad_records() -> None:
    data = b"""[{"key": 12345678901234567890, "amount": 0.10, "paid": true, "deep": {"a": [1]}},
               {"key": 1, "key": 2}, 7, {"key": null}]"""
    frame = read_bytes(data, "f.json", "json")
    assert frame["key"].tolist() == ["12345678901234567890", None, None, None]
    assert frame["amount"].tolist()[0] == "0.10"
    assert frame["paid"].tolist()[0] == "true"
    assert frame["deep"].tolist()[0] == '{"a": ["1"]}'
    assert frame["_problem"].tolist() == [None, "json: key 'key' occurs twice", "json: not an object but 7", None]


def test_json_lines_differ_in_their_columns_over_any_number_of_them() -> None:
    lines = [f'{{"key": {n}, "late": "x"}}' if n > 9_000 else f'{{"key": {n}}}' for n in range(10_000)]
    lines[5], lines[9_500] = '{"key": 5, "none": 2, "\\u0007": 1}', '{"key": 1} x'
    frame = read_bytes("\r\n".join(lines).encode(), "f.json", "json")
    assert list(frame.columns) == ["_row", "key", "late", "_problem"]
    assert frame["_row"].tolist() == list(range(1, 10_001))
    assert [row for row, cell in enumerate(frame["key"]) if cell != str(row)] == [5, 9_500]
    assert [row for row, cell in enumerate(frame["late"]) if cell] == [n for n in range(9_001, 10_000) if n != 9_500]
    assert [row for row, cell in enumerate(frame["_problem"]) if cell] == [5, 9_500]


def test_a_key_twice_deep_in_a_record_reads_alike_each_time() -> None:
    data = b'{"key": 1, "deep": {"a": 1, "a": 2}}'
    assert read_bytes(data, "f.json", "json")["deep"].tolist() == ["key 'a' occurs twice"]


def test_json_lines_with_a_broken_line() -> None:
    frame = read_bytes(b'{"key": 1}\n{"key": \n\n{"key": 3}\n', "f.json", "json")
    assert frame["key"].tolist() == ["1", None, "3"]
    assert frame["_problem"].iloc[1].startswith("json: Expecting value")
    with pytest.raises(SourceError, match="neither a JSON array"):
        read_bytes(b"hello\nworld\n", "f.json", "json")
    with pytest.raises(SourceError, match="not a JSON array"):
        read_bytes(b"[{", "f.json", "json")


def test_undecodable_json_names_its_row() -> None:
    frame = read_bytes(b'{"name": "ok"}\n{"name": "M\xfcller"}\n', "f.json", "json")
    assert frame["_problem"].tolist() == [None, "encoding: column name is not UTF-8"]
    assert frame["name"].tolist()[1] == "M\ufffdller"


def test_records_of_a_response() -> None:
    frame = frame_of_records([{"a": 1, "b": 0.1}, {"a": None}, [1]], "orders", first_row=11)
    assert frame["_row"].tolist() == [11, 12, 13]
    assert frame["b"].tolist() == ["0.1", None, None]
    assert frame["_problem"].iloc[2] == "json: not an object but [1]"


def test_a_record_whose_key_can_name_no_column_costs_itself() -> None:
    frame = read_bytes(b'[{"a": 1}, {"b\\u0000": 2}, {"' + b"c" * 9000 + b'": 3}]', "f.json", "json")
    assert list(frame) == ["_row", "a", "_problem"]
    assert frame["_problem"].tolist()[1] == "json: key 'b\ufffd' cannot name a column"
    assert len(frame["_problem"].tolist()[2]) < 200


def test_parquet_keeps_its_types_and_whole_numbers_beside_gaps() -> None:
    body = pa.BufferOutputStream()  # as other programs write it, without pandas' own hints
    parquet.write_table(pa.table({"a": [2**60 + 1, None]}), body)
    frame = read_bytes(body.getvalue().to_pybytes(), "f.parquet", "parquet")
    assert frame["a"].tolist() == [2**60 + 1, None]  # a float would have lost the 1
    assert with_row_identity(frame, "f")["_row"].tolist() == [1, 2]
    assert read_bytes(b"a\n1\n", "f.csv", "csv")["a"].tolist() == ["1"]


def test_what_is_no_parquet_or_no_known_format_is_refused() -> None:
    with pytest.raises(SourceError, match=r"f\.xls: format 'xls' is not known"):
        read_bytes(b"a\n1\n", "f.xls", "xls")
    with pytest.raises(SourceError, match="not a readable Parquet file"):
        read_bytes(b"a\n1\n", "f.parquet", "parquet")


PERSONAL = {
    "key": {"type": "int"},
    "mail": {"type": "str", "pii": "direct"},
    "born": {"type": "timestamp", "pii": "direct"},
    "amount": {"type": "float"},
}


def test_a_violation_masks_direct_personal_data() -> None:
    text = "key,mail,born,amount\n1,ann@x,31.12.1980,twelve\n2,ben@x,2000-01-01,1,Dear Ann\nAnn Smith,Dear,2000-01-01\n"
    parsed = parse(with_row_identity(read_bytes(text.encode(), "a.csv", "csv"), "test"), contract(PERSONAL))
    assert [(v.row, v.key, v.rule, v.column, v.value) for v in parsed.bad] == [
        (1, "1", "type", "born", MASKED),
        (1, "1", "type", "amount", "twelve"),
        (2, None, "ragged", None, MASKED),
        (3, None, "ragged", None, MASKED),
        (3, None, "type", "key", MASKED),
    ]


def test_a_file_without_a_header_is_not_quoted_as_names_of_columns() -> None:
    rows = pd.DataFrame({"7": ["8"], "ann@x": ["ben@x"]})
    assert parse(rows, contract(PERSONAL)).dropped_columns == [MASKED, MASKED]
    assert parse(rows, contract()).dropped_columns == ["7", "ann@x"]
    assert parse(rows.assign(key="1"), contract(PERSONAL)).dropped_columns == ["7", "ann@x"], (
        "renamed columns are named"
    )


def test_a_key_is_no_direct_personal_data() -> None:
    with pytest.raises(ValueError, match="`mail` is pii: direct"):
        contract(PERSONAL, key="mail")


@pytest.mark.parametrize("cell", ["31.01.2026", "31/01/2026 09:30", "31-1-2026"])
def test_a_date_with_the_day_first_is_told_how_it_is_written(cell: str) -> None:
    (violation,) = one("timestamp", cell).bad
    assert "write year-month-day, 2026-01-31 if the day stands first" in violation.advice
