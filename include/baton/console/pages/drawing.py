"""Inline SVG: elements whose texts are escaped, and the scale that charts of partitions share. Colours are the style sheet's."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from baton.console import wording

WIDTH, LEFT, RIGHT = 1200, 190, 14  # of a chart over partitions, in its own units
TICKS = 8  # labels below such a chart


def tag(element: str, *inside: Any, **attributes: Any) -> Markup:
    """An element; `class_` is `class`, `stroke_width` is `stroke-width`; an attribute that is None is left out."""
    written = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), f"{value:.1f}" if isinstance(value, float) else value)
        for name, value in attributes.items() if value is not None
    )  # fmt: skip
    return Markup("<{}{}>{}</{}>").format(element, written, Markup("").join(map(escape, inside)), element)


def svg(width: float, height: float, label: str, *inside: Any, class_: str = "chart", role: str = "img") -> Markup:
    """A picture, said in words by `label`; `role` is `group` where there are links in it."""
    box = f"0 0 {width:g} {height:g}"
    return tag("svg", *inside, class_=class_, role=role, viewBox=box, aria_label=label)


def text(x: float, y: float, said: str, anchor: str | None = None, class_: str | None = None) -> Markup:
    """A text at a place; `anchor`: start, middle, end."""
    return tag("text", said, x=float(x), y=float(y), text_anchor=anchor, class_=class_)


def short(said: str, longest: int) -> str:
    """A text that fits; the whole one belongs into the element's title."""
    return said if len(said) <= longest else f"{said[: longest - 1]}…"


class Columns:
    """The partitions of a chart from left to right, one column each."""

    def __init__(self, partitions: Sequence[str]) -> None:
        self.partitions = partitions
        self.step = (WIDTH - LEFT - RIGHT) / max(len(partitions), 1)

    def left(self, index: int) -> float:
        """Where a column begins."""
        return LEFT + index * self.step

    def middle(self, index: int) -> float:
        """The middle of a column."""
        return self.left(index) + self.step / 2

    def ticks(self, y: float) -> Markup:
        """Names of some partitions at a height."""
        every = -(-len(self.partitions) // TICKS)
        shown = [at for at in range(len(self.partitions)) if at % every == 0]
        return Markup("").join(
            text(self.middle(at), y, wording.partition(self.partitions[at]), "middle", "tick") for at in shown
        )
