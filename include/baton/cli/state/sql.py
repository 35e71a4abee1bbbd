"""`baton sql`."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from baton.cli.output import Json, as_json, partition_key, table


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(sql)


def sql(
    question: Annotated[str, typer.Argument(help="One SELECT over predictions, decisions, labels, cases.")],
    as_of: Annotated[str | None, typer.Option(help="What was published at this moment, UTC: 2026-11-20T09:30.")] = None,
    flow: Annotated[str | None, typer.Option(help="Read this flow only.")] = None,
    first: Annotated[
        str | None, typer.Option("--from", help="First partition that is read.", callback=partition_key)
    ] = None,
    last: Annotated[
        str | None, typer.Option("--until", help="Last partition that is read.", callback=partition_key)
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows of the answer at most.", min=1)] = 1000,
    seconds: Annotated[float, typer.Option(help="Time for the answer at most.", min=0.1)] = 60.0,
    memory: Annotated[int, typer.Option(help="Megabytes at most; beyond, it uses the disk.", min=64)] = 512,
    personal: Annotated[bool, typer.Option("--personal", help="Show what may name people; goes on record.")] = False,
    json: Json = False,
) -> None:
    """Response a question in SQL over what was published; read-only, bounded in memory and time."""
    from baton.analysis.sql import Allowance, ask
    from baton.analysis.views import Extent

    bounds = Extent(flow, first, last, _moment(as_of), personal)
    found = ask(question, bounds, Allowance(memory * 1_000_000, seconds, rows))
    if json:
        for row in found.rows:
            print(as_json(dict(zip(found.columns, row, strict=True))))
    else:
        table(found.columns, [["" if cell is None else str(cell) for cell in row] for row in found.rows])
    notes = [*found.notes, f"only the first {rows:,} rows; --rows shows more"] if found.more else found.notes
    for note in notes:
        print(note, file=sys.stderr)


def _moment(text: str | None) -> str | None:
    """A moment as the warehouse writes it. Exit code 2: it is none."""
    from baton.record.warehouse import stamp

    if text is None:
        return None
    try:
        given = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"--as-of {text}: expected a moment such as 2026-11-20T09:30:00Z") from error
    return stamp(given.replace(tzinfo=given.tzinfo or UTC).astimezone(UTC))
