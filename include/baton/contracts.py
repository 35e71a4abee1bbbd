"""Contracts: Great Expectations judges a hand-over of rows, and names the rows that break a rule.

This module and `baton.result_pages` alone import great_expectations, and only inside functions: it costs
seconds. Two passes over one batch: all expectations with the result format BOOLEAN_ONLY, then COMPLETE for those
that failed. The verdict and the rows are GX's own; nothing here re-implements an expectation. GX sees typed
columns and names rows by their position, because a key may be missing or occur twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from baton.errors import SpecError
from baton.findings import Findings, Rule, first_line, missing, raised, rules_of
from baton.jsontext import to_json
from baton.parsing import Parsed, Violation, adopt
from baton.readers import BOOKKEEPING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from baton.specs import ContractSpec

Status = Literal["passed", "quarantined", "broken"]
MASKED = "(masked)"
EXPLAINED_ROWS = 200_000
_SAMPLES = ("partial_unexpected_list", "partial_unexpected_counts", "observed_value", "details")
_BULKY = (
    "unexpected_list",
    "unexpected_index_list",
    "unexpected_index_query",
    "partial_unexpected_index_list",
)


@dataclass(frozen=True)
class Verdict:
    """What a contract says about one partition's rows.

    Attributes:
        status: passed; quarantined (some rows are, the rest goes on); broken (nothing goes on).
        rows_in: rows judged, converted or not.
        rows_good: rows that go on, 0 when broken.
        violations: rules that single rows break, in the order of rows.
        info: what is recorded and stops nothing: severity info, and warnings that name no row.
        aggregate_failures: why the contract is broken, a sentence each with its advice.
        broken_by: names of the rules behind `aggregate_failures`.
        gx_result: GX's validation result as JSON, without its lists of all rows; personal values masked.
        bad_positions: rows of `Parsed.frame` that do not go on.
    """

    spec: ContractSpec
    status: Status
    rows_in: int
    rows_good: int
    violations: list[Violation]
    info: list[str]
    aggregate_failures: list[str]
    broken_by: list[str]
    dropped_columns: list[str]
    gx_result: dict[str, Any]
    seconds: float
    bad_positions: np.ndarray = field(repr=False)

    @property
    def contract(self) -> str:
        """The contract's name."""
        return self.spec.contract

    @property
    def version(self) -> int:
        """The contract's version."""
        return self.spec.version

    @property
    def rows_quarantined(self) -> int:
        """Rows that do not go on, each once however many rules it breaks."""
        return self.rows_in - self.rows_good


def check(data: Parsed | pd.DataFrame, spec: ContractSpec) -> Verdict:
    """Judge rows by a contract.

    Args:
        data: what `parsing.parse` or `parsing.adopt` returned; a plain typed frame is adopted first.

    Returns:
        the verdict; `status` is broken when a critical expectation fails, a column is missing, GX itself
        raises, or more than `spec.tolerated` of the rows are bad.

    Raises:
        SpecError: GX does not know an expectation of the contract, or not these arguments.
    """
    started = time.perf_counter()
    parsed = data if isinstance(data, Parsed) else adopt(data, spec)
    if parsed.missing:
        # every other expectation would raise for want of a column: GX is only asked which columns are there
        rules = [
            Rule("expect_column_to_exist", {"column": name}, "critical", "missing_column", "") for name in spec.columns
        ]
    else:
        rules = rules_of(spec)
    result, failed = _validate(parsed.frame, spec, rules)
    found = Findings(parsed, spec)
    for rule, outcome in failed:
        found.add(rule, outcome)
    failures = [("missing_column", missing(parsed))] if parsed.missing else found.all_failures()
    status: Status = "broken" if failures else "quarantined" if found.rows_bad else "passed"
    return Verdict(
        spec=spec,
        status=status,
        rows_in=parsed.rows_in,
        rows_good=0 if failures else parsed.rows_in - found.rows_bad,
        violations=sorted([*parsed.bad, *found.violations], key=lambda violation: violation.row),
        info=found.info,
        aggregate_failures=[message for _, message in failures],
        broken_by=list(dict.fromkeys(name for name, _ in failures)),
        dropped_columns=parsed.dropped_columns,
        gx_result=_slim(result, spec),
        seconds=time.perf_counter() - started,
        bad_positions=found.positions(),
    )


def good_rows(parsed: Parsed, verdict: Verdict) -> pd.DataFrame:
    """Return the typed rows that go on, index 0..n-1: none when the contract is broken.

    A column that may not be empty has its plain type (int64, bool) again, now that empty cells are gone.
    """
    import numpy as np
    import pandas as pd

    keep = np.zeros(len(parsed.frame), dtype=bool)
    if verdict.status != "broken":
        keep[:] = True
        keep[verdict.bad_positions] = False
    frame = parsed.frame.copy(deep=False)
    if not keep.all():
        frame = parsed.frame.take(np.flatnonzero(keep))
        frame.index = pd.RangeIndex(len(frame))
    plain = {"int": "int64", "bool": "bool"}
    nullable = {"int": "Int64", "bool": "boolean"}
    for name, column in verdict.spec.columns.items():
        if name in frame and column.type in plain:
            kind: Any = nullable[column.type] if column.nullable else plain[column.type]
            if str(frame[name].dtype) != kind:
                frame[name] = frame[name].astype(kind)
    return frame


