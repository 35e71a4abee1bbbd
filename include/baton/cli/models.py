"""`baton rollback`, `baton trace`: what concerns models and the decisions made with them."""

import getpass
from typing import Annotated

import typer

from baton.cli.output import as_json, table


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(rollback)
    app.command()(trace)


def rollback(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    reason: Annotated[str, typer.Option(help="Why; goes into the ledger.")],
) -> None:
    """Make the previous champion the champion again; the next batch scores with it."""
    from baton.registry.client import Registry

    version = Registry().rollback(model, actor=getpass.getuser(), reason=reason)
    print(f"{model}: version {version} is champion again")


def trace(
    entity: Annotated[str, typer.Argument(help="Key of the entity, for example a transaction_id.")],
    flow: Annotated[str | None, typer.Option(help="DAG id, when several flows know the key.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with all facts.")] = False,
) -> None:
    """Show why: source row, contract, model version, gate, approver, decision, case, labels."""
    from baton.console.queries.trace import trace as find

    steps = find(entity, flow)
    if json:
        for step in steps:
            print(as_json(step))
        return
    table(["what", ""], [[step.what, step.says] for step in steps])
