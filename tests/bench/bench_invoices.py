"""Fields of real invoices: issuer, number, date and total of eleven PDFs in four languages, against expected values.

    BATON_BENCH_DATA=<folder> python tests/bench/run.py invoices

The folder holds `invoices/` with a JSON file beside each PDF. The files go through the flow's own parsing and extraction.
A field is right if it equals the expected one: the total to the cent, the date to the day, the number without spaces and
`#`, the issuer without case, accents, punctuation and legal form (`Acme, Inc.` is `ACME`). `strict` compares texts as they
are. A field counts as printed if its expected value is somewhere in the text; two files expect the name of a shop where
the invoice names the company that sells. Eleven documents show that it works and not how well: the rules were written
with these files at hand.

The peer is what one writes first: a regular expression per field, the same for all files.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from baton_packs.customer_experience.fields.amounts import find_amounts, read_number
from baton_packs.customer_experience.fields.company import name_key
from baton_packs.customer_experience.fields.dates import find_dates
from baton_packs.customer_experience.fields.extract import extract
from baton_packs.customer_experience.fields.page import Page
from baton_packs.customer_experience.intake.parse import parse

FIELDS = {"issuer": "issuer", "number": "invoice_number", "date": "date", "total": "amount"}  # ours: theirs
NUMBER = re.compile(
    r"(?:invoice|rechnungs?|facture|factuur)\w*\s*(?:number|no\.?|nr\.?|n°|#)?\s*:?\s*([\w/-]*\d[\w/-]*)", re.I
)
DAY = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})|(\d{1,2})\.? (\w+) (\d{4})|(\w+) (\d{1,2}) ?, (\d{4})")
TOTAL = re.compile(r"total[^\n\d]*([\d.,]+)", re.I)
TARGET = 0.85


def documents() -> pd.DataFrame | None:
    """The frame *documents* with the expected values as a column; None if the folder is not there."""
    folder = Path(os.environ.get("BATON_BENCH_DATA") or ".") / "invoices"
    if not os.environ.get("BATON_BENCH_DATA") or not folder.is_dir():
        return None
    rows = []
    for path in sorted(folder.glob("*.pdf")):
        content = path.read_bytes()
        expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))[0]
        rows.append({"document_id": path.stem, "channel": "folder", "name": path.name, "content": content, "size": len(content),
                     "received_at": pd.Timestamp("2024-01-01", tz="UTC"), "problem": None, "_expected": expected})  # fmt: skip
    return pd.DataFrame(rows)


def naive(text: str) -> dict[str, Any]:
    """One regular expression per field: the first line, the first number after `invoice`, the first date, the last total."""
    number, day, totals = NUMBER.search(text), DAY.search(text), TOTAL.findall(text)
    stamp = pd.to_datetime(day.group(), dayfirst=True, errors="coerce") if day else pd.NaT
    return {"issuer": text.strip().split("\n")[0].strip(), "number": number[1] if number else None,
            "date": None if pd.isna(stamp) else stamp.date().isoformat(),
            "total": read_number(totals[-1].strip(".,"))[0] if totals else None}  # fmt: skip


def same(field: str, found: Any, expected: Any) -> bool:
    """Equal after normalisation."""
    if found is None or found != found:
        return False
    if field == "total":
        return abs(float(found) - float(expected)) < 0.005
    if field == "issuer":
        return name_key(found) == name_key(expected)
    return re.sub(r"[\s#]", "", found) == re.sub(r"[\s#]", "", expected)


def printed(field: str, text: str, language: str, expected: Any) -> bool:
    """Whether the expected value is in the text at all, in whatever notation."""
    page = Page(text)
    if field == "total":
        return any(abs(amount.value - expected) < 0.005 for amount in find_amounts(page, []))
    if field == "date":
        dates = [date for first in (True, False) for date in find_dates(page, language, first)]
        return any(date.value is not None and date.value.isoformat() == expected for date in dates)
    if field == "issuer":
        return f" {name_key(expected)} " in f" {name_key(text)} "
    return re.sub(r"[\s#]", "", expected) in re.sub(r"[\s#]", "", text)


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Share of fields that are right, over all and over those printed, and of each field alone."""
    given = documents()
    if given is None:
        sys.stderr.write(
            "bench_invoices: set BATON_BENCH_DATA to a folder with invoices/*.pdf and their JSON; skipped\n"
        )
        return []
    parsed = parse(given)
    extract(parsed.head(1))  # the model is loaded once per process
    began = time.perf_counter()
    fields = extract(parsed)
    seconds = time.perf_counter() - began
    ours = [
        {"issuer": f.issuer, "number": f.invoice_number, "date": f.date, "total": f.total} for f in fields.itertuples()
    ]
    theirs = [naive(text) for text in parsed["text"]]
    cases = []
    for i, document in enumerate(parsed.to_dict("records")):
        for field, key in FIELDS.items():
            if key not in document["_expected"]:
                continue
            expected = document["_expected"][key]
            cases.append({
                "document": document["document_id"], "field": field, "right": same(field, ours[i][field], expected),
                "strict": ours[i][field] == expected, "naive": same(field, theirs[i][field], expected),
                "printed": printed(field, document["text"], document["language"], expected),
            })  # fmt: skip
    shared = {"unit": "of fields", "larger_is_better": True, "seed": seed, "versions": {"spacy": version("spacy")},
              "load": os.getloadavg()[0], "peer": "a regex per field"}  # fmt: skip

    def figure(
        name: str, keep: Callable[[dict[str, Any]], bool], target: float | None = None, **more: Any
    ) -> dict[str, Any]:
        kept = [case for case in cases if keep(case)]
        value, peer, strict = (sum(case[what] for case in kept) / len(kept) for what in ("right", "naive", "strict"))
        return {"name": name, "value": value, "target": target, "fields": len(kept), "strict": strict, "peer_value": peer,
                "ratio": value / peer if peer else None, **shared, **more}  # fmt: skip

    results = [
        figure(
            "invoice fields right",
            lambda case: True,
            TARGET,
            wrong=[f"{c['document']}: {c['field']}" for c in cases if not c["right"]],
        ),
        figure("invoice fields right, of those printed", lambda case: case["printed"]),
    ]
    results += [figure(f"invoice {field} right", lambda case, field=field: case["field"] == field) for field in FIELDS]
    speed = {"name": "extraction per document", "value": 1000 * seconds / len(fields), "unit": "ms", "target": None}
    return [
        *results,
        {**speed, "larger_is_better": False, "peer": None, "peer_value": None, "ratio": None, "seed": seed},
    ]
