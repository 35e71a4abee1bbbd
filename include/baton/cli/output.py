"""Output of the commands: tables and a progress bar for people, JSON for programs."""

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TextIO

import typer

from baton.data.partitions import read_key
from baton.errors import SourceError
from baton.progress import Pace, Standing, duration, heard_by

_WIDTH = 30  # of the bar, characters


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; says so when it has no rows."""
    from rich.console import Console
    from rich.table import Table

    # a pipe has no width: nothing is cut for it
    console = (
        Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=max(80, _width(headings, rows)))
    )
    if not rows:
        console.print("nothing to show")
        return
    drawn = Table(*headings, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        # cells are data: square brackets in them are no markup
        drawn.add_row(*(cell.replace("[", r"\[") for cell in row))
    console.print(drawn)


def _width(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    columns = zip(headings, *rows, strict=True)
    return sum(max(map(len, column)) + 2 for column in columns)


def as_json(value: Any) -> str:
    """Return `value` (a dataclass or plain data) as one line of JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    return json.dumps(value, default=str, ensure_ascii=False)


Json = Annotated[bool, typer.Option("--json", help="For other programs: JSON, one object a line.")]


def partition_key(text: str | None) -> str | None:
    """A partition that was typed, in its one spelling; what is no time (`history`, `version-3`) as it is. Exit code 2: neither."""
    if text is None or not text[:4].isdigit():
        return text
    try:
        return read_key(text)
    except SourceError as error:
        raise typer.BadParameter(str(error)) from error


def plural(count: int, one: str, many: str) -> str:
    """Return `1 row` or `2 rows`."""
    return f"{count:,} {one if count == 1 else many}"


@contextmanager
def bar(stream: TextIO, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Show how far work inside the block is once it runs for 5 s: a bar on a terminal, elsewhere a line every 10 s."""
    drawn = False

    def draw(standing: Standing) -> None:
        nonlocal drawn
        drawn = True
        full = round(_WIDTH * standing.share) if standing.share is not None else 0
        share = (
            f"{'█' * full}{'░' * (_WIDTH - full)} {standing.share:.0%} ".replace("%", " %") if standing.total else ""
        )
        rest = f", about {duration(standing.left)} left" if standing.left is not None else ""
        stream.write(f"\r\x1b[K{standing.what} {share}{standing.done:,} {standing.unit}{rest}")
        stream.flush()

    def write(standing: Standing) -> None:
        stream.write(f"{standing.sentence()}\n")
        stream.flush()

    with heard_by(Pace(draw, 5.0, 0.5, clock) if stream.isatty() else Pace(write, 10.0, 10.0, clock)):
        try:
            yield
        finally:
            if drawn:
                stream.write("\r\x1b[K")
                stream.flush()
