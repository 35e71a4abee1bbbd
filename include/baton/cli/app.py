"""`baton`: the command line.

Each group of verbs has a module beside this one; what is slow to import is imported when a verb needs it.
"""

import getpass
import sys
from datetime import timedelta
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from baton.cli import actions as cli_actions
from baton.cli import models as cli_models
from baton.cli import new as cli_new
from baton.cli import outbox as cli_outbox
from baton.cli import packs as cli_packs
from baton.cli import quarantine as cli_quarantine
from baton.cli import retention as cli_retention
from baton.cli import services as cli_services
from baton.cli import trial as cli_trial
from baton.cli.output import Json, as_json, bar, plural, table
from baton.cli.state import asof as cli_asof
from baton.cli.state import change as cli_change
from baton.cli.state import evidence as cli_evidence
from baton.cli.state import grants as cli_grants
from baton.cli.state import lineage as cli_lineage
from baton.cli.state import recovery as cli_recovery
from baton.cli.state import sizing as cli_sizing
from baton.cli.state import sql as cli_sql
from baton.cli.state import usage as cli_usage
from baton.errors import BatonError
from baton.lookups import cache
from baton.packs.spec_file import did_you_mean
from baton.record import ledger, warehouse
from baton.stages import garbage


class _Group(TyperGroup):
    """Errors that Baton raises on purpose are one message, not a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with bar(sys.stderr):
                return super().invoke(ctx)
        except BatonError as error:
            print(f"baton: {error}", file=sys.stderr)
        except ValidationError as error:
            for fault in error.errors():
                variable = "_".join(["BATON", *map(str, fault["loc"])]).upper()
                print(f"baton: {variable}: {fault['msg']} (it is {fault['input']!r})", file=sys.stderr)
        raise typer.Exit(1)


app = typer.Typer(
    cls=_Group,
    help="Baton: AI orchestration on Apache Airflow.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
)
ledger_app = typer.Typer(help="The hash-chained record of what happened.", no_args_is_help=True)
app.add_typer(ledger_app, name="ledger")
app.add_typer(cli_quarantine.app, name="quarantine")
app.add_typer(cli_new.app, name="new")
app.add_typer(cli_outbox.app, name="outbox")
cli_actions.register(app)
cli_services.register(app)
cli_packs.register(app)
cli_models.register(app)
cli_retention.register(app)
cli_trial.register(app)
cli_recovery.register(app)
cli_sql.register(app)
cli_sizing.register(app)
cli_grants.register(app)
cli_change.register(app)
cli_usage.register(app)
cli_asof.register(app)
cli_lineage.register(app)
cli_evidence.register(app, ledger_app)
for _point in entry_points(group="baton.commands"):  # of other packages, such as `baton demo`
    if find_spec(_point.module.partition(".")[0]) is not None:  # an image for production holds no demo
        _point.load()(app)


@ledger_app.command()
def show(
    subject: Annotated[str | None, typer.Argument(help="Only of this subject; ends in / for all below.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only of this kind; a wrong one lists those that there are.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most, newest first.", min=1)] = 20,
    json: Json = False,
) -> None:
    """Show entries, newest first."""
    found = ledger.entries(subject, kind, limit)
    if not found and kind is not None and kind not in (known := ledger.kinds()):
        raise BatonError(
            f"--kind {kind}: no entry is of that kind{did_you_mean(kind, known)} There are: {', '.join(known)}"
        )
    if json:
        for entry in found:
            print(as_json(entry))
        return
    table(
        ["number", "at", "kind", "subject", "payload"],
        [[str(e.seq), e.at, e.kind, e.subject, as_json(e.payload)] for e in found],
    )


@ledger_app.command()
def verify(
    new: Annotated[
        bool, typer.Option("--new", help="Only what came after the last check that found all well.")
    ] = False,
    anchor: Annotated[Path | None, typer.Option(help="Compare with this copy of the anchor, kept elsewhere.")] = None,
) -> None:
    """Check every entry against the one before, its seal and the anchor; exit code 1 names the first that is broken."""
    if anchor is not None and not anchor.is_file():
        raise BatonError(f"--anchor {anchor}: there is no such file")
    verdict = ledger.verify(anchor, new=new)
    if anchor is None:
        ledger.remember(verdict, getpass.getuser())
    if not verdict.ok:
        raise BatonError(f"the ledger is broken: {verdict.reason}")
    checked = f", those after {verdict.after:,} looked at" if verdict.after else ""
    loose = (
        f"; {plural(verdict.unanchored, 'entry', 'entries')} without a line in the anchor" if verdict.unanchored else ""
    )
    print(f"{plural(verdict.records, 'entry', 'entries')}{checked}, all as written; head {verdict.head}{loose}")


@app.command()
def gc(
    older_than: Annotated[float, typer.Option(help="Only objects older than so many hours.", min=0)] = 24.0,
    dry_run: Annotated[bool, typer.Option(help="Say what would go, remove nothing.")] = False,
    json: Json = False,
) -> None:
    """Remove what crashed attempts left in the store, published rows that were replaced since, and look-ups past their time.

    XComs that Airflow keeps in an object store go after 30 days, however few hours are named.
    """
    found = garbage.gc(timedelta(hours=older_than), dry_run)
    past = warehouse.transact(lambda conn: cache.expire(conn, dry_run))
    if json:
        print(as_json({"dry_run": dry_run, "bytes": found.size, "objects": found.uris, "lookups": past}))
        return
    for uri in found.uris:
        print(uri)
    verb = "would be removed" if dry_run else "removed"
    answers = f", {plural(past, 'cached answer', 'cached answers')}" if past else ""
    print(f"{plural(len(found.uris), 'object', 'objects')}, {found.size / 1e6:.1f} MB{answers} {verb}")


if __name__ == "__main__":
    app()
