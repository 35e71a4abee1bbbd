"""The pictures of a model: champions on a time line, metric with interval, routes and money, drift as a heat map, calibration."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from baton.console import wording
from baton.console.pages.drawing import LEFT, RIGHT, WIDTH, Columns, short, svg, tag, text

Partitions = Sequence[Mapping[str, Any]]
COLOURS = 6  # classes `c0` to `c5` of the style sheet; the last is for all further routes
SHADES = 4  # of a feature that moved as far as is ordinary
NEARLY_ALL = 0.7  # share of decisions
SIDE = 240  # of the calibration's square


def champions(moves: Partitions, now: datetime, address: str | None) -> Markup:
    """A bar per time that a version was champion, from its move to the next one, the last until now.

    Args:
        moves: at (ISO), version, actor, reason; oldest first.
        address: of the model's versions, which a version's number is put behind; None: no links.
    """
    known = [(found, move) for move in moves if (found := wording.moment(move["at"])) is not None]
    if not known:
        return Markup("")
    ends = [*(at for at, _ in known[1:]), now]
    first, span = known[0][0], max((now - known[0][0]).total_seconds(), 1.0)
    place = lambda at: LEFT + (WIDTH - LEFT - RIGHT) * (at - first).total_seconds() / span  # noqa: E731
    parts = [text(LEFT - 12, 24, "champion", "end")]
    for number, ((at, move), end) in enumerate(zip(known, ends, strict=True)):
        left, width = place(at), max(place(end) - place(at) - 1.0, 2.0)
        until = "now" if number == len(known) - 1 else wording.when(end)
        why = f", by {move['actor']}" + (f": {move['reason']}" if move.get("reason") else "")
        said = f"version {move['version']}, champion from {wording.when(at)} to {until}{why}"
        bar = [tag("title", said), tag("rect", x=left, y=8, width=width, height=24, class_=f"c{number % 2}")]
        bar += [text(left + 6, 25, f"v{move['version']}", class_="on")] if width > 30 else []
        link = {"href": f"{address}{move['version']}", "target": "_blank", "rel": "noopener", "data_out": "tab"}
        parts.append(tag("a" if address else "g", *bar, aria_label=said, **(link if address else {})))
    parts += [text(LEFT, 50, wording.when(first), class_="tick"), text(WIDTH - RIGHT, 50, "now", "end", "tick")]
    return svg(WIDTH, 56, f"{len(known)} champions on a time line", *parts, role="group" if address else "img")


def metric(partitions: Partitions) -> Markup:
    """The labelled metric: a line, its interval as upright bars, the value at promotion dashed, losses marked."""
    columns = Columns([one["partition"] for one in partitions])
    known = [(at, one) for at, one in enumerate(partitions) if one["value"] is not None]
    if not known:
        return Markup("")
    seen = [one[name] for _, one in known for name in ("value", "low", "high", "reference") if one[name] is not None]
    low, high = min(seen), max(seen)
    middle, span = (low + high) / 2, max(high - low, 0.02)  # differences that say nothing must not fill the picture
    y = lambda value: 100 - 80 * ((value - middle) / span + 0.5)  # noqa: E731
    parts = [text(LEFT - 12, 24, f"{high:.3f}", "end", "tick"), text(LEFT - 12, 104, f"{low:.3f}", "end", "tick")]
    parts.append(text(LEFT - 12, 62, str(known[-1][1]["metric"] or "metric").replace("_", " "), "end"))
    for at, one in known:
        x = columns.middle(at)
        said = f"{wording.partition(one['partition'])}, version {one['version']}: {one['value']:.3f}"
        said += f" ({one['low']:.3f} to {one['high']:.3f})" if one["low"] is not None else ""
        bad = one["status"] == "dropped"
        drawn = [tag("title", said + (", fell" if bad else ""))]
        if one["low"] is not None:
            drawn.append(tag("line", x1=x, x2=x, y1=float(y(one["low"])), y2=float(y(one["high"])), class_="interval"))
        drawn.append(
            tag("circle", cx=x, cy=float(y(one["value"])), r=4 if bad else 2.5, class_="bad" if bad else "point")
        )
        if one["reference"] is not None:
            level, left = float(y(one["reference"])), columns.left(at)
            drawn.append(tag("line", x1=left, x2=left + columns.step, y1=level, y2=level, class_="reference"))
        parts.append(tag("g", *drawn))
    line = " ".join(f"{columns.middle(at):.1f},{y(one['value']):.1f}" for at, one in known)
    parts += [tag("polyline", points=line), _versions(partitions, columns, 118), columns.ticks(134)]
    last = known[-1][1]
    label = f"{last['metric']} over {len(known)} labelled partitions, {last['value']:.3f} at the last"
    return svg(WIDTH, 140, label, *parts)


def _versions(partitions: Partitions, columns: Columns, height: float) -> Markup:
    """An upright line where another version scores from there on."""
    parts = []
    for at in range(1, len(partitions)):
        if partitions[at]["version"] != partitions[at - 1]["version"]:
            x = columns.left(at)
            parts.append(tag("line", x1=x, x2=x, y1=6.0, y2=float(height), class_="change"))
            parts.append(text(x + 4, 14, f"v{partitions[at]['version']}", class_="tick"))
    return Markup("").join(parts)


def routes(partitions: Partitions) -> list[str]:
    """Routes of these partitions, the most frequent first: the order of the colours."""
    totals: dict[str, float] = {}
    for one in partitions:
        for route, count in one["routes"].items():
            totals[route] = totals.get(route, 0.0) + count
    return sorted(totals, key=lambda route: (-totals[route], route))


def shares(partitions: Partitions, order: Sequence[str]) -> Markup:
    """Share of each route per partition; one that takes nearly all is left out, so that the others can be seen."""
    found = [{route: count / (sum(one["routes"].values()) or 1) for route, count in one["routes"].items()}
             for one in partitions]  # fmt: skip
    rest = len(order) > 1 and all(one.get(order[0], 1.0) > NEARLY_ALL for one in found)
    drawn = [{route: share for route, share in one.items() if not rest or route != order[0]} for one in found]
    top = max((sum(one.values()) for one in drawn), default=0.0) if rest else 1.0
    name = f"share, {order[0]} the rest" if rest else "share of routes"
    return _stacked(partitions, order, drawn, top or 1.0, name, lambda value: f"{value:.1%}", f"{top or 1.0:.1%}")


def money(partitions: Partitions, order: Sequence[str]) -> Markup:
    """Money at stake by route per partition; the highest column is the picture's height."""
    top = max((sum(one["money"].values()) for one in partitions), default=0.0)
    if top <= 0:
        return Markup("")
    drawn = [one["money"] for one in partitions]
    return _stacked(partitions, order, drawn, top, "money at stake", wording.money, wording.money(top))


