"""`baton lineage`: tell what waits as OpenLineage events."""

from typing import Annotated

import typer

from baton.errors import BatonError
from baton.lineage import telling
from baton.settings import settings


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(lineage)


def lineage(
    after: Annotated[
        int | None, typer.Option(help="Begin again behind this entry of the ledger; 0: all there is.", min=0)
    ] = None,
) -> None:
    """Tell BATON_LINEAGE_URL what it was not told yet of datasets, model versions and decisions; exit code 1 if something waits or was refused."""
    if not settings().lineage_url:
        raise BatonError(
            "nobody is told: set BATON_LINEAGE_URL, a file such as file:///srv/lineage.jsonl or an endpoint"
        )
    if after is not None:
        telling.restart(after)
    if waits := telling.tell(telling.newest(), again=True):
        raise BatonError(waits)
    known = telling.standing()
    left_out = f"; {known.refused} entries were refused and are left out" if known and known.refused else ""
    print(f"told up to ledger entry {known.seq if known else 0}{left_out}")
