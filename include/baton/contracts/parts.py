"""A batch in parts under a contract: each frame is judged by Great Expectations, then the whole by what no frame can know.

A rule on single rows is asked of every frame, and what it found is added up; that no cell is empty only of a frame with an empty
one. A rule on the batch (how many rows, which of them share a key, what a column comes to) is decided by Great Expectations over
numbers that were merged exactly (`whole`). A rule that is neither is refused. The verdict is that of the same rows in one frame; a
mean or a sum may differ from it in its last digit.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from baton.contracts import engine
from baton.contracts.check import ContractVerdict, kept, rules_for, verdict_of
from baton.contracts.findings import Findings, Rule, named
from baton.contracts.tally import Nulls, SoFar, Tally, first_of, read
from baton.contracts.whole import SHARED, KeptColumns, merges
from baton.data.typed import Parsed, Violation
from baton.errors import BatonError, SpecError
from baton.specs.contract import ContractSpec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa


_OF_ROWS = {f"expect_column_values_to_{what}" for what in (
    "be_between", "be_in_set", "not_be_in_set", "be_null", "not_be_null", "match_regex", "not_match_regex", "match_regex_list",
    "not_match_regex_list", "be_dateutil_parseable", "match_strftime_format", "be_json_parseable", "match_json_schema",
)}  # fmt: skip
_OF_ROWS |= {f"expect_column_value_lengths_to_{what}" for what in ("be_between", "equal")}
_OF_ROWS |= {f"expect_column_pair_values_{what}" for what in ("to_be_equal", "to_be_in_set", "a_to_be_greater_than_b")}
_OF_ROWS |= {"expect_multicolumn_sum_to_equal", "expect_multicolumn_values_to_be_equal"}
_OF_ROWS |= {"expect_select_column_values_to_be_unique_within_record"}
_NOT_NULL = "expect_column_values_to_not_be_null"
_OF_NAMES = {
    "expect_column_to_exist",
    "expect_table_columns_to_match_set",
    "expect_table_columns_to_match_ordered_list",
}
_OF_NAMES |= {f"expect_table_column_count_to_{what}" for what in ("be_between", "equal")}


def of_rows(rule: Rule) -> bool:
    """Whether some rows of a batch can be judged by a rule whatever the others are: it is on single rows, and on each of them."""
    return rule.type in (_OF_ROWS | _OF_NAMES) and "mostly" not in rule.kwargs


class _Whole(Findings):
    """Findings of a batch whose rows are named frame by frame."""

    rows_bad = 0

    def __init__(self, parsed: Parsed, spec: ContractSpec, tally: Counter[str]) -> None:
        super().__init__(parsed, spec)
        self.tally = tally

    def counted(self) -> Counter[str]:
        return self.tally


class Judging:
    """Judges a batch in parts: `add` each frame, `verdict`, then `good` and `violations` of the same frames again.

    A context: what it keeps on a disk is removed at its end.
    """

    def __init__(
        self, spec: ContractSpec, within: tuple[str, str] | None = None, only: Literal["rows", "whole"] | None = None
    ) -> None:
        """As `check`.

        Args:
            only: the rules that `of_rows`, of rows that are some of a batch; or all others, of the batch; None: all rules.
        """
        self.spec, self._within, self._only, self._started = spec, within, only, time.perf_counter()
        self._rules: list[Rule] | None = None
        self._columns: KeptColumns | None = None  # None: nothing was added, or no rule is on the whole
        self._seen = SoFar()
        self._failed: list[tuple[Rule, dict[int, np.ndarray]]] = []

    def __enter__(self) -> Judging:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what is on the disk."""
        if self._columns is not None:
            self._columns.__exit__()

    def add(self, parsed: Parsed) -> bool:
        """Judge the rows of the next frame, and say whether none breaks a rule by itself.

        Raises:
            SpecError: the contract has a rule that cannot be judged in parts; else as `check`.
        """
        if self._rules is None:
            self._begin(parsed)
        rules, frame, number = self._rules or [], parsed.frame, len(self._seen.frames)
        self._seen.rows_in += parsed.rows_in
        self._seen.said.update(named(v.rule, v.column) for v in parsed.bad)
        self._seen.frames.append(len(frame))
        self._seen.unreadable.append(parsed.bad_rows)
        self._seen.meet(parsed)
        nulls = Nulls(frame)
        if self._columns is not None:
            self._columns.add(frame, nulls)
        texts = [name for name, one in self.spec.columns.items() if one.type == "str" and name not in self._seen.filled]
        self._seen.filled |= {name for name in texts if name in frame and frame[name].notna().any()}
        asked = []
        for n, tally in self._seen.tallies.items():
            if _filled(rules[n], self.spec, nulls):
                tally.rows += nulls.rows
            elif rules[n].type in _OF_ROWS:
                asked.append((n, rules[n]))
        # a share that is tolerated is one of the whole: each frame says which rows do not meet the rule, all of them
        strict = [(n, replace(r, kwargs={k: v for k, v in r.kwargs.items() if k != "mostly"})) for n, r in asked]
        counted = {n for n, rule in asked if len(rule.columns) != 1 or {"mostly", "row_condition"} & set(rule.kwargs)}
        for n, outcome in engine.judged(frame, self.spec, strict, lambda n, _: n in counted).items() if asked else ():
            if engine.raised(outcome):
                self._seen.tallies[n].outcome = self._seen.tallies[n].outcome or outcome
            else:
                self._seen.tallies[n].add(outcome, nulls, number, rules[n])
        return not parsed.bad and not any(number in tally.masks for tally in self._seen.tallies.values())

    def _begin(self, parsed: Parsed) -> None:
        """Sort the rules by what can judge them; those on names are judged by the first frame's."""
        self._rules = rules_for(parsed, self.spec, self._within)
        numbered = list(enumerate(self._rules))
        unknown = [r for _, r in numbered if not (r.type in _OF_ROWS or r.type in _OF_NAMES or merges(r, self.spec))]
        if unknown:
            listed = "; ".join(f"rule {rule.name} ({rule.type})" for rule in unknown)
            raise SpecError(f"contract {self.spec.contract} v{self.spec.version}: {listed}: {engine.IN_PARTS}")
        numbered = [(n, r) for n, r in numbered if self._only is None or of_rows(r) == (self._only == "rows")]
        self._rules = [r for _, r in numbered]
        numbered = list(enumerate(self._rules))
        self._seen.tallies = {n: Tally() for n, rule in numbered if rule.type in _OF_ROWS or rule.type in _OF_NAMES}
        names = [(n, rule) for n, rule in numbered if rule.type in _OF_NAMES]
        for n, outcome in engine.judged(parsed.frame, self.spec, names, lambda n, _: True).items() if names else ():
            self._seen.tallies[n].outcome = outcome
        if whole := [rule for n, rule in numbered if n not in self._seen.tallies]:
            self._columns = KeptColumns(whole, self.spec)

    def noted(self) -> str | None:
        """What is known of the frames, for `take`; None where Great Expectations raised, which is for the whole to tell."""
        outcomes = [tally.outcome for tally in self._seen.tallies.values()]
        if any(outcome is not None and engine.raised(outcome) for outcome in outcomes):
            return None
        columns = self._columns.noted() if self._columns is not None else None
        return json.dumps({**self._seen.noted(), "columns": columns})

    def kept(self) -> Iterator[pa.Table]:
        """The columns that `take` needs beside what was `noted`, the rows as they were added; nothing where it needs none."""
        return self._columns.stored() if self._columns is not None else iter(())

    def take(self, text: str, kept: Iterable[pa.Table]) -> None:
        """Take the next frames as another one judged them, by the same contract; instead of `add`.

        Args:
            text, kept: its `noted` and `kept`.
        """
        said = read(text)
        if self._rules is None:
            self._begin(first_of(said))
        self._seen.take(said)
        if self._columns is not None:
            self._columns.take(said["columns"], kept)

    def apart(self) -> None:
        """Instead of a verdict, of rows that are some of a batch: bad is what breaks a rule whatever the other rows are."""
        self._failed = [(rule, masks) for rule, masks in self._by_rows() if masks]

    def as_apart(self, number: int) -> bool:
        """Whether the bad rows of a frame are those that `apart` names, and none for what the whole comes to."""
        import numpy as np

        return bool(
            np.array_equal(self._bad(number), _any([masks for _, masks in self._by_rows()], number, self._seen.frames))
        )

    def _by_rows(self) -> Iterator[tuple[Rule, dict[int, np.ndarray]]]:
        for number, rule in enumerate(self._rules or []):
            if of_rows(rule) and rule.severity != "info":
                yield rule, self._seen.tallies[number].masks

    def verdict(self) -> ContractVerdict:
        """What the contract says of all rows; no violation of a single row is in it.

        Raises:
            BatonError: no frame was added.
        """
        found = _Whole(
            replace(self.all, rows_in=self._seen.rows_in, bad_rows=sum(self._seen.unreadable)),
            self.spec,
            Counter(self._seen.said),
        )
        rules = self._rules or []
        outcomes = [self._outcome(number, rule) for number, rule in enumerate(rules)]
        for number, (rule, outcome) in enumerate(zip(rules, outcomes, strict=True)):
            if outcome.success:
                continue
            found.add(rule, outcome)
            masks = self._masks(number, rule) if rule.severity != "info" and not engine.raised(outcome) else {}
            if masks:
                self._failed.append((rule, masks))
                found.tally[named(rule.name, ", ".join(rule.columns))] += sum(map(_ones, masks.values()))
        found.rows_bad = sum(self._seen.unreadable) + sum(
            int(self._bad(number).sum()) for number in range(len(self._seen.frames))
        )
        return verdict_of(found, engine.result_of(self.spec, outcomes), self._within, self._started)

    def _outcome(self, number: int, rule: Rule) -> Any:
        tally = self._seen.tallies.get(number)
        if tally is None:
            assert self._columns is not None
            return engine.concluded(self.spec, number, rule, self._columns.metrics(rule))
        if tally.outcome is not None:
            return tally.outcome
        return engine.concluded(self.spec, number, rule, tally.metrics())

    def _masks(self, number: int, rule: Rule) -> dict[int, np.ndarray]:
        import numpy as np

        if number in self._seen.tallies:
            return self._seen.tallies[number].masks
        if rule.type not in SHARED or self._columns is None:
            return {}
        shared, start, found = self._columns.shared(rule), 0, {}
        for frame, rows in enumerate(self._seen.frames):
            if shared[start : start + rows].any():
                found[frame] = np.packbits(shared[start : start + rows])
            start += rows
        return found

    def _bad(self, number: int) -> np.ndarray:
        return _any([masks for _, masks in self._failed], number, self._seen.frames)

    def goes_on(self, number: int) -> int:
        """How many rows of a frame go on, of a contract that is not broken."""
        return self._seen.frames[number] - int(self._bad(number).sum())

    def spotless(self, number: int) -> bool:
        """Whether all rows of a frame go on."""
        return not self._seen.unreadable[number] and self.goes_on(number) == self._seen.frames[number]

    @property
    def filled(self) -> set[str]:
        """Columns of text in which anything stands."""
        return self._seen.filled

    @property
    def all(self) -> Parsed:
        """Names of columns, as every frame has them, and one row, where there is any.

        Raises:
            BatonError: no frame was added.
        """
        if self._seen.first is None:
            raise BatonError(f"contract {self.spec.contract}: a batch without a frame cannot be judged")
        return self._seen.first

    def nothing(self) -> pd.DataFrame:
        """No rows, typed as those that go on; see `kept`."""
        import numpy as np

        return kept(self.all, self.spec, np.zeros(len(self.all.frame), dtype=bool))

    def good(self, number: int, parsed: Parsed) -> pa.Table:
        """The rows of a frame that go on, if any do; a column of text that is empty here and not in others is one of text."""
        import pyarrow as pa

        table = pa.Table.from_pandas(kept(parsed, self.spec, ~self._bad(number)), preserve_index=False)
        schema = table.schema
        for place, one in enumerate(schema):
            if one.name in self._seen.filled and pa.types.is_null(one.type):
                schema = schema.set(place, one.with_type(pa.string()))
        return table.cast(schema)

    def violations(self, number: int, parsed: Parsed) -> list[Violation]:
        """What rows of a frame break, in the order of rows."""
        import numpy as np

        found, rows = Findings(parsed, self.spec), self._seen.frames[number]
        for rule, masks in self._failed:
            if number in masks:
                found.violations += found.named(rule, np.flatnonzero(np.unpackbits(masks[number], count=rows)))
        return sorted([*parsed.bad, *found.violations], key=lambda violation: violation.row)


def _filled(rule: Rule, spec: ContractSpec, nulls: Nulls) -> bool:
    """Whether a rule asks that no cell is empty, and in this frame none is: then its count is known, which the whole is judged by.

    Of no rule that Great Expectations might refuse: it has the word on columns that a contract does not name, and on arguments.
    """
    plain = rule.type == _NOT_NULL and set(rule.kwargs) <= {"column", "mostly"}
    column = rule.kwargs.get("column")
    return plain and column in spec.columns and not nulls[column]


def _any(masks: Iterable[dict[int, np.ndarray]], number: int, frames: Sequence[int]) -> np.ndarray:
    """Which rows of a frame any of the masks names (n rows, bool)."""
    import numpy as np

    bad = np.zeros(frames[number], dtype=bool)
    for one in masks:
        if number in one:
            bad |= np.unpackbits(one[number], count=frames[number]).astype(bool)
    return bad


def _ones(mask: np.ndarray) -> int:
    import numpy as np

    return int(np.unpackbits(mask).sum())
