"""Contracts: Great Expectations judges a hand-over of rows, and names the rows that break a rule.

This module and `baton.result_pages` alone import great_expectations, and only inside functions: it costs seconds.

Two passes over one batch: all expectations with the result format BOOLEAN_ONLY, then COMPLETE for those that failed.
The verdict and the rows are GX's own; nothing here re-implements an expectation. GX sees typed columns and names rows
by their position, because a key may be missing or occur twice.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from baton.errors import SpecError
from baton.jsontext import to_json
from baton.parsing import Parsed, Violation, adopt, row_shas
from baton.readers import BOOKKEEPING, as_text

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
class Rule:
    """One expectation as it is run: from the contract, or implied by `nullable: false`."""

    type: str
    kwargs: Mapping[str, Any]
    severity: str
    name: str
    advice: str

    @property
    def columns(self) -> list[str]:
        """The columns that the expectation looks at; none for one on the whole table."""
        named = [self.kwargs.get(key) for key in ("column", "column_A", "column_B")]
        return [str(name) for name in named if name] + [str(name) for name in self.kwargs.get("column_list") or ()]

    def __str__(self) -> str:
        arguments = ", ".join(f"{key}={value}" for key, value in self.kwargs.items())
        return f"{self.type}({arguments})"


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


def rules_of(spec: ContractSpec) -> list[Rule]:
    """Return the expectations that are run: those of the contract, then `not_null` for each column that needs it."""
    rules = [
        Rule(given.type, given.kwargs, given.severity, given.meta.rule, given.meta.advice)
        for given in spec.expectations
    ]
    not_null = "expect_column_values_to_not_be_null"
    covered = {rule.kwargs.get("column") for rule in rules if rule.type == not_null}
    rules += [
        Rule(not_null, {"column": name}, "warning", "not_null", f"fill in {name}")
        for name, column in spec.columns.items()
        if not column.nullable and name not in covered
    ]
    return rules


def check(data: Parsed | pd.DataFrame, spec: ContractSpec) -> Verdict:
    """Judge rows by a contract.

    Args:
        data: what `parsing.parse` or `parsing.adopt` returned; a plain typed frame is adopted first.

    Returns:
        the verdict; `status` is broken when a critical expectation fails, a column is missing, GX itself raises, or
        more than `spec.tolerated` of the rows are bad.

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
    found = _Findings(parsed, spec)
    for rule, outcome in failed:
        found.add(rule, outcome)
    failures = [("missing_column", _missing(parsed))] if parsed.missing else found.all_failures()
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
            kind = nullable[column.type] if column.nullable else plain[column.type]
            if str(frame[name].dtype) != kind:
                frame[name] = frame[name].astype(kind)
    return frame


# --- Great Expectations -----------------------------------------------------------------------------------------------


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
        if not _raised(outcome) and (not outcome.success or n in explained)
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
        raise SpecError(f"contract {name}: {_first_line(error)}; see Great Expectations' gallery") from error
    if len(suite.expectations) != len(given):
        raise SpecError(f"contract {name}: Great Expectations took {len(suite.expectations)} of {len(given)} rules")
    validator.result_format = result_format
    return validator.validate_expectation_suite(suite)


def _number(outcome: Any) -> int:
    # GX returns results in an order of its own
    return int(outcome.expectation_config.meta["number"])


def _raised(outcome: Any) -> str | None:
    """The message of an exception inside a GX result, in either of the two shapes that GX writes."""
    info = outcome.exception_info or {}
    for entry in [info, *info.values()]:
        if isinstance(entry, Mapping) or hasattr(entry, "raised_exception"):
            get = entry.get if isinstance(entry, Mapping) else lambda key, source=entry: getattr(source, key, None)
            if get("raised_exception"):
                return _first_line(get("exception_message") or "no message")
    return None


def _first_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300] if lines else type(error).__name__


# --- from results to rows ---------------------------------------------------------------------------------------------


