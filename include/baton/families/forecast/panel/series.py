"""The panel, made of rows: every series a row of one matrix, checked against the calendar the spec promises."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from baton.errors import ModelError
from baton.families.forecast.panel.gaps import fill
from baton.families.forecast.panel.periods import label, plain_times, to_period, to_time
from baton.families.forecast.panel.setting import Setting


@dataclass(frozen=True)
class Panel:
    """S series over T periods that end together; a series may begin later or stop earlier.

    Attributes:
        ids: shape (S,), names of the series, sorted.
        first: number of the first period (column 0).
        y: shape (S, T), the target; NaN before a series begins and after it stops, nowhere else.
        start, stop: shape (S,), first column of a series and the one after its last; equal without any period.
        known: shape (S, T + ahead, k), regressors known in advance; k may be 0.
        attributes: S rows; last known value per series of the hierarchy's and other asked-for columns.
        bridged: shape (S,), how many missing periods were filled in.
    """

    ids: np.ndarray
    first: int
    y: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    known: np.ndarray
    attributes: pd.DataFrame
    bridged: np.ndarray

    @property
    def periods(self) -> int:
        """T."""
        return int(self.y.shape[1])

    @property
    def lengths(self) -> np.ndarray:
        """Periods of each series, shape (S,)."""
        return self.stop - self.start

    def until(self, column: int) -> Self:
        """What was known before the period of `column`; regressors known in advance stay."""
        y = self.y[:, :column]
        start = np.minimum(self.start, column)
        return replace(self, y=y, start=start, stop=np.clip(self.stop, start, column))

    def take(self, rows: np.ndarray) -> "Panel":
        """Some of the series; `rows` is a mask or positions of shape (s,)."""
        return Panel(
            self.ids[rows], self.first, self.y[rows], self.start[rows], self.stop[rows], self.known[rows],
            self.attributes.iloc[np.flatnonzero(rows) if rows.dtype == bool else rows].reset_index(drop=True),
            self.bridged[rows],
        )  # fmt: skip

    def values(self, row: int) -> np.ndarray:
        """The observed values of one series, shape (its periods,)."""
        return self.y[row, self.start[row] : self.stop[row]]

    def times(self, columns: np.ndarray, frequency: str) -> np.ndarray:
        """Starts of the periods of `columns`, datetime64[ns]."""
        return to_time(self.first + columns, frequency)


def prepare(setting: Setting, frame: pd.DataFrame, extra: Sequence[str] = ()) -> Panel:
    """Check a history frame and lay it out as a panel.

    Args:
        frame: rows as the module `baton.specs.forecast` says; a row without target after a series' last observed
            period belongs to the future.
        extra: further columns whose last value per series is kept in `attributes`.

    Raises:
        ModelError: a column is missing; a time off the calendar; a period twice, left out or without target; a
            negative target where the floor is 0 or more; a regressor or hierarchy column that is null or changes.
    """
    _columns(setting, frame, extra)
    if not len(frame):
        raise ModelError(f"model {setting.model}: the history has no rows; nothing can be forecast from nothing")
    frame, filled = fill(setting, frame)
    rows, ids = _sorted(setting, frame, extra)
    code = rows["_code"].to_numpy()
    past = rows[rows["_past"]]
    if not len(past):
        raise ModelError(
            f"model {setting.model}: no row has a {setting.target!r}; at least one observed period is needed"
        )
    tell = _Where(setting, ids)
    _gaps(setting, rows, tell)
    _floor(setting, past, tell)
    first, end = int(past["_period"].min()), int(past["_period"].max()) + 1
    column = rows["_period"].to_numpy() - first
    is_past = rows["_past"].to_numpy()
    y = np.full((len(ids), end - first), np.nan)
    y[code[is_past], column[is_past]] = past[setting.target].to_numpy(dtype=float)
    start, stop = np.full(len(ids), end - first), np.full(len(ids), -1)
    np.minimum.at(start, code[is_past], column[is_past])
    np.maximum.at(stop, code[is_past], column[is_past])
    stop = np.maximum(stop + 1, start)
    known = _known(setting, rows, column, (len(ids), end - first), tell)
    bridged = np.array([filled.get(str(name), 0) for name in ids])
    return Panel(ids, first, y, start, stop, known, _attributes(setting, rows, extra, tell), bridged)


def need_future(setting: Setting, panel: Panel) -> None:
    """Check that the regressors known in advance are there for the whole horizon.

    Raises:
        ModelError: naming the first series, period and column without a value.
    """
    if not setting.known:
        return
    lacking = panel.known.shape[1] - panel.periods
    ahead = np.full((len(panel.ids), setting.horizon, len(setting.known)), np.nan)
    there = panel.known[:, panel.periods : panel.periods + setting.horizon]
    ahead[:, : there.shape[1]] = there
    stopped = panel.stop < panel.periods  # they are dead: zero needs no regressor
    ahead[stopped & (panel.stop > panel.start)] = 0.0
    missing = np.argwhere(np.isnan(ahead))
    if len(missing):
        row, step, which = missing[0]
        when = label(panel.times(np.array([panel.periods + step]), setting.frequency)[0], setting.frequency)
        raise ModelError(
            f"series {panel.ids[row]!r}, period {when}: {setting.known[which]!r} is known in advance, but has no value; "
            f"add a row of the future (without {setting.target!r}) for each of the {setting.horizon} periods ahead "
            f"({lacking} are there) with all of: {', '.join(setting.known)}"
        )


def _columns(setting: Setting, frame: pd.DataFrame, extra: Sequence[str]) -> None:
    wanted = [setting.entity, setting.time, setting.target, *setting.known, *setting.hierarchy, *extra]
    if missing := [name for name in dict.fromkeys(wanted) if name not in frame.columns]:
        raise ModelError(
            f"model {setting.model}: the history lacks the column {missing[0]!r}; "
            f"it has {', '.join(map(str, frame.columns))}"
        )
    for name in (setting.entity, setting.time):
        if frame[name].isna().any():
            at = int(np.flatnonzero(frame[name].isna().to_numpy())[0])
            raise ModelError(f"model {setting.model}: row {at} of the history has no {name!r}; every row needs one")


@dataclass(frozen=True)
class _Where:
    """Names the first bad row for an error."""

    setting: Setting
    ids: np.ndarray

    def __call__(self, rows: pd.DataFrame, at: np.ndarray) -> str:
        """Series and period of the first row of the mask `at`."""
        row = int(np.flatnonzero(at)[0])
        time = to_time(rows["_period"].to_numpy()[row : row + 1], self.setting.frequency)[0]
        return f"series {self.ids[rows['_code'].to_numpy()[row]]!r}, period {label(time, self.setting.frequency)}"


def _sorted(setting: Setting, frame: pd.DataFrame, extra: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows by series and period with `_code`, `_period`, `_past`, and the series' names by code.

    The calendar and duplicates are checked on the way.
    """
    raw, values = pd.factorize(frame[setting.entity])
    ids, place = np.unique(np.array([str(value) for value in values], dtype=object), return_inverse=True)
    code = place[raw]
    number, exact = to_period(plain_times(frame[setting.time]), setting.frequency)
    if not exact.all():
        at = int(np.flatnonzero(~exact)[0])
        raise ModelError(
            f"series {ids[code[at]]!r}: {frame[setting.time].iloc[at]} starts no period of frequency "
            f"{setting.frequency!r} ({int((~exact).sum())} such rows); the calendar has changed or data.frequency is "
            "wrong: correct one of them"
        )
    wanted = dict.fromkeys([setting.target, *setting.known, *setting.hierarchy, *extra])
    order = np.lexsort((number, code))
    rows = frame[list(wanted)].iloc[order].reset_index(drop=True)
    rows[setting.target] = pd.to_numeric(rows[setting.target]).astype(float)
    rows["_code"], rows["_period"] = code[order], number[order]
    code, number = code[order], number[order]
    same = np.append(False, (code[1:] == code[:-1]) & (number[1:] == number[:-1]))
    if same.any():
        raise ModelError(
            f"{_Where(setting, ids)(rows, same)}: the period occurs more than once ({int(same.sum())} rows too many); "
            "one row per series and period: remove or add up the others"
        )
    seen = rows[setting.target].notna().to_numpy()
    last = np.full(len(ids), np.iinfo(np.int64).min)
    np.maximum.at(last, code[seen], number[seen])
    rows["_past"] = number <= last[code]
    return rows, ids