def _stacked(
    partitions: Partitions,
    order: Sequence[str],
    values: Sequence[Mapping[str, float]],
    top: float,
    name: str,
    say: Any,
    most: str,
    of: str = "partition",
) -> Markup:
    columns = Columns([one["partition"] for one in partitions])
    parts = [text(LEFT - 12, 62, name, "end"), text(LEFT - 12, 18, most, "end", "tick")]
    for at, (one, found) in enumerate(zip(partitions, values, strict=True)):
        told = ", ".join(f"{route} {say(found[route])}" for route in order if found.get(route))
        told = told or ("nothing published" if of == "partition" else "nothing")
        drawn, below = [tag("title", f"{wording.partition(one['partition'])}: {told}")], 104.0
        for number, route in enumerate(order):
            height = 96 * max(found.get(route, 0.0), 0.0) / top
            if height:
                below -= height
                place = {"x": columns.left(at) + 0.5, "y": below, "width": max(columns.step - 1, 1.0), "height": height}
                drawn.append(tag("rect", **place, class_=f"c{min(number, COLOURS - 1)}"))
        parts.append(tag("g", *drawn))
    parts.append(columns.ticks(122))
    return svg(WIDTH, 128, f"{name} over {wording.plural(len(partitions), of)}", *parts)


def heat(features: Sequence[str], partitions: Partitions, console: str) -> Markup:
    """Features by partitions: the darker the farther from training, red with a point where it drifted; a column is a link."""
    columns = Columns([one["partition"] for one in partitions])
    row = 18.0
    parts = [
        tag("text", tag("title", name), short(name, 26), x=float(LEFT - 12), y=row * at + 13.5, text_anchor="end")
        for at, name in enumerate(features)
    ]
    for at, one in enumerate(partitions):
        left, width = columns.left(at), max(columns.step - 1.0, 1.0)
        where = f"{wording.partition(one['partition'])}, version {one['version']}"
        drawn = [tag("rect", x=left, y=0.0, width=width, height=row * len(features), class_="hit")]
        for number, name in enumerate(features):
            effect, drifted = one["effects"].get(name, (None, False))
            if effect is None:
                continue
            said = f"{name}, {where}: {effect:.2f} x ordinary{', drifted' if drifted else ''}"
            shade = "bad" if drifted else f"h{min(int(effect * SHADES), SHADES)}"
            cell = {"x": left, "y": row * number + 0.5, "width": width, "height": row - 1.0}
            drawn.append(tag("rect", tag("title", said), **cell, class_=shade))
            if drifted:
                drawn.append(tag("circle", cx=left + width / 2, cy=row * number + row / 2, r=2.0, class_="mark"))
        said = (
            f"{where}: {', '.join(one['drifted']) + ' drifted' if one['drifted'] else one['verdict'].replace('_', ' ')}"
        )
        last = at == len(partitions) - 1  # arrow keys lead to the others
        link = {"href": f"{console}/pages/{quote(one['page'])}", "tabindex": 0 if last else -1} if one["page"] else {}
        parts.append(
            tag("a" if link else "g", *drawn, aria_label=f"{said}{'. Opens the report' if link else ''}", **link)
        )
    parts.append(columns.ticks(row * len(features) + 16))
    label = f"Drift of {len(features)} features over {len(partitions)} partitions; arrow keys go from report to report"
    return svg(WIDTH, row * len(features) + 22, label, *parts, class_="chart heat", role="group")


