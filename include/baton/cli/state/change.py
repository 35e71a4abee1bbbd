"""`baton change`: which files of the packs are not those that people agreed to, and asking people about one."""

from typing import Annotated

import typer

from baton.actions import changes
from baton.cli.actions import person
from baton.cli.output import Json, as_json, plural, table
from baton.governance import content

app = typer.Typer(help="Changes of contracts, prompts, agents and rules of a pack.", no_args_is_help=True)


def register(into: typer.Typer) -> None:
    """Add the commands."""
    into.add_typer(app, name="change")


@app.command("list")
def list_(json: Json = False) -> None:
    """List files that say something else than what is in force, are gone or are new; a stage that works by one fails."""
    found = changes.pending()
    if json:
        for asset, before, now in found:
            print(as_json({"asset": asset, "in_force": before, "file": now}))
        return
    table(["asset", "in force", "file"], [[asset, *map(_short, digests)] for asset, *digests in found])
    print(plural(len(found), "file differs", "files differ"))


def _short(digest: str) -> str:
    return "not there" if digest == content.GONE.digest else digest[:16]


@app.command()
def ask(
    asset: Annotated[str, typer.Argument(help="Such as contract:PACK/NAME, from `baton change list`.")],
    reason: Annotated[str, typer.Option(help="Why; shown to those who have to agree, and on record.")] = "",
) -> None:
    """Ask people to agree to what the asset's file says now, or that it is gone; whoever asks is not among them."""
    asked = changes.ask(asset, person().id, reason)
    print(
        f"request {asked.id}: {asked.target} waits for {plural(asked.needs, 'person', 'people')} to agree, until "
        f"{asked.expires_at[:19]}; see the page Actions, or `baton actions show {asked.id}`"
    )
