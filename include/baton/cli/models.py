"""`baton rollback`, `baton trace`, `baton predictions`: what concerns models and the decisions made with them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from baton.actions.assets import LOOK_HOURS
from baton.actions.votes import Voter, flaw
from baton.cli.actions import person
from baton.cli.output import Json, as_json, bar, plural, table
from baton.errors import BatonError
from baton.packs.pack import find_model
from baton.record import ledger
from baton.settings import SINGLE, settings


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(rollback)
    app.command()(trace)
    app.command()(predictions)


def rollback(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    reason: Annotated[str, typer.Option(help="Why; goes into the ledger.")],
    to: Annotated[int | None, typer.Option(help="The version, if not the one before: also one that was left.")] = None,
    by: Annotated[str, typer.Option(help="Who you are, where many use this account, as in a container.")] = "",
) -> None:
    """Make the previous champion the champion again; the next batch scores with it. Somebody else is asked to look at it."""
    from baton.registry.client import ALIAS_MOVED, Registry

    if not ledger.entries(subject=model, kind=ALIAS_MOVED, limit=1):
        find_model(model)  # says which there are
    actor = _who(by)
    version = Registry().rollback(model, to, actor=actor, reason=reason, report=print)
    print(f"{model}: version {version} is champion again")
    if settings().governance != SINGLE:
        print(f"somebody else looks at it within {LOOK_HOURS} h: `baton actions list`, or Baton's page Actions")


def _who(by: str) -> str:
    """Who rolls back: a person's own account; of an account that is nobody's own, what they say, where it is needed.

    Raises:
        BatonError: another's name is given in an account of one's own, or no person's in one that many use.
    """
    me = person()
    own = not flaw(me, "")
    if by and own and Voter(by).id not in me.names:
        raise BatonError(f"--by {by}: you are logged in as {me.person}; it is for accounts that many use")
    if own or (not by and settings().governance == SINGLE):
        return me.person
    if why := flaw(Voter(by), ""):
        whose = f"the account {me.person} is nobody's own" if me.person else "this account has no name"
        raise BatonError(f"not rolled back: {whose}: say who you are, --by NAME" + (f"; {by}: {why}" if by else ""))
    return by


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
