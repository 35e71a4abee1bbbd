"""Pictures of the weekly report: small inline SVGs out of matplotlib, text as text, the same bytes for the same input.

No name of an item is drawn: names stand in the page, where they are escaped.
"""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

WEEKS = 60  # of sales before the forecast
INK, DIM, FAINT, LINE, ACCENT = "#1d2433", "#5b6577", "#a9b4c4", "#e3e7ee", "#1565a7"
BANDS = ((0.025, 0.975, 0.16), (0.1, 0.9, 0.26), (0.25, 0.75, 0.4))  # quantiles, opacity: 95, 80 and 50 %
DASHES: Mapping[str, Any] = {"normal": "-", "late_supplier": (0, (4, 2)), "demand_spike": (0, (1, 1.5)),
                             "closed_route": (0, (6, 2, 1, 2))}  # fmt: skip
WIDE, SMALL = (5.2, 2.0), (3.5, 2.2)  # inches
_STYLE: Any = {
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 8.0, "axes.linewidth": 0.6, "axes.edgecolor": FAINT,
    "axes.spines.top": False, "axes.spines.right": False, "axes.labelcolor": DIM, "axes.labelsize": 8.0,
    "xtick.color": DIM, "ytick.color": DIM, "text.color": INK, "axes.grid": True, "axes.grid.axis": "y",
    "grid.color": LINE, "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.titley": 1.0, "xtick.major.size": 0.0, "ytick.major.size": 0.0,
}  # fmt: skip


def forecast(sales: pd.DataFrame, scored: pd.DataFrame, label: str, salt: str) -> str:
    """The last weeks of sales and the forecast with its intervals.

    Args:
        sales: one item's rows week (datetime64, naive), units (NaN in the future), promotion, is_holiday, by week.
        scored: its rows of the scored frame, by step.
        label: what a screen reader says.
        salt: of the hidden ids; another one for each picture of a page.
    """
    known = sales.dropna(subset=["units"])
    origin = known["week"].max() if len(known) else scored["time"].min() - pd.Timedelta(weeks=1)

    def at(times: pd.Series) -> np.ndarray:
        """Weeks from the last one with sales."""
        return ((times - origin) / pd.Timedelta(weeks=1)).to_numpy(dtype=float)

    with mpl.rc_context(_STYLE | {"svg.hashsalt": salt}):
        figure, axes = _figure(WIDE)
        horizon = float(at(scored["time"]).max())
        x, y = at(known["week"]), known["units"].to_numpy(dtype=float)
        before = (x + 52 >= -WEEKS) & (x + 52 <= horizon)
        shown = x >= -WEEKS
        axes.plot(x[before] + 52, y[before], color=FAINT, linewidth=0.9)
        ahead, median = at(scored["time"]), scored["score"].to_numpy(dtype=float)
        if shown.any():  # the fan opens at the last known week, so that it is seen with one week ahead too
            ahead, median = np.append(0.0, ahead), np.append(y[shown][-1], median)
        for low, high, opacity in BANDS:
            edges = [scored[f"q{level:g}"].to_numpy(dtype=float) for level in (low, high) if f"q{level:g}" in scored]
            if len(edges) == 2:
                lower, upper = (np.append(median[: len(ahead) - len(scored)], edge) for edge in edges)
                axes.fill_between(ahead, lower, upper, color=ACCENT, alpha=opacity, linewidth=0)
        axes.plot(x[shown], y[shown], color=INK, linewidth=1.1)
        axes.plot(ahead, median, color=ACCENT, linewidth=1.4)
        axes.set_xlim(-WEEKS - 0.5, horizon + 0.5)
        axes.set_ylim(0, _top([y[shown], y[before], *(scored[c] for c in ("q0.975", "score") if c in scored)]) * 1.06)
        _marks(axes, at(sales["week"]), sales, horizon)
        _months(axes, origin, horizon)
        return _svg(figure, axes, "units a week", 2, label)


