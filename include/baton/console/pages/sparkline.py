"""A metric over partitions as a small inline SVG: no script, no colour of its own beyond the page's classes."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT, EDGE = 168, 40, 4


@dataclass(frozen=True)
class Point:
    """One partition: its value (None where it could not be measured) and whether it counts as a loss."""

    label: str
    value: float | None
    bad: bool = False


def sparkline(points: Sequence[Point], reference: float | None = None, name: str = "metric") -> Markup:
    """Draw values as a line with a dot for the last and for every bad one; the dashed line is the reference.

    Returns:
        an `<svg>` element; empty when no point has a value.
    """
    known = [(index, point) for index, point in enumerate(points) if point.value is not None]
    if not known:
        return Markup("")
    values = [point.value for _, point in known if point.value is not None]
    low, high = min([*values, reference or values[0]]), max([*values, reference or values[0]])
    span = max(high - low, 0.02)  # differences that say nothing must not fill the picture

    def x(index: int) -> float:
        return EDGE + (WIDTH - 2 * EDGE) * (index / max(len(points) - 1, 1))

    def y(value: float) -> float:
        return HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * ((value - low) / span)

    line = " ".join(f"{x(i):.1f},{y(p.value or 0.0):.1f}" for i, p in known)
    parts = []
    if reference is not None:
        parts.append(f'<line class="reference" x1="0" x2="{WIDTH}" y1="{y(reference):.1f}" y2="{y(reference):.1f}"/>')
    parts.append(f'<polyline points="{line}"/>')
    for index, point in known:
        last = index == known[-1][0]
        if point.bad or last:
            kind = "bad" if point.bad else "last"
            parts.append(f'<circle class="{kind}" cx="{x(index):.1f}" cy="{y(point.value or 0.0):.1f}" r="3"/>')
    first, latest = known[0][1], known[-1][1]
    text = f"{name} from {first.value:.3f} ({first.label}) to {latest.value:.3f} ({latest.label})"
    if reference is not None:
        text += f"; at promotion {reference:.3f}"
    return Markup(  # noqa: S704 - numbers and one escaped text
        f'<svg class="spark" role="img" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"<title>{escape(text)}</title>{''.join(parts)}</svg>"
    )
