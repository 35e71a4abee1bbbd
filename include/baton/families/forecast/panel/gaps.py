"""Short gaps: a row in quarantine must not stop the forecast of its series, nor pass for a sale of nothing.

A gap of at most `max_gap` periods inside a series is bridged in a straight line; one at its end, while other series go
on, holds the median of the last periods. Regressors are those of a row without target, where there is one, else the mean of the other series. Longer gaps are
left, for `prepare` to refuse; a series that stops for longer is dead.
"""

from itertools import pairwise

import numpy as np
import pandas as pd

from baton.families.forecast.panel.periods import plain_times, to_period, to_time
from baton.families.forecast.panel.setting import Setting

LAST = 4  # periods whose median stands for a missing last one


def fill(setting: Setting, frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Returns the frame with short gaps bridged, and how many periods were filled in by series."""
    past = frame[frame[setting.target].notna()]
    if past.empty or setting.max_gap < 1:
        return frame, {}
    number, exact = to_period(plain_times(past[setting.time]), setting.frequency)
    if not exact.all():
        return frame, {}  # the calendar is wrong: `prepare` says where
    rows = past.assign(_period=number)
    span = rows.groupby(setting.entity)["_period"].agg(["min", "max", "nunique"])
    end = int(span["max"].max())
    behind = end - span["max"]
    lacking = (span["max"] - span["min"] + 1 > span["nunique"]) | ((behind > 0) & (behind <= setting.max_gap))
    made = [
        _bridge(setting, rows[rows[setting.entity] == series], rows, setting.max_gap, end)
        for series in span.index[lacking]
    ]
    made = [part for part in made if len(part)]
    if not made:
        return frame, {}
    new = pd.concat(made, ignore_index=True)
    times = pd.Series(to_time(new["_period"].to_numpy(), setting.frequency))
    if frame[setting.time].dt.tz is not None:
        times = times.dt.tz_localize("UTC")
    new[setting.time] = times.astype(frame[setting.time].dtype)
    filled = {str(name): int(count) for name, count in new.groupby(setting.entity).size().items()}
    key = [setting.entity, setting.time]
    planned = frame[frame[setting.target].isna()].merge(new[key], on=key)  # it knows its own promotion
    new = new.drop(columns="_period").set_index(key)
    new.update(planned.set_index(key)[list(setting.known)])
    new = new.reset_index()
    taken = frame[key].merge(new[key], on=key, how="left", indicator="_taken")["_taken"].to_numpy() == "both"
    return pd.concat([frame[~taken], new], ignore_index=True), filled


def _bridge(setting: Setting, mine: pd.DataFrame, rows: pd.DataFrame, max_gap: int, end: int) -> pd.DataFrame:
    """Rows for the short gaps of one series."""
    mine = mine.drop_duplicates("_period").sort_values("_period")
    have, values = mine["_period"].to_numpy(), mine[setting.target].to_numpy(dtype=float)
    made: list[tuple[int, float]] = []
    for before, after in pairwise(have):
        if 1 < after - before <= max_gap + 1:
            made += [(p, float(np.interp(p, have, values))) for p in range(before + 1, after)]
    if 0 < end - have[-1] <= max_gap:
        made += [(p, float(np.median(values[-LAST:]))) for p in range(int(have[-1]) + 1, end + 1)]
    new = pd.DataFrame([mine.iloc[-1].to_dict()] * len(made), columns=mine.columns)
    if made:
        new["_period"] = [p for p, _ in made]
        new[setting.target] = [round(value) if (values == np.round(values)).all() else value for _, value in made]
        for column in setting.known:
            others = rows.groupby("_period")[column].mean()
            new[column] = new["_period"].map(others).fillna(mine[column].astype(float).mean())
    return new