def _gaps(setting: Setting, rows: pd.DataFrame, tell: _Where) -> None:
    code, number, past = (rows[name].to_numpy() for name in ("_code", "_period", "_past"))
    target = rows[setting.target].to_numpy()
    # a row of the future may stand apart from the past of a series that stopped; periods between them are not lost
    gap = past & np.append(False, (code[1:] == code[:-1]) & (np.diff(number) > 1))
    if gap.any():
        raise ModelError(
            f"{tell(rows, gap)}: the periods right before it are left out ({int(gap.sum())} gaps in all); "
            "a series has no gaps: add the periods, with 0 where nothing was sold"
        )
    empty = past & np.isnan(target)
    if empty.any():
        raise ModelError(
            f"{tell(rows, empty)}: {setting.target!r} is missing, but a later period has one "
            f"({int(empty.sum())} such rows); only rows of the future may lack it: fill it in, 0 where nothing was sold"
        )
    infinite = past & ~np.isfinite(target)
    if infinite.any():
        raise ModelError(f"{tell(rows, infinite)}: {setting.target!r} is not a finite number; correct it")


def _floor(setting: Setting, past: pd.DataFrame, tell: _Where) -> None:
    if setting.floor is None:
        return
    below = (past[setting.target] < setting.floor).to_numpy()
    if below.any():
        value = float(past.loc[below, setting.target].iloc[0])
        raise ModelError(
            f"{tell(past, below)}: {setting.target!r} is {value:g}, below data.floor {setting.floor:g} "
            f"({int(below.sum())} such rows); book returns elsewhere, correct the value, or set data.floor to null"
        )


