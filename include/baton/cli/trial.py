"""`baton try`: how good would a model be, without services."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from baton.cli.output import Json, as_json, bar, table
from baton.files import place
from baton.settings import settings


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("try")(try_model)


def try_model(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    rows: Annotated[
        int | None, typer.Option(help="About so many rows at most, whole series; default all.", min=1)
    ] = None,
    grid: Annotated[
        Path | None,
        typer.Option(
            help="YAML with parameters to search; the how-to of models shows one.", exists=True, dir_okay=False
        ),
    ] = None,
    holdout: Annotated[
        Path | None,
        typer.Option(help="File of rows with their truth to measure the winner on.", exists=True, dir_okay=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the page goes; default the reports folder.")] = None,
    json: Json = False,
) -> None:
    """Try a model's candidates on the rows known by now: leaderboard here, pictures in one HTML file; registers nothing."""
    from baton.lifecycle.trial import attempt
    from baton.lifecycle.trial_page import page
    from baton.packs.policy_file import read_policy
    from baton.specs.model import GridSpec

    wanted = None if grid is None else read_policy(grid, GridSpec)
    with bar(sys.stderr):
        trial = attempt(model, rows=rows, holdout=holdout, grid=wanted)
    path = out or settings().reports_dir / "trials" / f"{model}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    place(path, page(trial), replace=True)
    if json:
        print(as_json({
            "model": model, "rows": trial.rows, "rejected": trial.rejected, "best": trial.board.best, "metric": trial.board.metric,
            "candidates": trial.table, "metrics": trial.metrics, "better": trial.better, "page": str(path),
        }))  # fmt: skip
        return
    metrics = sorted(
        {name for row in trial.table.values() for name in row}, key=lambda name: name != trial.board.metric
    )
    table(
        ["candidate", *metrics, "spread", "seconds", ""],
        [
            [str(row["candidate"]), *(_number(trial.table[str(row["candidate"])].get(name)) for name in metrics),
             _number(row["spread"]), f"{row['seconds']:.1f}", row["error"] or ""]
            for row in trial.board.rows
        ],
    )  # fmt: skip
    for name, params in trial.better.items():
        print(f"better parameters of {name}: {{{', '.join(f'{key}: {value}' for key, value in params.items())}}}")
    unseen = ", ".join(f"{name} {_number(value)}" for name, value in trial.metrics.items())
    print(f"{trial.board.best} on rows that it did not see: {unseen or 'nobody knows their truth'}")
    print(f"pictures: {path}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
