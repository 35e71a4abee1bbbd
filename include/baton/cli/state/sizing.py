"""`baton sizing`."""

from pathlib import Path
from typing import Annotated

import typer

from baton.cli.output import Json, as_json, table


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(sizing)


def sizing(
    rows_per_day: Annotated[float, typer.Option(help="Rows a day; 1e9 is a billion.", min=1)],
    columns: Annotated[int, typer.Option(help="Columns of a row.", min=1)] = 30,
    models: Annotated[int, typer.Option(help="Models that score each row.", min=0)] = 2,
    partitions_per_day: Annotated[int, typer.Option(help="24: hourly.", min=1)] = 24,
    peak: Annotated[float, typer.Option(help="Rows of the busiest hour over those of the mean one.", min=1)] = 3.0,
    days_kept: Annotated[float, typer.Option(help="Days that datasets and published rows stay.", min=0)] = 30.0,
    cases: Annotated[float, typer.Option(help="Share of the rows that open a case.", min=0, max=1)] = 0.001,
    bad: Annotated[float, typer.Option(help="Share of the rows that go to quarantine.", min=0, max=1)] = 0.001,
    cores: Annotated[int, typer.Option(help="Cores of a worker.", min=1)] = 4,
    store_mb: Annotated[
        float, typer.Option("--store-mb-per-second", help="What the store gives and takes in a second.", min=1)
    ] = 1000.0,
    prices: Annotated[Path | None, typer.Option(help="Your price table; without it, round figures.")] = None,
    rates: Annotated[Path | None, typer.Option(help="Rates of your own machine, by `make bench NAME=sizing`.")] = None,
    json: Json = False,
) -> None:
    """Say what so many rows a day ask for: workers, store, database, what gives way next, and cost. Nothing is touched."""
    from baton.settings import settings
    from baton.sizing import rates as files
    from baton.sizing.estimate import Load, Machines, estimate

    load = Load(rows_per_day, columns, models, partitions_per_day, peak, days_kept, cases, bad)
    machines = Machines(cores, store=store_mb * 1e6, frame_rows=settings().max_frame_rows)
    measured, priced = files.read(files.Rates, rates or files.RATES), files.read(files.Prices, prices or files.PRICES)
    found = estimate(load, machines, measured, priced)
    if json:
        print(as_json(found))
        return
    table(
        ["stage", "core hours a day", "tasks a day", "longest task at the peak", "GB a day into the store"],
        [
            [f"{one.stage} x {one.times}", f"{one.core_seconds / 3600:,.1f}", f"{one.tasks:,}", f"{one.longest:,.0f} s",
             f"{one.written / 1e9:,.1f}"]
            for one in found.stages
        ],
    )  # fmt: skip
    print(f"\nworkers of {cores} cores: {found.workers:,} ({found.cores:,.1f} cores busy at the peak)")
    print(
        f"store: {found.store / 1e12:,.2f} TB kept; {found.written / 1e6:,.0f} MB/s in, {found.read / 1e6:,.0f} MB/s out at the peak"
    )
    print(f"warehouse: {found.database / 1e9:,.1f} GB; tasks a day: {found.tasks:,}\n")
    table(
        ["what more workers do not widen", "used", "full at rows a day", "then"],
        [[one.what, f"{one.share:.1%}", f"{rows_per_day / one.share:,.0f}", one.remedy] for one in found.limits],
    )
    items = ", ".join(f"{name} {amount:,.0f}" for name, amount in found.cost.items())
    print(f"\na month: {sum(found.cost.values()):,.0f} {priced.currency} ({items}); rates: {measured.measured}")
    if found.limits[0].share > 1:
        print(
            f"as it is, this does not work: {found.limits[0].what} is {found.limits[0].share:.1f} times full; {found.limits[0].remedy}"
        )