def _known(
    setting: Setting, rows: pd.DataFrame, column: np.ndarray, shape: tuple[int, int], tell: _Where
) -> np.ndarray:
    """Regressors of past and future, shape (S, T + ahead, k); NaN where there is no row."""
    ahead = max(0, int(column.max()) + 1 - shape[1]) if setting.known else 0
    known = np.full((shape[0], shape[1] + ahead, len(setting.known)), np.nan)
    inside, code = column >= 0, rows["_code"].to_numpy()
    for position, name in enumerate(setting.known):
        values = pd.to_numeric(rows[name]).to_numpy(dtype=float)
        missing = ~np.isfinite(values)
        if missing.any():
            raise ModelError(
                f"{tell(rows, missing)}: {name!r} is known in advance, but null or not finite "
                f"({int(missing.sum())} such rows); fill it in, or take it out of data.known"
            )
        known[code[inside], column[inside], position] = values[inside]
    return known


def _attributes(setting: Setting, rows: pd.DataFrame, extra: Sequence[str], tell: _Where) -> pd.DataFrame:
    """Last known value per series of the hierarchy's and the extra columns."""
    code = rows["_code"].to_numpy()
    last = np.zeros(len(tell.ids), dtype=int)
    last[code] = np.arange(len(code))  # rows are sorted: the last one of a series wins
    table = pd.DataFrame(index=range(len(tell.ids)))
    for name in dict.fromkeys([*setting.hierarchy, *extra]):
        values = rows[name].groupby(code).last() if name in extra else rows[name].iloc[last]
        table[name] = np.asarray(values)
    for name in setting.hierarchy:
        null = rows[name].isna().to_numpy()
        if null.any():
            raise ModelError(f"{tell(rows, null)}: {name!r} of the hierarchy is null; every series has a parent")
        differs = rows[name].to_numpy() != table[name].to_numpy()[code]
        if differs.any():
            raise ModelError(
                f"{tell(rows, differs)}: {name!r} of the hierarchy changes within the series; a series "
                "stays below one parent: give the moved part another name"
            )
    return table
