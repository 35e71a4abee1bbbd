"""Quarantine and text: what no database holds, files that people edit and hand back."""

from __future__ import annotations

import csv
import json
import random
import re
import runpy
import string
from pathlib import Path
from typing import Any

import pytest

from baton import quarantine
from baton.data import datasets, formats, identity
from baton.errors import BatonError
from baton.quarantine.rows import Where

SHOP: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("quarantine_orders.py")))
FLOW, HOUR, SPEC, ROWS = (SHOP[name] for name in ("FLOW", "HOUR", "SPEC", "ROWS"))
raw, run, waiting, balanced = (SHOP[name] for name in ("raw", "run", "waiting", "balanced"))
home = SHOP["home"]


HOSTILE = {"control": ("nul\x00byte", "escape \x1b[2J", "half \ud800", "half \udc80"), "too_long": ("x" * 100_001,)}


@pytest.mark.parametrize("form", ["csv", "json", "records", "frame"])
def test_text_that_a_database_cannot_hold_waits_with_its_reason(form: str) -> None:
    texts = [text for group in HOSTILE.values() for text in group]
    rows = [{"id": str(n), "amount": "1", "kind": text} for n, text in enumerate(["fine", "tab\tand\nline", *texts], 1)]
    rows += [{"id": str(n), "amount": "1", "kind": "a"} for n in range(20, 30)]
    if form == "frame":  # what a pack's step hands over: no reader has looked at it
        rows = [row for row in rows if not re.search("[\ud800-\udfff]", row["kind"])]
        frame = raw(rows)
    elif form == "csv":
        lines = "\n".join(f'{row["id"]},1,"{row["kind"]}"' for row in rows).encode("utf-8", "surrogatepass")
        frame = identity.with_row_identity(formats.read_bytes(b"id,amount,kind\n" + lines, "f.csv", "csv"), "feed")
    elif form == "json":
        frame = identity.with_row_identity(formats.read_bytes(json.dumps(rows).encode(), "f.json", "json"), "feed")
    else:
        frame = identity.with_row_identity(formats.frame_of_records(rows, "api"), "feed")
    datasets.write(frame, "feed.parquet")
    verdict, good = run(frame)
    assert verdict.status == "quarantined"
    assert good["kind"].tolist() == ["fine", "tab\tand\nline", *["a"] * 10]
    found = {row.rules for row in quarantine.list_rows()}
    assert found == {("control",), ("too_long",)} | (set() if form == "frame" else {("encoding",)})
    balanced()
    quarantine.repair(Where(), {"kind": "'b'"}, actor="ann")
    assert run(frame)[0].status == "passed"


def test_a_key_beyond_what_an_index_holds_waits_under_its_beginning() -> None:
    spec = SPEC.model_copy(update={"columns": {**SPEC.columns, "id": SPEC.columns["kind"]}})
    key = "".join(random.Random(1).choices(string.printable[:90], k=9_000))  # nothing that compresses
    frame = raw([{"id": key, "amount": "1", "kind": "a"}, {"id": "2", "amount": "-1", "kind": key}])
    spec = spec.model_copy(update={"tolerated": 1.0})
    run(frame, spec=spec)
    assert waiting() == {1: ("too_long",), 2: ("negative",)}
    waits = quarantine.list_rows(Where(row=1))[0]
    assert (len(waits.entity_key) < 500, waits.values) == (True, ("has 9,000 characters, 500 are allowed",))
    broken = SPEC.model_copy(update={"tolerated": 0.0})
    run(raw([{"id": key, "amount": key, "kind": "a"}]), "2026-01-01T01:00:00", broken)
    assert max(len(value) for row in quarantine.list_rows(Where(FLOW)) for value in (*row.values, *row.advice)) < 3000


def test_no_repair_brings_in_what_no_row_may_hold(home: Path) -> None:
    run(raw())
    with pytest.raises(BatonError, match=r"row 2, kind: control: holds U\+0000"):
        quarantine.repair(Where(row=2), {"kind": "'a\\x00'"}, actor="ann")
    quarantine.export(home / "rows.json", Where(row=2))
    (home / "rows.json").write_text((home / "rows.json").read_text().replace('"-4"', '"\\ud800"'))
    with pytest.raises(BatonError, match="row 2, amount: encoding"):
        quarantine.repair_file(home / "rows.json", actor="ann")


