"""The orchestra as a picture: a band a pack; sources left, flows in the middle, models and effects right."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from baton.console.pages.drawing import short, svg, tag, text

BOX, HEIGHT, GAP = 300.0, 46.0, 12.0  # of a part
COLUMNS = {"source": 0.0, "flow": 440.0, "model": 880.0, "effect": 880.0}  # where each kind begins
WIDTH = 1208.0
HEAD = 34.0  # above the parts of a band
LONGEST_NAME, LONGEST_STATE = 32, 45  # characters

Drawn = Mapping[str, Any]


def draw(packs: Mapping[str, Sequence[Drawn]], edges: Sequence[Sequence[str]], console: str, airflow: str) -> Markup:
    """The whole map; each part is a link to where it is looked at."""
    places: dict[str, tuple[float, float]] = {}
    bands, top = [], 0.0
    for name, nodes in packs.items():
        height = _place(nodes, edges, top + HEAD, places)
        bands.append(tag("rect", x=0.0, y=top, width=WIDTH, height=height + HEAD + GAP, rx=6, class_="band"))
        bands.append(text(14, top + 22, name.replace("_", " "), class_="pack"))
        top += height + HEAD + 2 * GAP
    lines = [_line(places[one], places[other], what) for one, other, what in edges if one in places and other in places]
    parts = [_part(node, places[node["key"]], console, airflow) for nodes in packs.values() for node in nodes]
    return svg(
        WIDTH,
        top,
        "Map of sources, flows, models and effects",
        *bands,
        *lines,
        *parts,
        class_="chart map",
        role="group",
    )


def _place(
    nodes: Sequence[Drawn], edges: Sequence[Sequence[str]], top: float, places: dict[str, tuple[float, float]]
) -> float:
    """Give each part of a pack its place, beside the flows that it belongs to; returns the band's height."""
    columns: dict[float, list[Drawn]] = {0.0: [], 440.0: [], 880.0: []}
    for node in nodes:
        columns[COLUMNS[node["kind"]]].append(node)
    # the flows that most hangs on stand above those that only hand labels on
    columns[440.0].sort(key=lambda node: (-sum(node["key"] in edge[:2] for edge in edges), node["name"]))
    flows = {node["key"]: number for number, node in enumerate(columns[440.0])}

    def order(node: Drawn) -> tuple[float, bool]:
        near = [flows[end] for edge in edges if node["key"] in edge[:2] for end in edge[:2] if end in flows]
        return (sum(near) / len(near) if near else len(flows)), node["kind"] == "effect"

    height = max(map(len, columns.values())) * (HEIGHT + GAP) - GAP
    for left, column in columns.items():
        used = len(column) * (HEIGHT + GAP) - GAP
        for number, node in enumerate(column if left == 440.0 else sorted(column, key=order)):
            places[node["key"]] = (left + 14, top + (height - used) / 2 + number * (HEIGHT + GAP))
    return height


def _line(start: tuple[float, float], end: tuple[float, float], what: str) -> Markup:
    """From the right edge of one part to the left edge of the other."""
    (x, y), (to, below) = (start[0] + BOX, start[1] + HEIGHT / 2), (end[0], end[1] + HEIGHT / 2)
    if to < x:  # the same column: round the right side
        to = end[0] + BOX
        path = f"M{x:.0f} {y:.0f}C{x + 60:.0f} {y:.0f} {x + 60:.0f} {below:.0f} {to:.0f} {below:.0f}"
    else:
        middle = (x + to) / 2
        path = f"M{x:.0f} {y:.0f}C{middle:.0f} {y:.0f} {middle:.0f} {below:.0f} {to:.0f} {below:.0f}"
    return tag("path", tag("title", what), d=path, class_=f"edge {what}")


def _part(node: Drawn, place: tuple[float, float], console: str, airflow: str) -> Markup:
    """A box with its name and what it says of today."""
    x, y = place
    says = " · ".join(node["says"])
    drawn = [
        tag("title", f"{node['kind']} {node['name']}: {says}"),
        tag("rect", x=x, y=y, width=BOX, height=HEIGHT, rx=5, class_=f"box {node['kind']}"),
        tag("rect", x=x, y=y, width=5.0, height=HEIGHT, rx=2, class_=f"edge-{node['state'] or 'none'}"),
        text(x + 16, y + 19, short(node["name"], LONGEST_NAME)),
        text(x + 16, y + 37, short(says, LONGEST_STATE), class_=f"tick {node['state']}"),
        text(x + BOX - 10, y + 19, node["kind"], "end", "tick"),
    ]
    href = f"{console if node['inside'] else airflow}{node['page']}"
    return tag(
        "a",
        *drawn,
        href=href,
        data_out=None if node["inside"] else "ui",
        aria_label=f"{node['kind']} {node['name']}: {says}",
    )
