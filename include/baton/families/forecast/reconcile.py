"""Forecasts that add up: base forecasts at all levels, brought together by a method that the backtest chooses.

The errors that weigh the levels are those of the backtest, not those inside the fit: a model that has memorised a level
would otherwise be trusted most. A series without errors to weigh it by (new since the backtest) and a dead one keep
their own forecast; the others are reconciled around them.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from baton.errors import ModelError
from baton.families.forecast.intervals import apart
from baton.families.forecast.methods.points import Points
from baton.families.forecast.panel.series import Panel
from baton.families.forecast.panel.setting import Setting

BOTTOM_UP = "bottom_up"
TOP_DOWN = "top_down"
METHODS = (BOTTOM_UP, TOP_DOWN, "ols", "wls_struct", "wls_var", "mint_shrink")
DENSE_NODES = 2000  # above, the methods that solve a dense system over all nodes are left out
TOTAL = "Total"


@dataclass(frozen=True)
class Tree:
    """The levels above B series.

    Attributes:
        ids: shape (A,), names of the nodes above the series, from the top.
        level: shape (A,), 0 is the total.
        depth: level of the series themselves.
        members: shape (A, B), 1 where a series lies below a node.
        attributes: A rows of the hierarchy's columns; None below the node's own level.
    """

    ids: np.ndarray
    level: np.ndarray
    depth: int
    members: np.ndarray
    attributes: pd.DataFrame


def tree(setting: Setting, panel: Panel) -> Tree:
    """The hierarchy of a panel's series. Raises ModelError: a series has the name of a node."""
    ids, level, members, rows = [TOTAL], [0], [np.ones(len(panel.ids))], [dict.fromkeys(setting.hierarchy)]
    for depth in range(1, len(setting.hierarchy) + 1):
        columns = list(setting.hierarchy[:depth])
        for key, at in panel.attributes.groupby(columns, sort=True).indices.items():
            values = key if isinstance(key, tuple) else (key,)
            ids.append(", ".join(f"{name}={value}" for name, value in zip(columns, values, strict=True)))
            level.append(depth)
            mask = np.zeros(len(panel.ids))
            mask[at] = 1.0
            members.append(mask)
            rows.append(dict.fromkeys(setting.hierarchy) | dict(zip(columns, values, strict=True)))
    if both := set(ids) & set(panel.ids):
        raise ModelError(f"series {min(both)!r} has the name of a level above the series; rename it")
    return Tree(
        np.array(ids, dtype=object), np.array(level), len(setting.hierarchy) + 1, np.stack(members), pd.DataFrame(rows)
    )


def widen(panel: Panel, above: Tree) -> Panel:
    """The panel with the nodes in front: a node's target is the sum of its series', its regressors their mean."""
    inside = above.members > 0
    start = np.array([panel.start[m].min() for m in inside])
    stop = np.array([panel.stop[m].max() for m in inside])
    y = above.members @ np.nan_to_num(panel.y)
    column = np.arange(panel.periods)
    y[(column < start[:, None]) | (column >= stop[:, None])] = np.nan
    seen = ~np.isnan(panel.known)
    total = np.einsum("ab,btk->atk", above.members, np.nan_to_num(panel.known))
    count = np.einsum("ab,btk->atk", above.members, seen.astype(float))
    with np.errstate(invalid="ignore", divide="ignore"):
        known = np.where(count > 0, total / count, np.nan)
    extra = above.attributes.reindex(columns=panel.attributes.columns)
    attributes = pd.concat([extra.astype(object), panel.attributes.astype(object)], ignore_index=True)
    return replace(
        panel, ids=np.concatenate([above.ids, panel.ids]), y=np.vstack([y, panel.y]), attributes=attributes,
        start=np.concatenate([start, panel.start]), stop=np.concatenate([stop, panel.stop]),
        known=np.concatenate([known, panel.known]),
        bridged=np.concatenate([np.zeros(len(above.ids), dtype=int), panel.bridged]),
    )  # fmt: skip


def levels(above: Tree, series: int) -> np.ndarray:
    """Level of the nodes and then of `series` series, shape (A + series,)."""
    return np.concatenate([above.level, np.full(series, above.depth)])


