"""Contracts judged by real Great Expectations: its verdict, rows by name, clear words for broken partitions, the page."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.contracts import check as contracts
from baton.contracts import page as result_pages
from baton.data import identity
from baton.data import typed as parsing
from baton.data.cells import MASKED
from baton.errors import BatonError, SpecError
from baton.packs.pack import load_pack
from baton.settings import settings
from baton.specs.contract import ContractSpec

FOREIGN = re.compile(r"""(?:src|href|action|srcset|data)\s*=\s*["']?\s*(?:[a-z]+:)?//|url\(|@import""", re.IGNORECASE)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("BATON_HOME", str(tmp_path))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def pack_contract(name: str) -> ContractSpec:
    return load_pack("financial_crime").contracts[name]


def transactions(rows: int = 400, seed: int = 3) -> pd.DataFrame:
    """Rows as the recording has them: amounts with a median near 22 and a long tail."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 28)), columns=[f"v{i}" for i in range(1, 29)])
    frame.insert(0, "transaction_id", range(1, rows + 1))
    frame.insert(1, "event_time", pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(range(rows), unit="s"))
    frame.insert(2, "seconds", np.arange(rows, dtype=float))
    frame["amount"] = np.exp(rng.normal(3.1, 1.6, rows)).round(2)
    return frame


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.map(lambda value: value.isoformat() if isinstance(value, pd.Timestamp) else str(value)).astype(object)


def judge(frame: pd.DataFrame, spec: ContractSpec) -> tuple[contracts.ContractVerdict, pd.DataFrame]:
    parsed = parsing.parse(identity.with_row_identity(frame, "feed"), spec)
    verdict = contracts.check(parsed, spec)
    return verdict, contracts.good_rows(parsed, verdict)


def test_verdict_counts_and_rows_equal_plain_gx_on_random_contracts(bench: ModuleType) -> None:
    assert bench.disagreements(30, seed=2026) == []


def test_clean_transactions_pass_with_their_types() -> None:
    frame = transactions()
    for given in (frame, as_text(frame)):
        verdict, good = judge(given, pack_contract("transactions"))
        assert (verdict.status, verdict.rows_in, verdict.rows_good) == ("passed", 400, 400)
        assert verdict.violations == verdict.info == verdict.aggregate_failures == []
        pd.testing.assert_frame_equal(good[list(frame.columns)], frame, check_exact=True)
        assert good["_row"].tolist() == list(range(1, 401))


def test_planted_rows_are_named_once_per_rule_and_only_they_stay_behind() -> None:
    frame = as_text(transactions())
    frame["surprise"] = "x"
    frame.loc[5, "amount"] = "12,50"
    frame.loc[6, "amount"] = "-5"
    frame.loc[7, "transaction_id"] = ""
    frame.loc[8, "transaction_id"] = "10"
    frame.loc[11, ["v3", "v4"]] = ""
    frame.loc[12, "event_time"] = "1999-12-31T23:00:00Z"
    verdict, good = judge(frame, pack_contract("transactions"))
    assert verdict.status == "quarantined"
    assert verdict.dropped_columns == ["surprise"]
    assert [(v.row, v.key, v.rule, v.column, v.value) for v in verdict.violations] == [
        (6, "6", "type", "amount", "12,50"),
        (7, "7", "amount_implausible", "amount", "-5.0"),
        (8, None, "key_missing", "transaction_id", None),
        (9, "10", "key_duplicate", "transaction_id", "10"),
        (10, "10", "key_duplicate", "transaction_id", "10"),
        (12, "12", "not_null", "v3", None),
        (12, "12", "not_null", "v4", None),
        (13, "13", "time_implausible", "event_time", "1999-12-31T23:00:00+00:00"),
    ]
    assert all(v.advice for v in verdict.violations)
    assert verdict.rows_quarantined == 7
    assert len(good) == verdict.rows_good == 393
    assert "surprise" not in good
    assert {"transaction_id": "int64", "seconds": "float64"}.items() <= {
        n: str(t) for n, t in good.dtypes.items()
    }.items()
    known = identity.with_row_identity(frame, "feed")
    assert {v.row_sha for v in verdict.violations if v.row == 12} == {known["_row_sha"][11]}


def test_rows_that_differ_in_their_number_only_are_no_violation() -> None:
    frame = transactions()
    repeated = frame.iloc[:50].assign(transaction_id=range(1000, 1050))
    verdict, _ = judge(pd.concat([frame, repeated], ignore_index=True), pack_contract("transactions"))
    assert verdict.status == "passed"


def test_cents_for_euros_are_recognised_as_broken_data() -> None:
    verdict, good = judge(transactions().assign(amount=lambda f: f["amount"] * 100), pack_contract("transactions"))
    assert verdict.status == "broken"
    assert verdict.broken_by == ["amount_unit"]
    assert verdict.aggregate_failures[0].startswith("amount_unit: amounts look like cents")
    assert "observed 2" in verdict.aggregate_failures[0]
    assert (len(good), verdict.rows_good, verdict.rows_quarantined) == (0, 0, 400)


@pytest.mark.parametrize(
    ("change", "rule", "words"),
    [
        (lambda f: f.head(0), "rows_delivered", "the delivery is empty"),
        (lambda f: pd.DataFrame(), "missing_column", "transaction_id, event_time.*did not arrive with 0 rows"),
        (lambda f: f.drop(columns=["v7", "amount"]), "missing_column", "v7, amount did not arrive with 400 rows"),
        (lambda f: f.rename(columns={"amount": "betrag"}), "missing_column", "nobody expects: betrag"),
        (lambda f: f.assign(amount="x"), "too_many_bad_rows", r"400 of 400 rows \(100.0%\).*type amount: 400"),
        (lambda f: f.assign(v1=""), "too_many_bad_rows", "not_null v1: 400"),
        (lambda f: f.assign(transaction_id="1"), "too_many_bad_rows", "key_duplicate transaction_id: 400"),
    ],
)
def test_partitions_that_are_wrong_as_a_whole_get_a_clear_verdict(change: Any, rule: str, words: str) -> None:
    verdict, good = judge(change(as_text(transactions())), pack_contract("transactions"))
    assert verdict.status == "broken"
    assert verdict.broken_by[0] == rule
    assert re.search(words, verdict.aggregate_failures[0])
    assert "Traceback" not in " ".join(verdict.aggregate_failures)
    assert (len(good), verdict.rows_good) == (0, 0)
    result_pages.render_page(verdict)


def test_the_tolerated_share_decides_between_quarantine_and_stop() -> None:
    frame = transactions()
    frame.loc[:19, "amount"] = -1.0
    assert judge(frame, pack_contract("transactions"))[0].status == "quarantined"
    frame.loc[20, "amount"] = -1.0
    assert judge(frame, pack_contract("transactions"))[0].status == "broken"


def small(*expectations: dict[str, Any], **columns: Any) -> ContractSpec:
    entries = [
        {"severity": "warning", **entry, "meta": {"rule": f"rule_{n}", "advice": ""}}
        for n, entry in enumerate(expectations)
    ]
    return ContractSpec.model_validate({
        "contract": "small", "version": 3, "owner": "team", "description": "d", "key": "id", "tolerated": 1.0,
        "columns": {"id": {"type": "int"}, **columns}, "expectations": entries,
    })  # fmt: skip


def test_an_exception_inside_gx_breaks_the_contract_and_blames_no_row() -> None:
    spec = small(
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "name", "min_value": 1}},
        name={"type": "str"},
    )
    verdict, _ = judge(pd.DataFrame({"id": ["1", "2"], "name": ["a", "b"]}), spec)
    assert verdict.status == "broken"
    assert verdict.violations == []
    assert re.match(r"rule_0: Great Expectations raised: .*of the same type", verdict.aggregate_failures[0])
    page = result_pages.render_page(verdict)
    assert "of the same type" in page
    assert "Traceback" not in page


def test_rows_of_another_day_are_named() -> None:
    spec = small(
        {"type": "expect_column_values_to_be_between",
         "kwargs": {"column": "at", "min_value": "{start}", "max_value": "{end}", "strict_max": True}},
        at={"type": "timestamp"},
    )  # fmt: skip
    frame = identity.with_row_identity(
        pd.DataFrame({"id": ["1", "2", "3"], "at": ["2026-11-20", "2026-11-20T23:59:59", "2026-11-21"]}), "rows"
    )
    day = ("2026-11-20T00:00:00+00:00", "2026-11-21T00:00:00+00:00")
    verdict = contracts.check(parsing.parse(frame, spec), spec, day)
    assert [(v.row, v.rule) for v in verdict.violations] == [(3, "rule_0")]
    alone = contracts.check(parsing.parse(frame, spec), spec)
    assert (alone.status, alone.info) == ("passed", ["rule_0: not judged, the rows are of no partition"])


def test_severities() -> None:
    between = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "id", "max_value": 2}}
    frame = pd.DataFrame({"id": ["1", "2", "3"]})
    info, good = judge(frame, small({**between, "severity": "info"}))
    assert (info.status, info.violations, len(good)) == ("passed", [], 3)
    assert info.info == ["rule_0: expect_column_values_to_be_between(column=id, max_value=2) is broken by 1 of 3 rows"]
    critical, _ = judge(frame, small({**between, "severity": "critical"}))
    assert critical.status == "broken"
    assert [(v.row, v.severity) for v in critical.violations] == [(3, "critical")]
    whole = {"type": "expect_column_max_to_be_between", "kwargs": {"column": "id", "max_value": 2}}
    warned, good = judge(frame, small(whole))
    assert (warned.status, len(good)) == ("passed", 3)
    assert warned.info[0].startswith("warning that names no row: rule_0")


def test_an_expectation_that_gx_does_not_know_is_a_spec_error() -> None:
    with pytest.raises(SpecError, match="small v3"):
        judge(
            pd.DataFrame({"id": ["1"]}), small({"type": "expect_column_values_to_be_nice", "kwargs": {"column": "id"}})
        )


def test_typed_frames_are_hashed_only_where_rows_are_bad() -> None:
    frame = transactions()
    frame.loc[3, "amount"] = -2.0
    verdict = contracts.check(frame, pack_contract("transactions"))
    assert [(v.row, v.row_sha) for v in verdict.violations] == [
        (4, identity.with_row_identity(frame, "x")["_row_sha"][3])
    ]


@pytest.mark.parametrize("name", ["scores", "decisions", "labels"])
def test_contracts_of_outputs(name: str) -> None:
    keys = [str(n) for n in range(50)]
    good = {
        "scores": {"entity_key": keys, "model": "card_fraud", "version": 3, "score": 0.2, "reasons": None, "_row": 1},
        "decisions": {
            "entity_key": keys,
            "risk": 0.1,
            "route": "clear",
            "money": 1.0,
            "amount": 5.0,
            "title": None,
            "reasons": None,
        },
        "labels": {"transaction_id": range(50), "is_fraud": [1] + [0] * 49},
    }
    bad = {
        "scores": [{"score": 1.2}, {"version": 0}, {"entity_key": "7"}, {"score": float("nan")}],
        "decisions": [{"route": "maybe"}, {"risk": -0.1}, {"money": -1.0}, {"entity_key": "7"}, {"risk": float("inf")}],
        "labels": [{"is_fraud": 1}, {"is_fraud": 2}, {"transaction_id": 7}],
    }
    frame = pd.DataFrame(good[name])
    assert contracts.check(frame, pack_contract(name)).status == "passed"
    for change in bad[name]:
        assert contracts.check(frame.assign(**change), pack_contract(name)).status == "broken", change


def test_training_rows_keep_the_engines_columns() -> None:
    frame = transactions(2000).assign(is_fraud=0, _part="train", _weight=1.0, _partition="")
    frame.loc[:9, "is_fraud"] = 1
    verdict, good = judge(frame, pack_contract("labelled_transactions"))
    assert verdict.status == "passed", verdict.aggregate_failures
    assert {"_part", "_weight", "_partition"} <= set(good.columns)
    assert judge(frame.assign(is_fraud=0), pack_contract("labelled_transactions"))[0].broken_by == ["fraud_rate"]


# --- the page -----------------------------------------------------------------------------------------------


def page_of(frame: pd.DataFrame, name: str = "transactions") -> str:
    return result_pages.render_page(
        judge(frame, pack_contract(name))[0], "transaction_monitoring", "2026-01-01T00:00:00"
    )


def test_the_page_says_what_happened_and_fetches_nothing() -> None:
    frame = as_text(transactions())
    frame.loc[5, "amount"] = "<script>alert(1)</script><img src=//evil.example/x onerror=alert(1)>"
    frame.loc[6, "amount"] = "-5"
    page = page_of(frame)
    for words in (
        "Contract transactions v1", "fraud-operations", "2026-01-01T00:00:00", ">quarantined<", "<dd>400</dd>", "<dd>398</dd>",
        "<dd>2</dd>", "amount_implausible", "refunds are not sent", "Validation by Great Expectations",
        "median must be greater than or equal to", "values must be unique", "100% not null",
    ):  # fmt: skip
        assert words in page, words
    assert "<script" not in page
    assert "onerror" not in re.sub(r"&lt;.*?&gt;", "", page)
    markup = re.sub(r">[^<]*<", "><", page.split("</style>")[1])
    assert not FOREIGN.search(markup)
    assert not FOREIGN.search(page.split("<style>")[1].split("</style>")[0])
    assert not re.search(r"https?://(?!127\.0\.0\.1|localhost|www\.w3\.org)", page)
    assert page.count("<table") == page.count("</table>")
    assert page.count("<div") == page.count("</div>")


def test_values_that_gx_shows_are_not_executed() -> None:
    spec = small(
        {
            "type": "expect_column_values_to_be_in_set",
            "kwargs": {"column": "name", "value_set": ["<b onclick=x>ok</b>"]},
        },
        name={"type": "str"},
    )
    verdict, _ = judge(
        pd.DataFrame({"id": ["1"], "name": ["<script src=https://evil.example></script><a href='javascript:x'>"]}), spec
    )
    page = result_pages.render_page(verdict)
    assert "<script" not in page
    assert '<a href="javascript' not in page
    assert "onclick" not in re.sub(r"&lt;.*?&gt;", "", page)


def test_a_broken_page_names_the_reason_first() -> None:
    page = page_of(transactions().assign(amount=lambda f: f["amount"] * 100))
    assert ">broken<" in page
    assert (
        page.index("amounts look like cents") < page.index("Rows in") < page.index("Validation by Great Expectations")
    )


def test_direct_personal_data_is_masked_everywhere_on_the_page() -> None:
    spec = small(
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "email", "regex": "@bank"}},
        {"type": "expect_column_distinct_values_to_be_in_set", "kwargs": {"column": "email", "value_set": ["x"]}, "severity": "info"},
        email={"type": "str", "pii": "direct"}, born={"type": "timestamp", "pii": "direct", "nullable": True},
        city={"type": "str", "pii": "quasi", "nullable": True},
    )  # fmt: skip
    frame = pd.DataFrame({
        "id": ["1", "2"], "email": ["ann@home.example", "ben@bank"], "born": ["", "31.12.1980"], "city": ["Ulm", ""],
    })  # fmt: skip
    verdict, _ = judge(frame, spec)
    assert [v.value for v in verdict.violations] == [MASKED, MASKED]
    page = result_pages.render_page(verdict)
    assert "ann@home" not in page
    assert "ben@bank" not in page
    assert "1980" not in page
    assert page.count(MASKED) >= 2
    assert "ann@home" not in str(verdict.gx_result)
    assert not re.search("ann@home|ben@bank", str([verdict.violations, verdict.info, verdict.aggregate_failures]))


def test_only_the_first_rows_are_shown() -> None:
    frame = transactions(2000)
    frame.loc[:79, "amount"] = -1.0
    page = page_of(frame)
    assert "the first 50 of 80" in page
    assert page.count("amount_implausible</td>") == 50
    assert len(page) < 300_000


def test_pages_are_stored_under_the_reports_folder(home: Path) -> None:
    verdict, _ = judge(transactions(), pack_contract("transactions"))
    address = result_pages.store(verdict, "transaction_monitoring", "2026-01-01T00:00:00", "contract")
    assert re.fullmatch(r"contracts/transaction_monitoring/2026-01-01T00-00-00/contract-[0-9a-f]{16}\.html", address)
    assert (home / "reports" / address).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    again = judge(transactions(), pack_contract("transactions"))[0]
    assert result_pages.store(again, "transaction_monitoring", "2026-01-01T00:00:00", "contract") == address
    assert [path.name for path in (home / "reports").rglob("*.html")] == [Path(address).name]
    for flow in ("../../etc", "a/b", "", ".hidden"):
        with pytest.raises(BatonError, match="page's address"):
            result_pages.store(verdict, flow, "2026-01-01T00:00:00", "contract")


# --- manners ------------------------------------------------------------------------------------------------


def test_gx_is_imported_late_and_stays_quiet() -> None:
    code = (
        "import sys, logging; logging.basicConfig(level=logging.INFO)\n"
        "import baton.contracts.check, baton.contracts.page, baton.data.typed, baton.quarantine\n"
        "heavy = {'great_expectations', 'pandas', 'numpy', 'pyarrow'} & set(sys.modules); assert not heavy, heavy\n"
        "import pandas as pd; from baton.specs.contract import ContractSpec\n"
        "spec = ContractSpec.model_validate({'contract': 'c', 'version': 1, 'owner': 'o', 'description': 'd', 'key': 'id',"
        " 'columns': {'id': {'type': 'int'}}})\n"
        "assert baton.contracts.check.check(pd.DataFrame({'id': [1, None]}), spec).status == 'broken'\n"
        "import threading; assert threading.active_count() == 1, threading.enumerate()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if "great_expectations" in line or "Calculating" in line]
    assert lines == []
    assert logging.getLogger("great_expectations").level in {logging.NOTSET, logging.WARNING}


def test_frames_are_not_kept_after_a_check() -> None:
    import gc
    import weakref

    frame = transactions()
    contracts.check(frame, pack_contract("transactions"))
    alive = weakref.ref(frame)
    del frame
    contracts.check(transactions(50), pack_contract("transactions"))
    gc.collect()
    assert alive() is None
