"""`baton grants`: who may do what on which asset, given by its owner or deputy, until a day."""

from datetime import date
from typing import Annotated

import typer

from baton.actions import promotions
from baton.cli.actions import person
from baton.cli.output import Json, as_json, plural, table
from baton.errors import BatonError
from baton.governance import duties
from baton.governance.assets import find
from baton.record import warehouse

app = typer.Typer(help="Duties on assets: who may approve, audit, ...", no_args_is_help=True)
AssetArgument = Annotated[str, typer.Argument(help="Such as model:card_fraud, or contract:PACK/NAME.")]
Reason = Annotated[str, typer.Option(help="Why; goes on record.")]


def register(into: typer.Typer) -> None:
    """Add the commands."""
    into.add_typer(app, name="grants")


@app.command()
def give(
    asset: AssetArgument,
    duty: Annotated[
        str, typer.Argument(help="One that is asked for on such an asset: read, approve, modify, activate, audit.")
    ],
    to: Annotated[str, typer.Argument(help="What they log in with.")],
    until: Annotated[str, typer.Option(help="Last day, such as 2027-06-30.")],
    reason: Reason,
) -> None:
    """Give somebody a duty on an asset; its owner and deputy may. From then on the duty is theirs and of those who were given it."""
    try:
        day = date.fromisoformat(until)
    except ValueError:
        raise BatonError(f"--until {until}: write a day such as 2027-06-30") from None
    who = person()
    made = warehouse.transact(lambda conn: promotions.grant(conn, asset, duty, to, duties.Who(who.id), day, reason))
    waits = "" if made.agreed_at else ", once somebody else agreed (`baton actions list`)"
    print(f"grant {made.id}: {made.person} may {made.duty} {made.asset} until the end of {until}{waits}")


@app.command()
def end(number: Annotated[int, typer.Argument(help="From `baton grants list`.")], reason: Reason) -> None:
    """End a grant now; its asset's owner and deputy may, and whoever has it."""
    who = person()
    warehouse.transact(lambda conn: promotions.end_grant(conn, number, duties.Who(who.id), reason))
    print(f"grant {number}: ended")


def _unasked(one: duties.Grant) -> str:
    return "" if one.duty in duties.asked_on(one.asset.partition(":")[0]) else " (nothing asks for it)"


@app.command("list")
def list_(
    asset: Annotated[str | None, typer.Argument(help="Only of this asset, also what is over.")] = None,
    json: Json = False,
) -> None:
    """List grants that are good now; of one asset, all."""
    with warehouse.read() as conn:
        found = duties.of_asset(conn, find(asset).id) if asset else duties.in_force(conn)
    if json:
        for one in found:
            print(as_json(vars(one)))
        return
    rows = [
        [
            str(one.id),
            one.asset,
            one.duty + _unasked(one),
            one.person,
            one.given_by,
            one.valid_to[:10],
            (one.agreed_at or "waits")[:19],
            (one.ended_at or "")[:19],
        ]
        for one in found
    ]
    table(["number", "asset", "duty", "person", "given by", "good before", "in force since", "ended"], rows)
    print(plural(len(found), "grant", "grants"))