# --- Great Expectations -------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _batch_definition() -> Any:
    """An ephemeral GX context, made once per process, with one place that takes frames from memory."""
    import logging
    import os

    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # GX may report its use to its makers unless told otherwise
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # its import logs hundreds of lines
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from tqdm.auto import tqdm

    for name in [name for name in logging.root.manager.loggerDict if name.startswith("great_expectations.")]:
        logging.getLogger(name).setLevel(logging.NOTSET)  # one of its modules asks for INFO by itself
    tqdm.monitor_interval = 0  # GX's switched-off progress bars would start a thread, in a process that may fork
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("baton").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("partition")


def warm() -> None:
    """Import GX and make its context: for processes that fork others."""
    _batch_definition()


def names_rows(expectation: str) -> bool:
    """True for an expectation of GX on single rows, False for one on a column or table as a whole."""
    from great_expectations.expectations import expectation as kinds
    from great_expectations.expectations.registry import get_expectation_impl

    by_row = (kinds.ColumnMapExpectation, kinds.ColumnPairMapExpectation, kinds.MulticolumnMapExpectation)
    return issubclass(get_expectation_impl(expectation), by_row)


def _validate(frame: pd.DataFrame, spec: ContractSpec, rules: list[Rule]) -> tuple[dict[str, Any], list[Any]]:
    """Both passes; returns GX's result (failed expectations COMPLETE) and (rule, result) of those that failed."""
    definition = _batch_definition()
    from great_expectations.validator.v1_validator import Validator

    seen = _seen_by(frame, rules)
    # one validator for both passes, so that GX takes the batch's fingerprint once
    validator = Validator(definition, batch_parameters={"dataframe": seen})
    first = _run(validator, spec, list(enumerate(rules)), "BOOLEAN_ONLY")
    outcomes = {_number(outcome): outcome for outcome in first.results}
    # the page shows what a median or a row count was also where it is met, unless that costs time
    explained = {n for n, rule in enumerate(rules) if len(seen) <= EXPLAINED_ROWS and not names_rows(rule.type)}
    again = [
        (n, rules[n])
        for n, outcome in sorted(outcomes.items())
        if not raised(outcome) and (not outcome.success or n in explained)
    ]
    if again:
        complete = {"result_format": "COMPLETE", "return_unexpected_index_query": False}
        outcomes |= {_number(outcome): outcome for outcome in _run(validator, spec, again, complete).results}
    first.results = [outcomes[n] for n in range(len(rules))]
    failed = [(rules[n], outcomes[n]) for n in range(len(rules)) if not outcomes[n].success]
    return first, failed


def _seen_by(frame: pd.DataFrame, rules: Iterable[Rule]) -> pd.DataFrame:
    """The columns that the rules need, side by side in memory: GX copies all it is given several times."""
    import pandas as pd

    texts = [str(rule.kwargs.get("row_condition") or "") for rule in rules]
    named = {column for rule in rules for column in rule.columns}
    # what an expectation on the whole table looks at is GX's business, unless it only counts rows
    whole = any(not rule.columns and not rule.type.startswith("expect_table_row_count") for rule in rules)
    whole = whole or any(rule.type == "expect_column_to_exist" for rule in rules)
    columns = [
        name
        for name in frame.columns
        if name not in BOOKKEEPING and (whole or name in named or any(name in text for text in texts))
    ]
    return pd.DataFrame({name: frame[name] for name in columns}, index=frame.index, copy=True)


def _run(validator: Any, spec: ContractSpec, rules: Sequence[tuple[int, Rule]], result_format: Any) -> Any:
    from great_expectations.core import ExpectationSuite
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.registry import get_expectation_impl

    name = f"{spec.contract} v{spec.version}"
    given = [
        {"type": rule.type, "kwargs": dict(rule.kwargs), "severity": rule.severity,
         "meta": {"rule": rule.name, "number": number}}
        for number, rule in rules
    ]  # fmt: skip
    try:
        for _, rule in rules:
            get_expectation_impl(rule.type)  # a suite logs a name that it does not know, and goes on without it
        suite = ExpectationSuite(name=name, expectations=given)
    except (GreatExpectationsError, ValueError, TypeError) as error:
        raise SpecError(f"contract {name}: {first_line(error)}; see Great Expectations' gallery") from error
    if len(suite.expectations) != len(given):
        raise SpecError(f"contract {name}: Great Expectations took {len(suite.expectations)} of {len(given)} rules")
    validator.result_format = result_format
    return validator.validate_expectation_suite(suite)


def _number(outcome: Any) -> int:
    # GX returns results in an order of its own
    return int(outcome.expectation_config.meta["number"])


def _slim(result: Any, spec: ContractSpec) -> dict[str, Any]:
    """GX's result as JSON: samples stay, lists of all rows go, values of direct personal data are masked."""
    for outcome in result.results:
        for name in _BULKY:
            outcome.result.pop(name, None)
        config = outcome.expectation_config
        looked_at = Rule(config.type, config.kwargs, "", "", "").columns
        if any(column in spec.columns and spec.columns[column].pii == "direct" for column in looked_at):
            for name in _SAMPLES:
                if name in outcome.result:
                    outcome.result[name] = [] if name.startswith("partial") else MASKED
    # plain JSON: GX's renderer cannot write NumPy's numbers
    slim: dict[str, Any] = json.loads(to_json(result.to_json_dict()))
    for outcome in slim["results"]:
        info = outcome.get("exception_info") or {}
        for entry in [info, *info.values()]:
            if isinstance(entry, dict) and "exception_traceback" in entry:
                entry["exception_traceback"] = ""  # paths and code of this installation: the message is enough
    return slim
