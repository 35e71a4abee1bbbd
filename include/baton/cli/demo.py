"""`baton demo`: the real services, every pack's story, one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(demo)


def demo(
    systems: Annotated[list[str] | None, typer.Argument(help="Whose stories are told; default all.")] = None,
) -> None:
    """Play a system's story on the started services and show what happened; an earlier demo's state is moved aside."""
    from rich.console import Console

    from baton.demo.story import play

    console = Console()
    if not console.is_terminal:
        console = Console(width=140)  # a file or a pipe has no width of its own
    summary = play(lambda line: console.print(line, highlight=False), _progress(console), systems or ())
    for name, story in summary["packs"].items():
        _show(console, name, story)
    total = summary["seconds"]["total"]
    parts = ", ".join(f"{part} {seconds:g} s" for part, seconds in summary["seconds"].items() if part != "total")
    console.print(
        f"\nledger: {summary['ledger']['records']} records, verified. {total:g} s in all: {parts}.", highlight=False
    )
    console.print("`make up` shows all of this in Airflow and MLflow and goes on by schedule.", highlight=False)


def _progress(console: Console) -> Callable[[str, int], Any]:
    @contextmanager
    def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bars:
            bar = bars.add_task(title, total=total)
            yield lambda done: bars.update(bar, completed=done)

    return progress


def _show(console: Console, name: str, story: dict[str, Any]) -> None:
    """What the story of a pack's demo makes of its summary: tables and sentences."""
    from rich.table import Table

    from baton.demo.story import stories

    console.print(f"\n[bold]{name}[/bold]: {story['data']}", highlight=False)
    for part in stories()[name].show(story):
        if isinstance(part, str):
            console.print(part, highlight=False)
            continue
        drawn = Table(*part["columns"], box=None, header_style="bold", pad_edge=False)
        for row in part["rows"]:
            drawn.add_row(*row)
        if "sums" in part:
            drawn.add_row(*part["sums"], style="bold")
        console.print(drawn)
