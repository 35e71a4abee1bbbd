"""Contract check of 1M rows x 8 columns x 10 expectations, beside plain Great Expectations in the same run.

    python tests/bench/bench_contract.py [seed]

Ours is the whole way from a typed frame to good rows and named violations (`adopt`, `check`, `good_rows`).
The peer is `batch.validate` with COMPLETE and rows named by `_row`, then the split into good and bad rows:
what a user of GX writes for the same outcome; as a second peer BOOLEAN_ONLY, which names no row. Runs
alternate; each figure is a median.

Agreement: the verdict, every expectation's outcome and the rows named for it are compared with plain GX on
    200 random
contracts and frames. Nothing is shared with ours but the frame.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from baton.contracts import check as contracts
from baton.contracts import engine
from baton.data import typed as parsing
from baton.specs.contract import ContractSpec

ROWS, ROUNDS, CASES = 1_000_000, 7, 200
COLUMNS = {"id": "int", "at": "timestamp", "amount": "float", "rate": "float", "score": "float", "count": "int",
           "kind": "str", "flag": "int"}  # fmt: skip
SEVERITIES = ("critical", "warning", "info")


def expectation(kind: str, severity: str, number: int, **kwargs: Any) -> dict[str, Any]:
    """One entry of a contract."""
    return {"type": f"expect_{kind}", "kwargs": kwargs, "severity": severity, "meta": {"rule": f"rule_{number}"}}


def contract(columns: dict[str, str], expectations: list[dict[str, Any]], tolerated: float = 0.05) -> ContractSpec:
    """A contract whose only rules are the expectations given: no column implies one."""
    return ContractSpec.model_validate({
        "contract": "bench", "version": 1, "owner": "bench", "description": "bench", "key": next(iter(columns)),
        "columns": {name: {"type": kind, "nullable": True} for name, kind in columns.items()},
        "tolerated": tolerated, "expectations": expectations,
    })  # fmt: skip


def large(seed: int) -> tuple[ContractSpec, pd.DataFrame, pd.DataFrame]:
    """The contract with 10 expectations; 1M rows that meet it; the same with 1 % bad rows."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "id": np.arange(ROWS),
        "at": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 3600, ROWS), unit="s"),
        "amount": rng.gamma(2, 30, ROWS), "rate": rng.normal(size=ROWS), "score": rng.random(ROWS),
        "count": rng.integers(0, 100, ROWS), "kind": rng.choice(["card", "cash", "transfer"], ROWS),
        "flag": rng.integers(0, 2, ROWS),
    })  # fmt: skip
    bad, rows = frame.copy(), rng.permutation(ROWS)[: ROWS // 100]
    bad.loc[rows[:4000], "amount"] = -1.0
    bad.loc[rows[4000:7000], "rate"] = np.nan
    bad.loc[rows[7000:], "kind"] = "barter"
    rules = [
        ("column_values_to_not_be_null", {"column": "id"}),
        ("column_values_to_be_unique", {"column": "id"}),
        ("column_values_to_not_be_null", {"column": "amount"}),
        ("column_values_to_be_between", {"column": "amount", "min_value": 0, "max_value": 1_000_000}),
        ("column_values_to_not_be_null", {"column": "rate"}),
        ("column_values_to_be_between", {"column": "score", "min_value": 0, "max_value": 1}),
        ("column_values_to_be_between", {"column": "count", "min_value": 0, "max_value": 99}),
        ("column_values_to_be_in_set", {"column": "kind", "value_set": ["card", "cash", "transfer"]}),
        ("column_values_to_be_in_set", {"column": "flag", "value_set": [0, 1]}),
    ]
    entries = [expectation(kind, "warning", n, **kwargs) for n, (kind, kwargs) in enumerate(rules)]
    entries.append(expectation("table_row_count_to_be_between", "critical", 9, min_value=1))
    return contract(COLUMNS, entries), frame, bad


# --- plain Great Expectations -------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _batches() -> Any:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("plain").add_dataframe_asset("frames")
    return asset.add_batch_definition_whole_dataframe("whole")


def plain(frame: pd.DataFrame, spec: ContractSpec, result_format: Any) -> Any:
    """GX as its documentation shows it."""
    from great_expectations.core import ExpectationSuite

    entries = [
        {"type": e.type, "kwargs": e.kwargs, "severity": e.severity, "meta": {"rule": e.meta.rule}}
        for e in spec.expectations
    ]
    batch = _batches().get_batch(batch_parameters={"dataframe": frame})
    return batch.validate(ExpectationSuite(name="plain", expectations=entries), result_format=result_format)


def plain_split(frame: pd.DataFrame, spec: ContractSpec) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Good rows and bad rows by plain GX."""
    named = {"result_format": "COMPLETE", "unexpected_index_column_names": ["_row"]}
    result = plain(frame.assign(_row=np.arange(1, len(frame) + 1)), spec, named)
    bad = {entry["_row"] for outcome in result.results for entry in outcome.result.get("unexpected_index_list") or []}
    mask = np.zeros(len(frame), dtype=bool)
    mask[np.fromiter(bad, dtype=np.int64, count=len(bad)) - 1] = True
    return frame[~mask], frame[mask]


def ours(frame: pd.DataFrame, spec: ContractSpec) -> tuple[contracts.ContractVerdict, pd.DataFrame]:
    """Verdict with named rows, and the good rows."""
    parsed = parsing.adopt(frame, spec, "bench")
    verdict = contracts.check(parsed, spec)
    return verdict, contracts.good_rows(parsed, verdict)


# --- agreement ----------------------------------------------------------------------------------------------


def random_case(rng: np.random.Generator) -> tuple[ContractSpec, pd.DataFrame]:
    """A frame of 0 to 80 rows with nulls, duplicates and outliers, and a contract of 3 to 9 random expectations."""
    rows = int(rng.choice([0, 1, 5, 30, 80], p=[0.05, 0.05, 0.2, 0.4, 0.3]))
    holes = float(rng.choice([0.0, 0.0, 0.1, 0.5, 1.0], p=[0.3, 0.3, 0.2, 0.15, 0.05]))

    def with_nulls(values: Any, kind: str) -> pd.Series:
        series = pd.Series(values, dtype=kind)
        return series.mask(pd.Series(rng.random(rows) < holes, dtype=bool)) if rows else series

    words = ["card", "cash", "transfer", "", "x", "card-1"]
    frame = pd.DataFrame({
        "id": with_nulls(rng.integers(0, max(2, rows * int(rng.choice([1, 1000]))), rows), "Int64"),
        "low": with_nulls(rng.normal(0, 5, rows).round(1), "float64"),
        "high": with_nulls(rng.normal(3, 5, rows).round(1), "float64"),
        "word": with_nulls(rng.choice(words, rows), "object"),
        "at": with_nulls(pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 99, rows), unit="h"),
                         "datetime64[ns, UTC]"),
    })  # fmt: skip
    low, high = sorted(rng.normal(0, 6, 2).round(1).tolist())
    number = str(rng.choice(["id", "low", "high"]))
    column = str(rng.choice([*frame.columns]))
    loose = {"mostly": float(rng.choice([0.5, 0.9]))} if rng.random() < 0.25 else {}
    only = {"row_condition": f"low > {low}", "condition_parser": "pandas"} if rng.random() < 0.15 else {}
    menu: list[tuple[str, dict[str, Any]]] = [
        ("column_values_to_not_be_null", {"column": column, **loose}),
        ("column_values_to_be_null", {"column": column}),
        ("column_values_to_be_unique", {"column": column, **only}),
        ("column_values_to_be_between", {"column": number, "min_value": low, "max_value": high, **loose, **only}),
        ("column_values_to_be_between", {"column": "at", "min_value": "2026-01-02T00:00:00+00:00"}),
        ("column_values_to_be_between", {"column": "word", "min_value": 1}),  # raises inside GX
        ("column_values_to_be_in_set", {"column": "word", "value_set": words[: int(rng.integers(1, 5))], **loose}),
        ("column_values_to_not_be_in_set", {"column": "word", "value_set": words[3:]}),
        ("column_values_to_match_regex", {"column": "word", "regex": "^ca", **loose}),
        ("column_value_lengths_to_be_between", {"column": "word", "min_value": 1, "max_value": 5}),
        ("column_pair_values_a_to_be_greater_than_b", {"column_A": "high", "column_B": "low"}),
        ("column_pair_values_to_be_equal", {"column_A": "high", "column_B": "low", "ignore_row_if": "either_value_is_missing"}),
        ("compound_columns_to_be_unique", {"column_list": ["id", "word"]}),
        ("multicolumn_sum_to_equal", {"column_list": ["low", "high"], "sum_total": 3}),
        ("table_row_count_to_be_between", {"min_value": int(rng.integers(0, 40))}),
        ("column_mean_to_be_between", {"column": number, "min_value": low, "max_value": high}),
        ("column_median_to_be_between", {"column": number, "min_value": low}),
        ("column_max_to_be_between", {"column": number, "max_value": high * 3}),
        ("column_distinct_values_to_be_in_set", {"column": "word", "value_set": words[:4]}),
        ("column_proportion_of_unique_values_to_be_between", {"column": column, "min_value": 0.5}),
        ("table_column_count_to_equal", {"value": int(rng.choice([5, 5, 6]))}),
        ("column_to_exist", {"column": column}),
    ]  # fmt: skip
    chosen = rng.permutation(len(menu))[: int(rng.integers(3, 10))]
    entries = [
        expectation(menu[m][0], str(rng.choice(SEVERITIES, p=[0.25, 0.6, 0.15])), n, **menu[m][1])
        for n, m in enumerate(chosen)
    ]
    columns = {"id": "int", "low": "float", "high": "float", "word": "str", "at": "timestamp"}
    return contract(columns, entries, tolerated=float(rng.choice([0.0, 0.05, 0.5, 1.0]))), frame


def by_plain_gx(frame: pd.DataFrame, spec: ContractSpec) -> dict[str, Any]:
    """What the contract's words mean for plain GX's result: status, good rows, outcome and rows by rule."""
    outcomes = {r.expectation_config.meta["rule"]: r for r in plain(frame, spec, "COMPLETE").results}
    rows: dict[str, list[int]] = {}
    broken = False
    for entry in spec.expectations:
        outcome = outcomes[entry.meta.rule]
        raised = _any_raised(outcome)
        named = outcome.result.get("unexpected_index_list")
        if not outcome.success and not raised and named is not None and entry.severity != "info":
            rows[entry.meta.rule] = sorted(int(row) + 1 for row in named)
        broken |= raised or (not outcome.success and entry.severity == "critical")
    bad = {row for named in rows.values() for row in named}
    broken |= bool(len(frame)) and len(bad) / len(frame) > spec.tolerated
    status = "broken" if broken else "quarantined" if bad else "passed"
    good = 0 if broken else len(frame) - len(bad)
    return {"status": status, "good": good, "success": {k: bool(v.success) for k, v in outcomes.items()}, "rows": rows}


def _any_raised(outcome: Any) -> bool:
    info = outcome.to_json_dict()["exception_info"]
    return any(
        part.get("raised_exception") is True for part in [info, *(v for v in info.values() if isinstance(v, dict))]
    )


def by_baton(frame: pd.DataFrame, spec: ContractSpec, large: bool) -> dict[str, Any]:
    """The same from our verdict; `large` takes the way of frames of 100k rows and more."""
    usual, engine.LARGE = engine.LARGE, -1 if large else engine.LARGE
    try:
        verdict, good = ours(frame, spec)
    finally:
        engine.LARGE = usual
    rows: dict[str, list[int]] = {}
    for violation in verdict.violations:
        rows.setdefault(violation.rule, []).append(violation.row)
    success = {r["expectation_config"]["meta"]["rule"]: r["success"] for r in verdict.gx_result["results"]}
    assert len(good) == verdict.rows_good
    named = {rule: sorted(numbers) for rule, numbers in rows.items()}
    return {"status": verdict.status, "good": verdict.rows_good, "success": success, "rows": named}


def disagreements(cases: int, seed: int) -> list[str]:
    """Random cases in which ours and plain GX differ in anything."""
    found = []
    for number in range(cases):
        spec, frame = random_case(np.random.default_rng([seed, number]))
        # the empty text is a null to a contract: plain GX gets the frame as it is typed
        typed = parsing.adopt(frame, spec).frame[list(spec.columns)]
        theirs, mine = by_plain_gx(typed, spec), by_baton(frame, spec, large=number % 2 == 1)
        if theirs != mine:
            found.append(f"case {number}: plain GX {theirs}, Baton {mine}")
    return found


# --- figures ------------------------------------------------------------------------------------------------


def alternating(*works: Callable[[], object]) -> list[float]:
    """Median seconds of each, run in turns so that the machine's load falls on all alike."""
    for work in works:
        work()
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for mine, work in zip(seconds, works, strict=True):
            started = time.perf_counter()
            work()
            mine.append(time.perf_counter() - started)
    return [statistics.median(mine) for mine in seconds]


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """All figures; `out` receives the cases that disagree, if any."""
    spec, good, bad = large(seed)
    verdict, kept = ours(bad, spec)
    theirs, split = plain_split(bad, spec)
    assert (len(kept), verdict.rows_quarantined) == (len(theirs), len(split)) == (ROWS - ROWS // 100, ROWS // 100)
    passing, passing_peer, passing_boolean = alternating(
        lambda: ours(good, spec), lambda: plain_split(good, spec), lambda: plain(good, spec, "BOOLEAN_ONLY")
    )
    failing, failing_peer = alternating(lambda: ours(bad, spec), lambda: plain_split(bad, spec))
    differing = disagreements(CASES, seed)
    if differing:
        out.mkdir(parents=True, exist_ok=True)
        (out / "contract_disagreements.txt").write_text("\n".join(differing) + "\n", encoding="utf-8")
    complete, boolean = "GX COMPLETE, rows named and split", "GX BOOLEAN_ONLY, names no row"
    common = {
        "seed": seed,
        "versions": {"python": platform.python_version()} | {p: version(p) for p in ("great-expectations", "pandas")},
        "load": [round(value, 2) for value in os.getloadavg()],
    }
    figures = [
        ("contract_1m_all_pass", passing, "s", 0.25, False, complete, passing_peer),
        ("contract_1m_all_pass_boolean", passing, "s", 0.25, False, boolean, passing_boolean),
        ("contract_1m_one_percent_bad", failing, "s", 0.45, False, complete, failing_peer),
        ("contract_agreement", (CASES - len(differing)) / CASES, "share of 200", 1.0, True, "plain GX", 1.0),
    ]
    return [
        {"name": name, "value": round(value, 4), "unit": unit, "target": target, "larger_is_better": larger,
         "peer": peer, "peer_value": round(theirs, 4), "ratio": round(value / theirs if larger else theirs / value, 3),
         **common}
        for name, value, unit, target, larger, peer, theirs in figures
    ]  # fmt: skip


if __name__ == "__main__":
    results = run(int(sys.argv[1]) if len(sys.argv) > 1 else 7, Path(".baton/bench"))
    sys.stdout.write(json.dumps(results, indent=1) + "\n")