class _Findings:
    """Collects what failed expectations mean: rows for quarantine, failures of the whole, notes."""

    def __init__(self, parsed: Parsed, spec: ContractSpec) -> None:
        self.parsed, self.spec = parsed, spec
        self.violations: list[Violation] = []
        self.info: list[str] = []
        self._failures: list[tuple[str, str]] = []
        self._undefined: list[tuple[str, str]] = []
        self._rows: list[np.ndarray] = []

    def add(self, rule: Rule, outcome: Any) -> None:
        """Take in one failed expectation with its result."""
        import numpy as np

        if message := _raised(outcome):
            self._failures.append((rule.name, f"{rule.name}: Great Expectations raised: {message} [{rule}]"))
            return
        result = outcome.result
        rows = result.get("unexpected_index_list")
        if rows is not None and rule.severity != "info":
            positions = np.asarray(rows, dtype=np.int64)
            self._rows.append(positions)
            self.violations += self._named(rule, positions)
        if rule.severity == "critical":
            undefined = not len(self.parsed.frame) and result.get("observed_value", 0) is None
            (self._undefined if undefined else self._failures).append((rule.name, self._sentence(rule, result)))
        elif rule.severity == "info":
            self.info.append(self._sentence(rule, result))
        elif rows is None:
            self.info.append(f"warning that names no row: {self._sentence(rule, result)}")

    def all_failures(self) -> list[tuple[str, str]]:
        """Why the contract is broken: (rule, sentence), the most telling one first."""
        # a median of no rows says nothing beside the sentence that there are none
        failures = self._failures or self._undefined
        share = self.rows_bad / self.parsed.rows_in if self.parsed.rows_in else 0.0
        if share <= self.spec.tolerated:
            return failures
        violations = [*self.parsed.bad, *self.violations]
        often = Counter(f"{v.rule} {v.column or ''}".strip() for v in violations).most_common(3)
        text = (
            f"too_many_bad_rows: {self.rows_bad:,} of {self.parsed.rows_in:,} rows ({share:.1%}) break rules, tolerated "
            f"are {self.spec.tolerated:.1%} (most often {', '.join(f'{name}: {count:,}' for name, count in often)})"
        )
        return [("too_many_bad_rows", text), *failures]

    def _sentence(self, rule: Rule, result: Mapping[str, Any]) -> str:
        if not len(self.parsed.frame) and self.parsed.rows_in:
            return f"{rule.name}: none of the {self.parsed.rows_in:,} rows converts to the contract's types [{rule}]"
        seen = f"{rule} {_observed(result)}"
        return f"{rule.name}: {rule.advice} [{seen}]" if rule.advice else f"{rule.name}: {seen}"

    def _named(self, rule: Rule, positions: np.ndarray) -> list[Violation]:
        columns = rule.columns
        chosen = self.parsed.frame.iloc[positions]
        shas = chosen["_row_sha"].tolist() if "_row_sha" in chosen else row_shas(chosen)
        keys = map(as_text, chosen[self.spec.key].tolist())
        cells = zip(*(map(as_text, chosen[column].tolist()) for column in columns), strict=True)
        values = (row[0] if len(row) == 1 else ", ".join(cell or "" for cell in row) for row in cells)
        name, where, severity, advice = rule.name, ", ".join(columns), rule.severity, rule.advice
        return [
            Violation(row, sha, key, name, where, value, severity, advice)
            for row, sha, key, value in zip(chosen["_row"].tolist(), shas, keys, values, strict=True)
        ]

    def positions(self) -> np.ndarray:
        """Rows of the typed frame that break a rule, each once."""
        import numpy as np

        return np.unique(np.concatenate(self._rows)) if self._rows else np.array([], dtype=np.int64)

    @property
    def rows_bad(self) -> int:
        """Rows that do not go on, with those that did not convert."""
        return self.parsed.bad_rows + len(self.positions())


def _observed(result: Mapping[str, Any]) -> str:
    if "unexpected_count" in result:
        return f"is broken by {result['unexpected_count']:,} of {result.get('element_count', 0):,} rows"
    return f"observed {result['observed_value']}" if "observed_value" in result else "failed"


def _missing(parsed: Parsed) -> str:
    unknown = f"; columns that arrived and nobody expects: {', '.join(parsed.dropped_columns[:20])}"
    return (
        f"missing_column: {', '.join(parsed.missing[:40])} did not arrive with {parsed.rows_in:,} rows"
        + (unknown if parsed.dropped_columns else "")
        + ". Ask the sender, or rename the columns at the source"
    )


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
