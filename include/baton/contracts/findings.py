"""Findings of a validation, read from its results: rows for quarantine, failures of the whole, notes.

Nothing here imports GX: results are read, not made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from baton.data.cells import MASKED, as_text, keys_of
from baton.data.identity import row_shas
from baton.data.typed import Parsed, Violation
from baton.specs.contract import is_moment, moment

if TYPE_CHECKING:
    import numpy as np

    from baton.specs.contract import ContractSpec


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


def rules_of(spec: ContractSpec, within: tuple[str, str] | None = None) -> list[Rule]:
    """Return the expectations that are run: those of the contract, then `not_null` for each column that needs it.

    Args:
        within: start and end of the rows' partition, which stand for `{start}` and `{end}`; None: the rows are of none, and
            the rules that name them are left out.
    """
    rules = [
        Rule(one.type, _filled(one.kwargs, within), one.severity, one.meta.rule, one.meta.advice)
        for one in spec.expectations
        if within is not None or not one.of_partition
    ]
    not_null = "expect_column_values_to_not_be_null"
    covered = {rule.kwargs.get("column") for rule in rules if rule.type == not_null}
    rules += [
        Rule(not_null, {"column": name}, "warning", "not_null", f"fill in {name}")
        for name, column in spec.columns.items()
        if not column.nullable and name not in covered
    ]
    return rules


def _filled(kwargs: Mapping[str, Any], within: tuple[str, str] | None) -> Mapping[str, Any]:
    if within is None:
        return kwargs
    start, end = map(datetime.fromisoformat, within)
    return {
        name: moment(value, start, end).isoformat() if is_moment(value) else value for name, value in kwargs.items()
    }


class Findings:
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

        if message := raised(outcome):
            message = MASKED if self.spec.personal(rule.columns) else message
            self._failures.append((rule.name, f"{rule.name}: Great Expectations raised: {message} [{rule}]"))
            return
        result = outcome.result
        rows = result.get("unexpected_index_list")
        if rows is not None and rule.severity != "info":
            positions = np.asarray(rows, dtype=np.int64)
            self._rows.append(positions)
            self.violations += self.named(rule, positions)
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
        often = self.counted().most_common(3)
        text = (
            f"too_many_bad_rows: {self.rows_bad:,} of {self.parsed.rows_in:,} rows ({share:.1%}) break rules, tolerated "
            f"are {self.spec.tolerated:.1%} (most often {', '.join(f'{name}: {count:,}' for name, count in often)})"
        )
        return [("too_many_bad_rows", text), *failures]

    def counted(self) -> Counter[str]:
        """How many violations there are of each rule and column, named as messages do."""
        return Counter(named(v.rule, v.column) for v in [*self.parsed.bad, *self.violations])

    def _sentence(self, rule: Rule, result: Mapping[str, Any]) -> str:
        if not len(self.parsed.frame) and self.parsed.rows_in:
            return f"{rule.name}: none of the {self.parsed.rows_in:,} rows converts to the contract's types [{rule}]"
        seen = f"{rule} {_observed(result, hidden=self.spec.personal(rule.columns))}"
        return f"{rule.name}: {rule.advice} [{seen}]" if rule.advice else f"{rule.name}: {seen}"

    def named(self, rule: Rule, positions: np.ndarray) -> list[Violation]:
        """What the rows at these positions of the typed frame break."""
        columns = rule.columns
        chosen = self.parsed.frame.iloc[positions]
        shas = chosen["_row_sha"].tolist() if "_row_sha" in chosen else row_shas(chosen)
        keys = keys_of(chosen, self.spec.key)
        cells = [
            [MASKED] * len(chosen) if self.spec.personal([column]) else list(map(as_text, chosen[column].tolist()))
            for column in columns
        ]
        values = cells[0] if len(cells) == 1 else [", ".join(c[n] or "" for c in cells) for n in range(len(chosen))]
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


def _observed(result: Mapping[str, Any], *, hidden: bool) -> str:
    if "unexpected_count" in result:
        return f"is broken by {result['unexpected_count']:,} of {result.get('element_count', 0):,} rows"
    seen = MASKED if hidden else result.get("observed_value")
    return f"observed {seen}" if "observed_value" in result else "failed"


def named(rule: str, column: str | None) -> str:
    """A rule with its columns, as messages count it."""
    return f"{rule} {column or ''}".strip()


def missing(parsed: Parsed) -> str:
    """Which columns did not arrive, and which arrived instead."""
    unknown = f"; columns that arrived and nobody expects: {', '.join(parsed.dropped_columns[:20])}"
    return (
        f"missing_column: {', '.join(parsed.missing[:40])} did not arrive with {parsed.rows_in:,} rows"
        + (unknown if parsed.dropped_columns else "")
        + ". Ask the sender, or rename the columns at the source"
    )


def raised(outcome: Any) -> str | None:
    """The message of an exception inside a GX result, in either of the two shapes that GX writes."""
    info = outcome.exception_info or {}
    for entry in [info, *info.values()]:
        if isinstance(entry, Mapping) or hasattr(entry, "raised_exception"):
            get = entry.get if isinstance(entry, Mapping) else lambda key, source=entry: getattr(source, key, None)
            if get("raised_exception"):
                return first_line(get("exception_message") or "no message")
    return None


def first_line(error: object) -> str:
    """An error's message as one line of at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300] if lines else type(error).__name__
