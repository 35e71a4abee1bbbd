"""Records of a batch in parts, made while its rows are written: on a disk until the commit takes them, of bounded number."""

from __future__ import annotations

import json
import tempfile
import weakref
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from baton.jsontext import to_json
from baton.quarantine.records import RowRecords, of_rows

if TYPE_CHECKING:
    import pandas as pd

    from baton.contracts.check import ContractVerdict
    from baton.data.typed import Violation

HELD = 1_000_000
"""Rows that a partition may have in quarantine one by one; a batch with more bad ones is broken."""
AT_ONCE = 10_000  # rows whose records are held
EXAMPLES = 10_000
"""Rows on record of a broken batch that has more than `HELD`: no repair of single rows can mend it."""


def bounded(verdict: ContractVerdict, judged: int) -> tuple[ContractVerdict, int]:
    """The verdict as far as quarantine can hold it, and how many rows may then have records; 0: only examples.

    Args:
        judged: rows, those left out that people discarded.
    """
    if verdict.status == "broken":
        return verdict, HELD if judged <= HELD else 0
    if verdict.rows_bad <= HELD:
        return verdict, HELD
    text = f"too_many_bad_rows: {verdict.rows_bad:,} rows break rules, and people can repair {HELD:,} one by one"
    failures = [text, *verdict.aggregate_failures]
    return replace(
        verdict, status="broken", rows_good=0, aggregate_failures=failures, broken_by=["too_many_bad_rows"]
    ), 0


class Spool:
    """Records in the order in which they were added; a file without a name, so that it is gone however the process ends."""

    def __init__(self, rows: int) -> None:
        """`rows`: how many may have records; those of further ones are left out."""
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8", prefix="baton-quarantine-")  # noqa: SIM115 - till the commit
        weakref.finalize(self, self._file.close)
        self._most, self.rows = rows, 0

    def add(
        self, verdict: ContractVerdict, violations: Sequence[Violation], frame: pd.DataFrame, *, whole: bool
    ) -> None:
        """Make the records of a frame's rows, some at a time: see `of_rows`.

        Args:
            violations: in the order of rows, as the frame is.
            whole: each row of a broken contract; else only those that break a rule themselves, if any row does.
        """
        numbers, places = frame["_row"].to_numpy(), [one.row for one in violations]
        every = verdict.status == "broken" and (whole or not verdict.rows_bad)
        start = done = 0
        while start < len(frame) and not self.full and (every or done < len(violations)):
            end = int(numbers.searchsorted(numbers[min(start + AT_ONCE, len(frame)) - 1], side="right"))
            some, rows = violations[done : bisect_right(places, numbers[end - 1])], frame.iloc[start:end]
            start, done = end, done + len(some)
            if not every:
                rows = rows[rows["_row_sha"].isin({one.row_sha for one in some})]
            if len(rows):
                self._add(of_rows(verdict, some, rows))

    def _add(self, records: RowRecords) -> None:
        rows = list(dict.fromkeys(key[:2] for key in records))[: self._most - self.rows]
        self.rows += len(rows)
        taken = set(rows)
        self._file.write(to_json([[*key, *said] for key, said in records.items() if key[:2] in taken]) + "\n")

    @property
    def full(self) -> bool:
        """Whether no further row would be taken."""
        return self.rows >= self._most

    def __iter__(self) -> Iterator[RowRecords]:
        """What was added, a chunk at a time."""
        self._file.seek(0)
        for line in self._file:
            yield {(sha, row, rule): (details, cells) for sha, row, rule, details, cells in json.loads(line)}