def calibration(bins: Sequence[Sequence[float]]) -> Markup:
    """What was said against what came true, a point a bin; on the diagonal both agree."""
    edge, inner = 44.0, SIDE - 60.0
    x, y = (lambda share: edge + inner * share), (lambda share: 12 + inner * (1 - share))
    parts = [tag("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="reference")]
    parts += [tag("rect", x=x(0), y=y(1), width=inner, height=inner, class_="frame")]
    for share in (0.0, 0.5, 1.0):
        parts.append(text(x(share), y(0) + 16, f"{share:.0%}", "middle", "tick"))
        parts.append(text(x(0) - 6, y(share) + 4, f"{share:.0%}", "end", "tick"))
    most = max(rows for *_, rows in bins)
    for _, said, true, rows in bins:
        told = f"said {said / rows:.1%}, came true {true / rows:.1%}, {int(rows):,} rows"
        point = {"cx": x(said / rows), "cy": y(true / rows), "r": 3 + 5 * (rows / most) ** 0.5}
        parts.append(tag("circle", tag("title", told), **point, class_="point"))
    parts += [text(x(1) - 6, y(0) - 6, "said", "end", "tick"), text(x(0) + 6, y(1) + 14, "came true", class_="tick")]
    return svg(
        SIDE,
        SIDE,
        f"Calibration: {len(bins)} bins of what was said against what came true",
        *parts,
        class_="chart square",
    )


_AMOUNTS: dict[str, tuple[str, Any]] = {"cost": ("dollars", wording.figure), "rows": ("rows", wording.count)}


def used(columns: Partitions, order: Sequence[str], what: str, of: str = "day") -> Markup:
    """What each day or month used, an asset or a version a colour; the highest column is the picture's height.

    Args:
        columns: under `of` the day (YYYY-MM-DD) or month (YYYY-MM), and amounts by asset or version under `what`: cost or rows.
    """
    top = max((sum(one[what].values()) for one in columns), default=0.0)
    if top <= 0:
        return Markup("")
    name, say = _AMOUNTS[what]
    named = [{"partition": wording.day(one[of]) if of == "day" else one[of]} for one in columns]
    return _stacked(named, order, [one[what] for one in columns], top, name, say, say(top), of)
