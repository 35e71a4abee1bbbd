"""What frames said about the rules on single rows: counts, samples, which rows; also as text, for whoever judges the whole batch.

Where several tasks have a batch between them each leaves such a text (`SoFar.noted`), and the whole takes them in the order of
the rows (`SoFar.take`): it then knows what it would know had it seen every frame itself.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from baton.contracts.engine import plain
from baton.contracts.findings import Rule
from baton.contracts.whole import SHOWN
from baton.data.typed import Parsed

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class Nulls(dict[str, int]):
    """How many cells of a frame's columns are empty, counted when asked for."""

    def __init__(self, frame: pd.DataFrame) -> None:
        super().__init__()
        self._frame, self.rows = frame, len(frame)

    def __missing__(self, column: str) -> int:
        self[column] = int(self._frame[column].isna().sum())
        return self[column]


@dataclass
class Tally:
    """What the frames so far said about one rule on single rows."""

    outcome: Any = None  # of a frame where Great Expectations raised, or of a rule on names
    rows: int = 0
    missing: int = 0
    unexpected: int = 0
    values: list[Any] = field(default_factory=list)
    masks: dict[int, np.ndarray] = field(default_factory=dict)  # by number of the frame, a bit a row

    def add(self, outcome: Any, nulls: Nulls, number: int, rule: Rule) -> None:
        """Take in what Great Expectations said of the frame of this number."""
        import numpy as np

        result = outcome.result
        if "element_count" not in result:  # met by each row, and asked for no more than that
            self.rows += nulls.rows
            self.missing += nulls[rule.columns[0]]
            return
        self.rows += result["element_count"]
        self.missing += result.get("missing_count") or 0
        self.unexpected += result["unexpected_count"]
        self.values += (result.get("partial_unexpected_list") or [])[: SHOWN - len(self.values)]
        positions = np.asarray(result.get("unexpected_index_list") or [], dtype=np.int64)
        if len(positions):
            self.masks[number] = packed(positions, nulls.rows)

    def metrics(self) -> dict[str, Any]:
        """See `engine.concluded`."""
        return {
            "table.row_count": self.rows, "column_values.nonnull.unexpected_count": self.missing,
            "*.filtered_row_count": self.rows - self.missing, "*.unexpected_count": self.unexpected,
            "*.unexpected_values": self.values, "*.unexpected_index_list": [],
        }  # fmt: skip

    def noted(self) -> dict[str, Any]:
        """As JSON; without an outcome, which the whole asks for itself."""
        masks = {number: _text(mask.tobytes()) for number, mask in self.masks.items()}
        return {
            "rows": self.rows, "missing": self.missing, "unexpected": self.unexpected, "masks": masks,
            "values": plain(self.values),
        }  # fmt: skip

    def take(self, said: Mapping[str, Any], before: int) -> None:
        """Add what the next frames said; `before`: how many frames come before these."""
        import numpy as np

        self.rows += said["rows"]
        self.missing += said["missing"]
        self.unexpected += said["unexpected"]
        self.values += said["values"][: SHOWN - len(self.values)]
        for number, mask in said["masks"].items():
            self.masks[before + int(number)] = np.frombuffer(_bytes(mask), dtype=np.uint8)


@dataclass
class SoFar:
    """What is known of the frames so far.

    Attributes:
        tallies: by number of the rule.
        said: violations of the types, counted as messages name them.
        frames, unreadable: rows of each frame that are typed, and how many are not.
        first: names of columns, and one row, where there is any.
        filled: columns of text in which anything stands.
    """

    tallies: dict[int, Tally] = field(default_factory=dict)
    said: Counter[str] = field(default_factory=Counter)
    frames: list[int] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)
    rows_in: int = 0
    first: Parsed | None = None
    filled: set[str] = field(default_factory=set)

    def meet(self, parsed: Parsed) -> None:
        """Keep a row of the first frame that has one."""
        if self.first is None or (len(parsed.frame) and not len(self.first.frame)):
            self.first = replace(parsed, frame=parsed.frame.head(1).copy(), bad=[])

    def noted(self) -> dict[str, Any]:
        """As JSON."""
        assert self.first is not None
        names = {name: getattr(self.first, name) for name in ("rows_in", "dropped_columns", "missing", "absent")}
        return {
            "tallies": {number: tally.noted() for number, tally in self.tallies.items()}, "said": list(self.said.items()),
            "frames": self.frames, "unreadable": self.unreadable, "rows_in": self.rows_in, "filled": sorted(self.filled),
            "first": {**names, "row": _row(self.first.frame)},
        }  # fmt: skip

    def take(self, said: Mapping[str, Any]) -> None:
        """Add what `noted` said of the next frames; the rules must be sorted by then, see `Judging`."""
        for number, tally in self.tallies.items():
            if (more := said["tallies"].get(str(number))) is not None:
                tally.take(more, len(self.frames))
        for name, count in said["said"]:
            self.said[name] += count
        self.frames += said["frames"]
        self.unreadable += said["unreadable"]
        self.rows_in += said["rows_in"]
        self.filled |= set(said["filled"])
        self.meet(first_of(said))


def first_of(said: Mapping[str, Any]) -> Parsed:
    """The first row, with the names of the columns, of what was `noted`."""
    given = dict(said["first"])
    return Parsed(frame=_frame(given.pop("row")), **given)


def read(text: str) -> dict[str, Any]:
    """What was noted, from its text."""
    found: dict[str, Any] = json.loads(text)
    return found


def packed(positions: np.ndarray, rows: int) -> np.ndarray:
    """A bit for each of so many rows, set for those at these positions."""
    import numpy as np

    mask = np.zeros(rows, dtype=bool)
    mask[positions] = True
    return np.packbits(mask)


def _row(frame: pd.DataFrame) -> str:
    import pyarrow as pa

    table, sink = pa.Table.from_pandas(frame, preserve_index=False), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return _text(sink.getvalue().to_pybytes())


def _frame(text: str) -> pd.DataFrame:
    import pyarrow as pa

    found: pd.DataFrame = pa.ipc.open_stream(_bytes(text)).read_pandas()
    return found


def _text(raw: bytes) -> str:
    return base64.b85encode(zlib.compress(raw)).decode()


def _bytes(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))
