"""`baton demo`: the real services, every pack's story, one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(demo)


def demo() -> None:
    """Run the main job on real data and show what happened; an earlier demo's state is moved aside first."""
    from rich.console import Console

    from baton.demo import play

    console = Console()
    if not console.is_terminal:
        console = Console(width=140)  # a file or a pipe has no width of its own
    summary = play(lambda line: console.print(line, highlight=False), _progress(console))
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
    """The story's tables: partitions, models, drift, and the figures in one line each."""
    from rich.table import Table

    console.print(f"\n[bold]{name}[/bold]: {story['data']}", highlight=False)
    rows = story["partitions"]
    columns = ("rows_in", "published", "open", "discarded")
    routes = sorted({route for row in rows for route in row["routes"]})
    models = sorted({model for row in rows for model in row["models"]})
    drawn = Table(
        "partition (UTC)",
        *(c.replace("_", " ") for c in columns),
        *routes,
        *models,
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for row in rows:
        counts = [f"{row[c]:,}" for c in columns] + [f"{row['routes'].get(r, 0):,}" for r in routes]
        drawn.add_row(row["partition"][:16].replace("T", " "), *counts, *[f"v{row['models'][m]}" for m in models])
    sums = [f"{sum(row[c] for row in rows):,}" for c in columns] + [
        f"{sum(row['routes'].get(r, 0) for row in rows):,}" for r in routes
    ]
    drawn.add_row("all", *sums, *[""] * len(models), style="bold")
    console.print(drawn)
    metric = ", ".join(f"{when} {value:.3f}" for when, value in story["average_precision"].items())
    console.print(f"average precision: {metric}", highlight=False)
    for model in story["models"]:
        console.print(
            f"model {model['model']} version {model['version']} {' '.join(model['aliases'])}", highlight=False
        )
    for window in story["drift"]:
        if window["features"]:
            moved = ", ".join(f"{feature} {effect:g}" for feature, effect in list(window["features"].items())[:6])
            console.print(
                f"drift in {window['partition']} (against version {window['version']}): {moved}", highlight=False
            )
    console.print(
        "cases: " + ", ".join(f"{number} {status}" for status, number in story["cases"].items()), highlight=False
    )