def reconcile(
    method: str,
    members: np.ndarray,
    level: np.ndarray,
    base: np.ndarray,
    errors: np.ndarray,
    fixed: np.ndarray,
    floor: float | None,
) -> np.ndarray:
    """Bottom forecasts that make the best of all levels' base forecasts.

    Args:
        method: one of `METHODS`.
        members: shape (A, B).
        level: shape (A,), level of the nodes, from 0 for the total.
        base: shape (A + B, horizon).
        errors: shape (A + B, n), backtest errors; NaN where there is none.
        fixed: shape (B,), series that keep their base forecast.
        floor: nothing lies below; the levels stay coherent, because they are summed up afterwards.

    Returns:
        shape (B, horizon); the levels above are `members @` it.
    """
    nodes = len(members)
    bottom = base[nodes:].copy()
    # a node without errors, or without free series below it, has nothing to say
    use = np.isfinite(errors[:nodes]).any(axis=1) & (members[:, ~fixed].sum(axis=1) > 0)
    free = ~fixed & np.isfinite(errors[nodes:]).any(axis=1)
    if method == BOTTOM_UP or not free.any() or not use.any():
        return bottom
    rest = base[:nodes][use] - members[use][:, ~free] @ bottom[~free]
    if method == TOP_DOWN:
        bottom[free] = _top_down(members[use][:, free], level[use], rest, bottom[free])
    else:
        bottom[free] = _least_squares(method, members[use][:, free], rest, bottom[free], errors, (use, free))
    return bottom if floor is None else np.maximum(bottom, floor)


def _top_down(members: np.ndarray, level: np.ndarray, nodes: np.ndarray, series: np.ndarray) -> np.ndarray:
    """Hand each node's forecast down to its children in proportion to theirs ("forecast proportions").

    The top keeps its own forecast: where all series err on the same side, as in growth that is too small to be seen in
    any of them, it is the level that sees it.
    """
    adjusted, depths = nodes.copy(), [*np.unique(level), int(level.max()) + 1]
    result = series.copy()
    for above, depth in pairwise(depths):
        last = depth == depths[-1]
        inside = np.eye(len(series)) if last else members[level == depth]
        below = series if last else nodes[level == depth]
        made = below.copy()
        for parent in np.flatnonzero(level == above):
            child = np.flatnonzero(inside @ members[parent] > 0)
            total, wanted = below[child].sum(axis=0), adjusted[parent]
            shares = np.where(total > 0, below[child] / np.where(total > 0, total, 1.0), 1.0 / len(child))
            made[child] = np.where(total > 0, shares * wanted, below[child] + shares * (wanted - total))
        if last:
            result = made
        else:
            adjusted[level == depth] = made
    return result


