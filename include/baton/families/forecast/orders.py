"""The cost of the orders that a forecast leads to: order up to the cost-optimal quantile, then demand happens."""

import numpy as np
import pandas as pd
from scipy.special import ndtri

from baton.errors import ModelError
from baton.families.forecast.methods.local import seasonal_naive
from baton.families.forecast.panel.series import Panel
from baton.families.forecast.panel.setting import Setting
from baton.families.forecast.paths import case_paths
from baton.specs.forecast import OrderCostSpec

PATHS = 200


def order_cost(
    spec: OrderCostSpec, setting: Setting, frame: pd.DataFrame, prices: pd.DataFrame, seed: int = 7
) -> pd.DataFrame:
    """Cost per (series, origin): order up to the quantile short / (short + over) of the demand of lead + 1 periods.

    Args:
        frame: backtest rows with quantiles and dependence; cases without all lead + 1 targets are left out.
        prices: index series; columns `short` and `over`, money per unit (see `prices`).

    Returns:
        series, origin, demand and ordered (units), cost (money).

    Raises:
        ModelError: the horizon does not reach over the lead time.
    """
    steps = spec.lead + 1
    rows = whole(setting, frame, steps)
    share = _share(prices)
    parts = []
    for first, paths in case_paths(rows, steps, PATHS, seed, setting.floor):
        total = np.sort(paths.sum(axis=2), axis=1)
        at = share.loc[first["series"]].to_numpy()
        place = np.clip(at * PATHS - 0.5, 0, PATHS - 1)
        left = np.floor(place).astype(int)
        right = np.minimum(left + 1, PATHS - 1)
        case = np.arange(len(first))
        ordered = total[case, left] + (place - left) * (total[case, right] - total[case, left])
        parts.append(first[["series", "origin"]].assign(ordered=ordered))
    ordered_all = pd.concat(parts) if parts else rows[["series", "origin"]].assign(ordered=0.0).iloc[:0]
    return _price(ordered_all, rows, prices)


def naive_cost(
    spec: OrderCostSpec, setting: Setting, panel: Panel, frame: pd.DataFrame, prices: pd.DataFrame
) -> pd.DataFrame:
    """The same cases under the rule of thumb: the last season again, and a fixed safety stock.

    The safety stock is z(share) times the standard deviation of the seasonal naive's errors in the history before the
    origin, times the root of the number of periods: what a textbook does without a model.
    """
    steps = spec.lead + 1
    rows = whole(setting, frame, steps)
    share = _share(prices)
    row_of = {name: at for at, name in enumerate(panel.ids)}
    parts = []
    for origin, cases in rows.iloc[::steps].groupby("origin", sort=True):
        column = int(
            np.flatnonzero(
                panel.times(np.arange(panel.periods), setting.frequency) == pd.Timestamp(str(origin)).to_datetime64()
            )[0]
        )
        ordered = []
        for name in cases["series"]:
            row = row_of[name]
            values = panel.y[row, panel.start[row] : min(column, panel.stop[row])]
            season = max((s for s in setting.seasons if len(values) >= 2 * s), default=1)
            errors = values[season:] - values[:-season]
            deviation = float(errors.std()) if len(errors) > 1 else 0.0
            stock = float(ndtri(share[name])) * deviation * np.sqrt(steps)
            ordered.append(max(0.0, seasonal_naive(values, setting)[:steps].sum() + stock))
        parts.append(cases[["series", "origin"]].assign(ordered=ordered))
    return _price(pd.concat(parts), rows, prices)


def prices(spec: OrderCostSpec, panel: Panel) -> pd.DataFrame:
    """Money per unit and series: index series, columns `short` and `over`.

    Raises:
        ModelError: a price is missing or negative, or both are zero.
    """
    table = pd.DataFrame(index=panel.ids)
    for name, source in (("short", spec.short), ("over", spec.over)):
        given = panel.attributes[source] if isinstance(source, str) else pd.Series(source, range(len(panel.ids)))
        table[name] = pd.to_numeric(given, errors="coerce").to_numpy(dtype=float)
        wrong = ~(table[name] >= 0)
        if wrong.any():
            raise ModelError(
                f"series {table.index[wrong][0]!r}: the order cost `{name}` ({source!r}) is missing or negative; "
                "correct the column, or give a number in gate.cost"
            )
    zero = (table["short"] + table["over"]) <= 0
    if zero.any():
        raise ModelError(f"series {table.index[zero][0]!r}: order costs short and over are both 0; one must be above")
    return table


def whole(setting: Setting, frame: pd.DataFrame, steps: int) -> pd.DataFrame:
    """Rows of the first `steps` steps of the cases that have all of them, sorted by series, origin and step."""
    if steps > setting.horizon:
        raise ModelError(
            f"model {setting.model}: orders with a lead of {steps - 1} periods need {steps} forecast periods, the "
            f"horizon is {setting.horizon}; raise horizon or lower gate.cost.lead"
        )
    rows = frame[frame["step"] <= steps]
    size = rows.groupby(["series", "origin"])["step"].transform("size")
    return rows[size == steps].sort_values(["series", "origin", "step"], kind="stable")


def _share(prices: pd.DataFrame) -> pd.Series:
    return (prices["short"] / (prices["short"] + prices["over"])).clip(0.005, 0.995)


def _price(ordered: pd.DataFrame, rows: pd.DataFrame, prices: pd.DataFrame) -> pd.DataFrame:
    demand = rows.groupby(["series", "origin"], sort=True)["y"].sum().rename("demand").reset_index()
    found = ordered.merge(demand, on=["series", "origin"]).sort_values(["series", "origin"], ignore_index=True)
    gap = found["demand"] - found["ordered"]
    own = prices.loc[found["series"]]
    cost = np.maximum(gap, 0) * own["short"].to_numpy() + np.maximum(-gap, 0) * own["over"].to_numpy()
    return found.assign(cost=cost)
