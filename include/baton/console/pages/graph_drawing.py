"""A graph of things and how they hang together, as a picture: a column a kind, a line an edge."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from baton.console.pages.drawing import short, svg, tag, text

BOX, HEIGHT, GAP, BETWEEN, HEAD = 220.0, 24.0, 6.0, 110.0, 26.0
LONGEST = 28  # characters of a name
WIDE = 1180.0  # as the style sheet's widest: a picture of few columns is not blown up


def draw(graph: Mapping[str, Sequence[Mapping[str, str]]]) -> Markup:
    """Nodes by kind from left to right, in the order in which kinds come; what an edge means is its title."""
    columns: dict[str, list[Mapping[str, str]]] = {}
    for node in graph["nodes"]:
        columns.setdefault(node["kind"], []).append(node)
    tallest = max((len(nodes) for nodes in columns.values()), default=0) * (HEIGHT + GAP)
    places: dict[str, tuple[float, float]] = {}
    drawn: list[Markup] = []
    for number, (kind, nodes) in enumerate(columns.items()):
        x, top = number * (BOX + BETWEEN) + 2, HEAD + (tallest - len(nodes) * (HEIGHT + GAP)) / 2
        drawn.append(text(x + BOX / 2, 16, kind.replace("_", " "), "middle", "tick"))
        for at, node in enumerate(nodes):
            places[node["id"]] = (x, top + at * (HEIGHT + GAP))
            drawn.append(_node(node, *places[node["id"]]))
    lines = [_edge(places[edge["from"]], places[edge["to"]], edge["text"]) for edge in graph["edges"]]
    width = max(len(columns) * (BOX + BETWEEN) - BETWEEN + 4, WIDE)
    return svg(width, HEAD + tallest, _in_words(graph), *lines, *drawn, class_="chart graph")


def _in_words(graph: Mapping[str, Sequence[Mapping[str, str]]]) -> str:
    """What the picture says, for those who do not see it."""
    names = {node["id"]: node["label"] for node in graph["nodes"]}
    lines = [f"{names[edge['from']]} {edge['text'] or 'to'} {names[edge['to']]}" for edge in graph["edges"]]
    return "; ".join(lines) or ", ".join(names.values()) or "an empty graph"


def _node(node: Mapping[str, str], x: float, y: float) -> Markup:
    return tag(
        "g",
        tag("title", f"{node['kind']} {node['label']}"),
        tag("rect", x=x, y=y, width=BOX, height=HEIGHT, rx=5, class_="box"),
        tag("rect", x=x, y=y, width=5.0, height=HEIGHT, rx=2, class_=f"edge-{node['state']}"),
        text(x + 14, y + 17, short(node["label"], LONGEST)),
    )


def _edge(start: tuple[float, float], end: tuple[float, float], said: str) -> Markup:
    """From one box to the other; within a column round its right side."""
    if start[0] == end[0]:
        x, y, below = start[0] + BOX, start[1] + HEIGHT / 2, end[1] + HEIGHT / 2
        path = f"M{x:.0f} {y:.0f}C{x + 50:.0f} {y:.0f} {x + 50:.0f} {below:.0f} {x:.0f} {below:.0f}"
    else:
        left, right = sorted((start, end))
        (x, y), (to, below) = (left[0] + BOX, left[1] + HEIGHT / 2), (right[0], right[1] + HEIGHT / 2)
        middle = (x + to) / 2
        path = f"M{x:.0f} {y:.0f}C{middle:.0f} {y:.0f} {middle:.0f} {below:.0f} {to:.0f} {below:.0f}"
    return tag("path", tag("title", said), d=path, class_="edge")