def _least_squares(
    method: str, members: np.ndarray, nodes: np.ndarray, series: np.ndarray, errors: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:  # fmt: skip
    """Minimum trace by hierarchicalforecast (Wickramasuriya, Athanasopoulos & Hyndman 2019)."""
    from hierarchicalforecast.methods import MinTrace

    use, free = rows
    arguments = {}
    if method in ("wls_var", "mint_shrink"):
        known = np.vstack([errors[: len(use)][use], errors[len(use) :][free]])
        known = known[:, np.isfinite(known).any(axis=0)]
        known = np.where(np.isfinite(known), known, np.nanmean(known, axis=1, keepdims=True))
        # the library subtracts: errors as targets of a forecast of zero
        arguments = {"y_insample": known, "y_hat_insample": np.zeros_like(known)}
    summing = np.vstack([members, np.eye(len(series))])
    made = MinTrace(method=method).fit_predict(S=summing, y_hat=np.vstack([nodes, series]), **arguments)["mean"]
    return np.asarray(made)[-len(series) :]


def spread_points(
    method: str, setting: Setting, above: Tree, wide: Points, errors: np.ndarray
) -> tuple[Points, np.ndarray]:
    """Reconcile the forecasts of a widened panel: those of the series, and the nodes' sums of shape (A, horizon)."""
    nodes = len(above.ids)
    fixed = wide.kind[nodes:] == "dead"
    bottom = reconcile(method, above.members, above.level, wide.forecast, errors, fixed, setting.floor)
    made = Points(bottom, wide.simple[nodes:], wide.kind[nodes:], wide.method[nodes:])
    return made, above.members @ bottom


def error_table(frame: pd.DataFrame, ids: np.ndarray) -> np.ndarray:
    """Base errors of `ids`, shape (ids, origin and step); NaN where there is none."""
    if not len(frame):
        return np.full((len(ids), 1), np.nan)
    errors = (frame["y"] - frame["base"]).to_numpy()
    names, code = np.unique(frame["series"].to_numpy(dtype=object).astype(str), return_inverse=True)
    origin = pd.factorize(frame["origin"], sort=True)[0]
    cell = origin * int(frame["step"].max()) + frame["step"].to_numpy() - 1
    table = np.full((len(names) + 1, int(cell.max()) + 1), np.nan)
    table[code, cell] = errors
    place = {name: at for at, name in enumerate(names)}
    return table[[place.get(str(name), len(names)) for name in ids]]


def backtest(
    setting: Setting, above: Tree, ids: np.ndarray, frame: pd.DataFrame
) -> tuple[pd.DataFrame, str, dict[str, float]]:
    """Reconcile a backtest of all levels by the method that is best on origins it has not been weighed by.

    Args:
        ids: shape (B,), the series in the order of `above.members`.
        frame: backtest rows of nodes and series.

    Returns:
        the frame with reconciled `forecast` and the former one as `base`; the method; value of each method: mean over
        the levels of its error against the base forecasts' there, so that no level counts more than others.
    """
    frame = frame.assign(base=frame["forecast"])
    methods = METHODS if len(ids) + len(above.ids) <= DENSE_NODES else (BOTTOM_UP, TOP_DOWN)
    found = {method: _judged(setting, above, ids, frame, method) for method in methods}
    level, size = frame["level"], frame["scale"]
    base = ((frame["y"] - frame["base"]).abs() / size).groupby(level).mean().clip(lower=1e-12)
    values = {
        method: float((((frame["y"] - made).abs() / size).groupby(level).mean() / base).mean())
        for method, made in found.items()
    }
    best = min(values, key=lambda method: values[method])
    return frame.assign(forecast=found[best]), best, values


def _judged(setting: Setting, above: Tree, ids: np.ndarray, frame: pd.DataFrame, method: str) -> np.ndarray:
    """Reconciled forecasts in the order of the frame's rows, weights of each origin from other periods."""
    names = np.concatenate([above.ids, ids])
    place = {str(name): at for at, name in enumerate(names)}
    result = np.zeros(len(frame))
    row = frame["series"].astype(str).map(place).to_numpy()
    for origin in np.unique(frame["origin"]):
        at = np.flatnonzero((frame["origin"] == origin).to_numpy())
        step = frame["step"].to_numpy()[at] - 1
        base = np.full((len(names), setting.horizon), np.nan)
        base[row[at], step] = frame["base"].to_numpy()[at]
        dead = np.zeros(len(names), dtype=bool)
        dead[row[at]] = frame["kind"].to_numpy()[at] == "dead"
        begun = np.isfinite(base).any(axis=1)
        # a series that ends inside the window has no forecast row there; its last one stands in for the sums
        base = pd.DataFrame(base).ffill(axis=1).bfill(axis=1).to_numpy()
        nodes = np.flatnonzero(begun[: len(above.ids)])
        series = np.flatnonzero(begun[len(above.ids) :])
        members = above.members[np.ix_(nodes, series)]
        kept = np.concatenate([nodes, series + len(above.ids)])
        errors = error_table(frame[apart(frame, frame.iloc[at])], names[kept])
        bottom = reconcile(
            method, members, above.level[nodes], base[kept], errors, dead[series + len(above.ids)], setting.floor
        )
        full = np.zeros((len(names), setting.horizon))
        full[kept] = np.vstack([members @ bottom, bottom])
        result[at] = full[row[at], step]
    return result
