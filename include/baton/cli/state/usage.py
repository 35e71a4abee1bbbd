"""`baton usage` and `baton budgets`: who used what, and what of it is left."""

from datetime import date
from enum import StrEnum
from typing import Annotated, Any

import typer

from baton.cli.output import Json, as_json, table


class SummedBy(StrEnum):
    """What is summed by."""

    model = "model"
    flow = "flow"
    pack = "pack"
    day = "day"


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(usage)
    app.command()(budgets)


def usage(
    by: Annotated[
        SummedBy,
        typer.Option(help="What it is summed by; model: each version, and of an agent the model that it asked."),
    ] = SummedBy.model,
    since: Annotated[str, typer.Option("--from", help="First day, YYYY-MM-DD (UTC).")] = "",
    until: Annotated[str, typer.Option("--to", help="Last day.")] = "",
    json: Json = False,
) -> None:
    """Say which model versions and agents were used how often: rows, requests, tokens, seconds, dollars, as commits have it."""
    from baton.usage import report

    since, until = _day(since), _day(until)
    found = report.totals(by.value, since, until)
    if json:
        for one in found:
            print(as_json(one))
        return
    keys = report.GROUPS[by.value]
    rows = [[*(str(one[name]) for name in keys), *_figures(one)] for one in found]
    table([*keys, "uses", "rows", "requests", "tokens in", "tokens out", "seconds", "cost"], rows)
    if lost := report.uncommitted(since, until):
        print(f"attempts that committed nothing: {', '.join(f'{amount:,.4g} {unit}' for unit, amount in lost.items())}")


def budgets(json: Json = False) -> None:
    """Say how the budgets of packs and installation stand in their day or month."""
    from baton.usage import report

    found = report.standing()
    if json:
        for one in found:
            print(as_json(one))
        return
    rows = [
        [one["name"], one["scope"], one["period"], f"{one['limit']:,g} {one['unit']}", f"{one['used']:,.4g}", f"{one['held']:,.4g}",
         f"{one['share']:.0%}", str(one["turned_away"]), " > ".join(one["ladder"])]
        for one in found
    ]  # fmt: skip
    table(["budget", "of", "a", "limit", "used", "held", "share", "turned away", "then"], rows)
    for one in found:
        if one["waits"]:
            print(f"{one['name']} of {one['scope']}: {one['waits']}")


def _figures(one: dict[str, Any]) -> list[str]:
    counts = [f"{one[name]:,}" for name in ("uses", "rows", "calls", "tokens_in", "tokens_out")]
    return [*counts, f"{one['seconds']:,.1f}", "" if one["cost"] is None else f"{one['cost']:,.4f}"]


def _day(text: str) -> str:
    try:
        return str(date.fromisoformat(text)) if text else ""
    except ValueError as error:
        raise typer.BadParameter(f"{text}: a day is written YYYY-MM-DD") from error
