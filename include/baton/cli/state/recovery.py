"""`baton verify`."""

from dataclasses import asdict
from typing import Annotated

import typer

from baton.cli.output import Json, as_json, plural, table
from baton.errors import BatonError


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(verify)


def verify(
    new: Annotated[
        bool, typer.Option("--new", help="Only what came after the last check that found all well.")
    ] = False,
    json: Json = False,
) -> None:
    """Check that all on record is there as it was written: ledger, datasets in force, model versions; exit code 1 if not."""
    from baton.recovery.verify import verify
    from baton.registry.client import Registry
    from baton.services.mlflow_server import at_hand
    from baton.settings import settings

    with at_hand(settings().home) as url:
        found = verify(Registry(url) if url else None, new=new)
    if json:
        print(as_json(found))
    elif found.faults:
        table(["what", "where", "what is wrong, and what to do"], [list(asdict(one).values()) for one in found.faults])
    looked = (
        f"{plural(found.entries, 'ledger entry', 'ledger entries')}, {plural(found.datasets, 'dataset', 'datasets')}, "
    )
    looked += f"{plural(found.versions, 'model version', 'model versions')}{' since the last check' if new else ''}"
    if found.faults:
        raise BatonError(f"{plural(len(found.faults), 'fault', 'faults')} in {looked}")
    if not json:
        print(f"{looked}: all as written")
