"""Which column of some rows plays which part in a model, as far as the rows tell; where they do not, what to give."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from baton.authoring.column_types import in_ranges
from baton.data.typed import day_first
from baton.errors import SpecError
from baton.specs.contract import expand_range

ColumnKinds = Mapping[str, tuple[str, bool]]  # type and whether empty cells occur, see `column_types`
IDENTIFIER = re.compile(r"(?i)(^|_)(id|uuid|guid|key)$")
_WIDE = 8  # from so many features on, neighbours are written as a glob
WORDS = 2.5  # a column whose cells have more words on average is a text
# pandas' frequency, its season in periods, a horizon
_PERIODS = {"h": (24, 24), "D": (7, 14), "W": (52, 8), "MS": (12, 6), "QS": (4, 4)}
_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


def entity(frame: pd.DataFrame, columns: ColumnKinds, never: Sequence[str | None] = ()) -> str:
    """The column with a value of its own in each row. Raises SpecError: there is none, or several and none is an `id`."""
    fitting = [c for c in columns if c not in never and _may_be_key(columns[c]) and frame[c].is_unique]
    fitting = [c for c in fitting if columns[c][0] == "int" or words(frame[c]) <= WORDS]
    named = [c for c in fitting if IDENTIFIER.search(c)]
    return _one(named if len(named) == 1 else fitting, "which column identifies a row? Give --entity", list(columns))


def series(frame: pd.DataFrame, columns: ColumnKinds, time: str, never: Sequence[str | None]) -> str:
    """The column that says which series a row belongs to: with the time it is a row's own. Raises SpecError: not to be told."""
    fitting = [c for c in columns if c not in (time, *never) and _may_be_key(columns[c])]
    fitting = [c for c in fitting if not frame[c].is_unique and not frame.duplicated([c, time]).any()]
    named = [c for c in fitting if columns[c][0] == "str" or IDENTIFIER.search(c)]
    return _one(named or fitting, "which column names a series? Give --entity", list(columns))


def time(frame: pd.DataFrame, columns: ColumnKinds) -> str:
    """The one column of type timestamp. Raises SpecError: there is none, or several."""
    fitting = [c for c, (kind, _) in columns.items() if kind == "timestamp"]
    if len(fitting) != 1:
        advice = {
            c: day_first(str(frame[c].iloc[0])) for c, (kind, _) in columns.items() if kind == "str" and len(frame)
        }
        hint = "".join(f"; {c}: {said}" for c, said in advice.items() if said and not fitting)
        found = ", ".join(fitting) or "none"
        raise SpecError(f"give --time: {len(fitting)} columns are of type timestamp ({found}){hint}")
    return fitting[0]


def features(frame: pd.DataFrame, columns: ColumnKinds, never: Sequence[str | None]) -> tuple[list[str], list[str]]:
    """Numeric columns that a model may learn from, neighbours as a glob; those left out because they only name something."""
    numeric = [c for c, (kind, _) in columns.items() if kind in ("int", "float", "bool") and c not in never]
    names = [c for c in numeric if IDENTIFIER.search(c) or _counts(frame[c], columns[c])]
    return _in_globs([c for c in numeric if c not in names], columns), names


def texts(frame: pd.DataFrame, columns: ColumnKinds, never: Sequence[str | None]) -> list[str]:
    """Columns whose cells are texts of several words. Raises SpecError: there is none."""
    written = [c for c, (kind, _) in columns.items() if kind == "str" and c not in never]
    found = [c for c in written if words(frame[c]) > WORDS]
    if not found:
        raise SpecError(f"which columns hold the text? Give --text; candidates: {', '.join(written) or 'none'}")
    return found


@dataclass(frozen=True)
class Periods:
    """How the periods of some series lie.

    Attributes:
        frequency: length of a period as pandas calls it.
        season: in periods; 1: two were not seen yet.
        horizon: a sensible number of periods to forecast.
        origins: of a backtest, so many that a gate has 20 pairs of series and origin, where the series are long enough.
    """

    frequency: str
    season: int
    horizon: int
    origins: int


def periods(frame: pd.DataFrame, entity: str, time: str) -> Periods:
    """Look at the times of each series.

    Raises:
        SpecError: the times of a series are neither hours, days, weeks, months nor quarters apart.
    """
    times = pd.to_datetime(frame[time], utc=True, format="ISO8601")
    ordered = pd.DataFrame({"entity": frame[entity], "time": times}).sort_values(["entity", "time"])
    days = ordered.groupby("entity")["time"].diff().dt.total_seconds().median() / 86_400
    bounds = {"h": (0.04, 0.05), "D": (0.9, 1.1), "W": (6.5, 7.5), "MS": (27, 32), "QS": (88, 93)}
    found = next((name for name, (low, high) in bounds.items() if low <= days <= high), None)
    if found is None:
        raise SpecError(
            f"the periods of a series are {days:g} days apart; hours, days, weeks, months, quarters are known"
        )
    season, horizon = _PERIODS[found]
    lengths = ordered.groupby("entity").size()
    longest = int(lengths.max())
    season = season if longest >= 2 * season + horizon else 1
    horizon = max(1, min(horizon, longest // 8))
    origins = max(4, min(-(-20 // len(lengths)), longest // 4))
    named = f"W-{_WEEKDAYS[times.iloc[0].weekday()]}" if found == "W" else found
    return Periods(named, season, horizon, origins)


def positives(cells: pd.Series) -> int:
    """How many rows bear the label 1 (or true)."""
    return int(cells.astype(str).str.strip().str.lower().isin(["1", "1.0", "true"]).sum())


def may_be_negative(cells: pd.Series) -> bool:
    """Whether a quantity was below zero."""
    return bool(pd.to_numeric(cells, errors="coerce").min() < 0)


def words(cells: pd.Series) -> float:
    """Words of a cell on average."""
    return float(cells.dropna().astype(str).str.split().str.len().mean())


def _may_be_key(column: tuple[str, bool]) -> bool:
    kind, gaps = column
    return kind in ("int", "str") and not gaps


def _counts(cells: pd.Series, column: tuple[str, bool]) -> bool:
    """Whether a column numbers the rows."""
    return column == ("int", False) and bool(pd.to_numeric(cells).diff().iloc[1:].eq(1).all()) and len(cells) > 1


def _one(fitting: Sequence[str], question: str, columns: Sequence[str]) -> str:
    if len(fitting) != 1:
        raise SpecError(f"{question}; candidates: {', '.join(fitting or columns)}")
    return fitting[0]


def _in_globs(features: Sequence[str], columns: ColumnKinds) -> list[str]:
    """Writes v1 .. v28 as `v*` where that takes exactly the same columns."""
    if len(features) < _WIDE:
        return list(features)
    short: list[str] = []
    for name in in_ranges(dict.fromkeys(features, ("", False))):
        covered, head = expand_range(name), name.partition("{")[0]
        exact = len(covered) > 1 and covered == [column for column in columns if column.startswith(head)]
        short += [f"{head}*"] if exact else covered
    return short
