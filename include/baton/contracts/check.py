"""Contracts: Great Expectations judges a hand-over of rows, and names the rows that break a rule.

This module and `baton.contracts.page` alone import great_expectations, and only inside functions: it costs
seconds. Two passes over one batch: all expectations with the result format BOOLEAN_ONLY, then COMPLETE for those
that failed. The verdict and the rows are GX's own; nothing here re-implements an expectation. GX sees typed
columns and names rows by their position, because a key may be missing or occur twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from baton.contracts.engine import slim, validate
from baton.contracts.findings import Findings, Rule, missing, rules_of
from baton.data.typed import Parsed, Violation, adopt

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from baton.specs.contract import ContractSpec

Status = Literal["passed", "quarantined", "broken"]


@dataclass(frozen=True)
class ContractVerdict:
    """What a contract says about one partition's rows.

    Attributes:
        status: passed; quarantined (some rows are, the rest goes on); broken (nothing goes on).
        rows_in: rows judged, converted or not.
        rows_good: rows that go on, 0 when broken.
        rows_bad: rows that break a rule, also of a broken contract.
        violations: rules that single rows break, in the order of rows; of a batch in parts those of the first rows.
        info: what is recorded and stops nothing: severity info, warnings that name no row, columns that no row has.
        aggregate_failures: why the contract is broken, a sentence each with its advice.
        broken_by: names of the rules behind `aggregate_failures`.
        gx_result: GX's validation result as JSON, without its lists of all rows; personal values masked.
        bad_positions: rows of `Parsed.frame` that do not go on; empty of a batch in parts (`Judging.good`).
    """

    spec: ContractSpec
    status: Status
    rows_in: int
    rows_good: int
    rows_bad: int
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


def check(data: Parsed | pd.DataFrame, spec: ContractSpec, within: tuple[str, str] | None = None) -> ContractVerdict:
    """Judge rows by a contract.

    Args:
        data: what `typed.parse` or `typed.adopt` returned; a plain typed frame is adopted first.
        within: start and end of the rows' partition as ISO 8601, what `{start}` and `{end}` stand for; None: the rows are of
            none, and a rule that names them is not judged, which `info` says.

    Returns:
        the verdict; `status` is broken when a critical expectation fails, a column is missing, GX itself
        raises, or more than `spec.tolerated` of the rows are bad.

    Raises:
        SpecError: GX does not know an expectation of the contract, or not these arguments.
    """
    started = time.perf_counter()
    parsed = data if isinstance(data, Parsed) else adopt(data, spec)
    result, failed = validate(parsed.frame, spec, rules_for(parsed, spec, within))
    found = Findings(parsed, spec)
    for rule, outcome in failed:
        found.add(rule, outcome)
    return verdict_of(found, result, within, started)


def rules_for(parsed: Parsed, spec: ContractSpec, within: tuple[str, str] | None) -> list[Rule]:
    """What GX is asked about these rows: of rows without all columns only which there are, all else would raise."""
    if parsed.missing:
        return [Rule("expect_column_to_exist", {"column": c}, "critical", "missing_column", "") for c in spec.columns]
    return rules_of(spec, within)


def verdict_of(found: Findings, result: Any, within: tuple[str, str] | None, started: float) -> ContractVerdict:
    """The verdict that findings and GX's result come to; `started`: by `time.perf_counter`."""
    parsed, spec = found.parsed, found.spec
    empty = [f"{name}: no row has this column, its cells are empty" for name in parsed.absent]
    unjudged = [one.meta.rule for one in spec.expectations if one.of_partition and within is None]
    failures = [("missing_column", missing(parsed))] if parsed.missing else found.all_failures()
    status: Status = "broken" if failures else "quarantined" if found.rows_bad else "passed"
    return ContractVerdict(
        spec=spec,
        status=status,
        rows_in=parsed.rows_in,
        rows_good=0 if failures else parsed.rows_in - found.rows_bad,
        rows_bad=found.rows_bad,
        violations=sorted([*parsed.bad, *found.violations], key=lambda violation: violation.row),
        info=[*empty, *found.info, *(f"{name}: not judged, the rows are of no partition" for name in unjudged)],
        aggregate_failures=[message for _, message in failures],
        broken_by=list(dict.fromkeys(name for name, _ in failures)),
        dropped_columns=parsed.dropped_columns,
        gx_result=slim(result, spec),
        seconds=time.perf_counter() - started,
        bad_positions=found.positions(),
    )


def good_rows(parsed: Parsed, verdict: ContractVerdict) -> pd.DataFrame:
    """Return the typed rows that go on, index 0..n-1: none when the contract is broken; see `kept`."""
    import numpy as np

    keep = np.zeros(len(parsed.frame), dtype=bool)
    if verdict.status != "broken":
        keep[:] = True
        keep[verdict.bad_positions] = False
    return kept(parsed, verdict.spec, keep)


def kept(parsed: Parsed, spec: ContractSpec, keep: np.ndarray) -> pd.DataFrame:
    """The typed rows that `keep` says, index 0..n-1.

    A column that may not be empty has its plain type (int64, bool) again, now that empty cells are gone.
    """
    import numpy as np
    import pandas as pd

    frame = parsed.frame.copy(deep=False)
    if not keep.all():
        frame = parsed.frame.take(np.flatnonzero(keep))
        frame.index = pd.RangeIndex(len(frame))
    plain = {"int": "int64", "bool": "bool"}
    nullable = {"int": "Int64", "bool": "boolean"}
    for name, column in spec.columns.items():
        if name in frame and column.type in plain:
            kind: Any = nullable[column.type] if column.nullable else plain[column.type]
            if str(frame[name].dtype) != kind:
                frame[name] = frame[name].astype(kind)
    return frame
