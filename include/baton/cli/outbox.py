"""`baton outbox`: what is not delivered yet, and a person's word on what is in doubt. Payloads are not shown."""

import getpass
from typing import Annotated

import typer

from baton.cli.output import Json, as_json, partition_key, plural
from baton.effects import outbox
from baton.effects.delivery import decide

app = typer.Typer(help="Effects outside Baton: orders and mails.", no_args_is_help=True)


@app.command("list")
def list_(
    flow: Annotated[str, typer.Argument(help="Flow, e.g. document_intake.")],
    partition: Annotated[str | None, typer.Option(help="Only of this partition.", callback=partition_key)] = None,
    all_: Annotated[bool, typer.Option("--all", help="Also what is sent or withdrawn.")] = False,
    json: Json = False,
) -> None:
    """List effects that are not delivered, with the reason."""
    found = [one for one in outbox.effects(flow, partition) if all_ or one.state in (*outbox.OPEN, *outbox.HELD)]
    if json:
        for one in found:
            shown = ("key", "flow", "partition", "entity_key", "kind", "state", "attempts", "error")
            print(as_json({name: getattr(one, name) for name in shown}))
        return
    for one in found:  # no table: it would cut the keys
        print(f"{one.state}  {one.kind}  {one.partition}  {one.entity_key}\n    {one.key}")
        if one.error:
            print(f"    {one.error}")
    print(plural(len(found), "effect", "effects"))


@app.command()
def settle(
    key: Annotated[str, typer.Argument(help="Key of the effect, from `baton outbox list`.")],
    arrived: Annotated[bool, typer.Option("--arrived/--send-again", help="What you found at the other side.")],
    actor: Annotated[str | None, typer.Option(help="Who looked, for the record.")] = None,
) -> None:
    """Say whether an effect in doubt arrived; it goes on the ledger with your name."""
    effect = decide(key, arrived, actor or getpass.getuser())
    then = "it is never sent again" if arrived else "the next run of the task that delivers sends it"
    print(f"{effect.subject}: on record as {'arrived' if arrived else 'not arrived'}; {then}")