@pytest.mark.parametrize("name", ["rows.csv", "rows.json"])
def test_export_edit_and_hand_back(home: Path, name: str) -> None:
    run(raw())
    path = home / name
    assert quarantine.export(path, Where(flow=FLOW)) == 4
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(BatonError, match="exists and may hold edits"):
        quarantine.export(path)
    with pytest.raises(BatonError, match="no cell differs"):
        quarantine.repair_file(path, actor="ann")
    edited = path.read_text().replace("abc", "33.5").replace('"-4"', '"4"').replace(",-4,", ",4,")
    path.write_text(edited)
    report = quarantine.repair_file(path, actor="ann")
    assert (report.rows, report.cells) == (2, 2)
    run(raw())
    assert waiting() == {4: ("id_twice", "negative"), 3: ("id_twice",), 5: ("not_null",)} or waiting().keys() == {4, 5}
    balanced()


def test_a_file_with_unknown_rows_or_columns_changes_nothing(home: Path) -> None:
    run(raw())
    quarantine.export(home / "rows.json")
    entries = json.loads((home / "rows.json").read_text())
    entries[0]["cells"]["amount"] = "1"
    entries[1]["row_sha"] = "0" * 64
    entries[2]["cells"]["colour"] = "red"
    (home / "rows.json").write_text(json.dumps(entries))
    with pytest.raises(
        BatonError, match=r"nothing was repaired: entry 2: .* row 3 is not in quarantine; entry 3: .* no column colour"
    ):
        quarantine.repair_file(home / "rows.json", actor="ann")
    assert quarantine.counts()["repaired"] == 0


def test_edits_of_rows_that_no_longer_wait_are_refused(home: Path) -> None:
    run(raw())
    quarantine.export(home / "rows.json")
    quarantine.discard(Where(row=2), "no", actor="ann")
    text = (home / "rows.json").read_text().replace('"-4"', '"4"')
    (home / "rows.json").write_text(text)
    with pytest.raises(BatonError, match=r"row 2 .* is not open in quarantine"):
        quarantine.repair_file(home / "rows.json", actor="ann")


def test_spreadsheet_formulas_are_quoted_and_come_back_unchanged(home: Path) -> None:
    rows = [
        {"id": str(n), "amount": "-1", "kind": kind} for n, kind in enumerate(["=1+1", "@x", "'q", "-a", "-5", "ok"])
    ]
    run(raw(rows + [{"id": "20", "amount": "1", "kind": "a"} for _ in range(1)]))
    quarantine.export(home / "rows.csv")
    text = (home / "rows.csv").read_text()
    assert all(guarded in text for guarded in ("'=1+1", "'@x", "''q", "'-a", ",-5"))
    assert "'-5" not in text
    with pytest.raises(BatonError, match="no cell differs"):
        quarantine.repair_file(home / "rows.csv", actor="ann")
    with (home / "rows.csv").open("w", newline="") as file:  # as a spreadsheet of a German user saves it
        csv.writer(file, delimiter=";").writerows(csv.reader(text.replace("ok", "fine").splitlines()))
    assert quarantine.repair_file(home / "rows.csv", actor="ann").cells == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "columns _flow, _partition, _row, _row_sha are missing"),
        ("_flow,_partition,_row,_row_sha,id\norders,p,1\n", "another number of cells"),
        ("_flow,_partition,_row,_row_sha,id\norders,p,x,s,1\n", "must stay as they were exported"),
        ("_flow,_partition,_row,_row_sha,id\n", "there are no rows"),
    ],
)
def test_files_that_are_no_export(home: Path, content: str, message: str) -> None:
    (home / "f.csv").write_text(content)
    with pytest.raises(BatonError, match=message):
        quarantine.repair_file(home / "f.csv", actor="ann")