def cost_curve(offers: Sequence[Mapping[str, Any]], chosen: str, label: str, salt: str) -> str:
    """Expected cost over order quantity, its 5 to 95 % range, and the mean by scenario.

    Args:
        offers: rows of `alternatives.summarise` of one item, `by_scenario` as a dict.
        chosen: name of the alternative that was decided on; may be none of them.
    """
    with mpl.rc_context(_STYLE | {"svg.hashsalt": salt}):
        figure, axes = _figure(SMALL)
        usual = sorted((o for o in offers if o["alternative"] != "express"), key=lambda o: o["quantity"])
        x = [offer["quantity"] for offer in usual]
        nudge = 0.035 * (max(x) - min(x) or 1)  # express stands beside the same quantity without it
        for name, dashes in DASHES.items():
            means = [offer["by_scenario"].get(name, {}).get("cost_mean", np.nan) for offer in usual]
            axes.plot(x, means, color=FAINT, linewidth=0.9, linestyle=dashes)
        axes.plot(x, [offer["cost_mean"] for offer in usual], color=INK, linewidth=1.1)
        for offer in offers:
            colour = ACCENT if offer["alternative"] == chosen else INK
            express = offer["alternative"] == "express"
            place = offer["quantity"] + nudge * express
            _upright(axes, [place], [offer["cost_p5"]], [offer["cost_p95"]], color=colour, linewidth=2.0, alpha=0.45)
            axes.plot([place], [offer["cost_mean"]], marker="D" if express else "o", color=colour, markersize=4.5)
        names: dict[int, list[str]] = {}
        for offer in sorted(offers, key=lambda o: o["alternative"] == "express"):
            names.setdefault(int(offer["quantity"]), []).append(str(offer["alternative"]).removeprefix("as_"))
        axes.set_xticks(list(names), [f"{units:,}\n" + "\n".join(said) for units, said in names.items()])
        axes.set_xlim(min(x) - 4 * nudge, max(x) + 4 * nudge)
        axes.set_ylim(0, _top([[offer["cost_p95"] for offer in offers]]) * 1.06)
        return _svg(figure, axes, "expected cost, $", 1 + max(map(len, names.values())), label)


def stock_fan(offer: Mapping[str, Any], on_hand: float, label: str, salt: str) -> str:
    """Units on hand at the end of each simulated week: median, middle half, 5 to 95 %.

    Args:
        offer: a row of `alternatives.summarise`, its fans as lists by week.
        on_hand: units now.
    """
    with mpl.rc_context(_STYLE | {"svg.hashsalt": salt}):
        figure, axes = _figure(SMALL)
        fan = {name: [on_hand, *offer[f"stock_{name}"]] for name in ("p5", "p25", "p50", "p75", "p95")}
        weeks = np.arange(len(fan["p50"]))
        axes.fill_between(weeks, fan["p5"], fan["p95"], color=ACCENT, alpha=0.18, linewidth=0)
        axes.fill_between(weeks, fan["p25"], fan["p75"], color=ACCENT, alpha=0.32, linewidth=0)
        axes.plot(weeks, fan["p50"], color=ACCENT, linewidth=1.4)
        axes.set_ylim(0, _top([fan["p95"]]) * 1.06)
        axes.set_xlim(0, weeks[-1])
        axes.set_xticks(weeks, ["now", *map(str, weeks[1:])])
        return _svg(figure, axes, "units on hand at the end of week ...", 1, label)


def coverage(supply: Mapping[str, np.ndarray], demand: np.ndarray, label: str, salt: str) -> str:
    """What is there in each week against the demand up to its end, both added up from now.

    Args:
        supply: `on_hand`, `due` and `order`, each of shape (weeks,), units there by then.
        demand: shape (3, weeks): 5, 50 and 95 % quantile of the demand up to the end of each week, units.
    """
    with mpl.rc_context(_STYLE | {"svg.hashsalt": salt}):
        figure, axes = _figure(SMALL)
        weeks = np.arange(1, demand.shape[1] + 1)
        below = np.zeros(len(weeks))
        for name, colour in (("on_hand", "#8a97aa"), ("due", "#c9d1dc"), ("order", ACCENT)):
            axes.bar(weeks, supply[name], bottom=below, width=0.62, color=colour, linewidth=0)
            below = below + supply[name]
        axes.plot(weeks, demand[1], color=INK, linewidth=1.2, marker="o", markersize=3)
        _upright(axes, weeks, demand[0], demand[2], color=INK, linewidth=1.0)
        axes.set_ylim(0, _top([below, demand[2]]) * 1.06)
        axes.set_xticks(weeks)
        return _svg(figure, axes, "units up to the end of week ...", 1, label)


def _figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size)
    axes = figure.add_subplot()
    axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value == round(value) else ""))
    return figure, axes


def _top(parts: Sequence[Any]) -> float:
    """The largest number to be shown, at least 1."""
    return max([1.0, *(float(np.nanmax(part)) for part in parts if len(part) and not np.isnan(part).all())])


def _marks(axes: Axes, x: np.ndarray, sales: pd.DataFrame, horizon: float) -> None:
    """Promotions as bars on the axis, as high as they are dear; holidays as dotted lines."""
    top = axes.get_ylim()[1]
    shown = (x >= -WEEKS) & (x <= horizon)
    spent, holiday = sales["promotion"].to_numpy(dtype=float)[shown], sales["is_holiday"].to_numpy(dtype=float)[shown]
    if len(spent) and np.nanmax(spent) > 0:
        high = 0.14 * top * spent / np.nanmax(spent)
        _upright(axes, x[shown], 0.0 * spent, high, color=DIM, alpha=0.55, linewidth=3.0)
    days = x[shown][holiday > 0]
    _upright(axes, days, 0.0 * days, 0.0 * days + top, color=FAINT, linewidth=0.7, linestyle=(0, (1, 2)))


