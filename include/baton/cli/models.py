"""`baton rollback`, `baton trace`, `baton predictions`: what concerns models and the decisions made with them."""

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from baton.cli.output import Json, as_json, bar, plural, table
from baton.packs.pack import find_model
from baton.record import ledger


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(rollback)
    app.command()(trace)
    app.command()(predictions)


def rollback(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    reason: Annotated[str, typer.Option(help="Why; goes into the ledger.")],
    to: Annotated[int | None, typer.Option(help="The version, if not the one before: also one that was left.")] = None,
) -> None:
    """Make the previous champion the champion again; the next batch scores with it."""
    from baton.registry.client import ALIAS_MOVED, Registry

    if not ledger.entries(subject=model, kind=ALIAS_MOVED, limit=1):
        find_model(model)  # says which there are
    version = Registry().rollback(model, to, actor=getpass.getuser(), reason=reason)
    print(f"{model}: version {version} is champion again")


def trace(
    entity: Annotated[str, typer.Argument(help="Key of the entity, for example a transaction_id.")],
    flow: Annotated[str | None, typer.Option(help="DAG id, when several flows know the key.")] = None,
    json: Json = False,
) -> None:
    """Show why: source row, contract, model version, gate, approver, decision, case, labels."""
    from baton.console.queries.trace import trace as find

    steps = find(entity, flow)
    if json:
        for step in steps:
            print(as_json(step))
        return
    table(["what", ""], [[step.what, step.says] for step in steps])


def predictions(
    file: Annotated[Path, typer.Argument(help="A new file, .csv or .parquet.")],
    flow: Annotated[str, typer.Option(help="DAG id of the flow that published them.")],
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="First partition; default the first there is.")] = None,
    last: Annotated[str | None, typer.Option("--until", help="Last partition; default the last there is.")] = None,
) -> None:
    """Export published predictions, partition by partition."""
    from baton.console.queries.predictions import export

    with bar(sys.stderr):
        count = export(file, flow, model, first, last)
    print(f"{file}: {plural(count, 'prediction', 'predictions')}")