def _upright(axes: Axes, x: Any, low: Any, high: Any, **how: Any) -> None:
    """Upright lines as one path: a line each would make the page twice as large."""
    there = np.asarray(high) > np.asarray(low)
    gaps = np.full(int(there.sum()), np.nan)
    places, lows, highs = (np.asarray(part, dtype=float)[there] for part in (x, low, high))
    axes.plot(
        np.column_stack([places, places, gaps]).ravel(), np.column_stack([lows, highs, gaps]).ravel(),
        solid_capstyle="butt", dash_capstyle="butt", **how,
    )  # fmt: skip


def _months(axes: Axes, origin: pd.Timestamp, horizon: float) -> None:
    """A tick at the begin of each quarter, with the year where it begins."""
    first = origin - pd.Timedelta(weeks=WEEKS)
    quarters = pd.date_range(first, origin + pd.Timedelta(weeks=horizon), freq="QS")
    names = [f"{time:%b}\n{time:%Y}" if time.month == 1 or n == 0 else f"{time:%b}" for n, time in enumerate(quarters)]
    axes.set_xticks([(time - origin) / pd.Timedelta(weeks=1) for time in quarters], names)
    axes.axvline(0.0, color=FAINT, linewidth=0.7)


def _svg(figure: Figure, axes: Axes, unit: str, lines: int, label: str) -> str:
    """The figure as an `svg` element, without what only a file of its own needs.

    Args:
        unit: stands above the vertical axis.
        lines: of text below the horizontal one. Margins follow from it and from the length of the numbers: matplotlib's
            own layout draws everything twice.
    """
    width, height = (72 * side for side in figure.get_size_inches())
    left, below, above = 5.3 * len(f"{axes.get_ylim()[1]:,.0f}") + 6, 9.6 * lines + 6, 17
    axes.set_position((left / width, below / height, (width - left - 8) / width, (height - below - above) / height))
    axes.set_title(unit, loc="left", fontsize=8.0, color=DIM, pad=5.0, x=-(left - 2) / (width - left - 8))
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    whole = ElementTree.fromstring(out.getvalue())  # noqa: S314 - written the line before
    used = set(re.findall(r"#([\w-]+)[\")]", out.getvalue()))
    made = ElementTree.Element("svg", {"viewBox": whole.attrib["viewBox"], "role": "img", "aria-label": label})
    for child in whole:
        made.extend(_lean(child, used))
    return ElementTree.tostring(made, encoding="unicode").replace(" />", "/>")


def _lean(element: ElementTree.Element, used: set[str]) -> list[ElementTree.Element]:
    """An element with only those attributes that are seen; nothing for one that draws nothing, a bare group's parts."""
    tag = element.tag.rpartition("}")[2]
    if tag in ("metadata", "style"):
        return []
    kept: dict[str, str] = {}
    for name, value in element.attrib.items():
        plain = name.rpartition("}")[2]
        if plain == "id" and value not in used:
            continue
        kept[plain] = value if plain in ("id", "href") else _short(value, digits=1 if plain in ("d", "x", "y") else 2)
    if tag == "text":  # as the page's style says
        kept["style"] = re.sub(rf"font-size:8px|text-anchor:start|fill:{DIM}", "", kept["style"]).strip(";")
    kept = {name: value for name, value in kept.items() if value}
    children = [part for child in element for part in _lean(child, used)]
    if (tag in ("g", "defs") and not children) or (tag == "path" and not re.search("[LCQ]", kept.get("d", "L"))):
        return []
    if tag == "path" and kept.get("style") == "fill:none":  # a patch of the background
        return []
    if tag == "g" and not kept:
        return children
    made = ElementTree.Element(tag, kept)
    made.text = element.text if tag == "text" else None
    made.extend(children)
    return [made]


def _short(value: str, digits: int) -> str:
    """An attribute without needless digits, blanks, fonts (the page names one for all) and turns by nothing."""
    text = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.{digits}f}", value)
    text = re.sub(r"(\.\d*?)0+(?!\d)", r"\1", text)
    text = re.sub(r"(?<=\d)\.(?!\d)", "", text)
    text = re.sub(r"font-family:[^;]*;\s*", "", text)
    text = re.sub(r"rotate\(-?0 [^)]*\)", "", text)
    return re.sub(r"\s*([;:,])\s*", r"\1", " ".join(text.split())).replace(" z", "z")
