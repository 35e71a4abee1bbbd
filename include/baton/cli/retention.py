"""`baton retain`, `baton erase`: what must go. Both say first what would go; `--yes` does it."""

import getpass
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from baton.cli.output import Json, as_json, plural, table
from baton.errors import BatonError

if TYPE_CHECKING:
    from baton.retention.evidence import Removal

Yes = Annotated[bool, typer.Option("--yes", help="Do it; without it, only say what would go.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(retain)
    app.command()(erase)


def retain(yes: Yes = False, json: Json = False) -> None:
    """Remove what is older than `retention.yaml` of the packs says; the digests of it stay."""
    from baton.retention.age import never_run, policies, retain

    given = policies()
    if not given:
        raise BatonError("no installed pack has a retention.yaml: nothing has an age, everything is kept")
    for flow in never_run(given):
        print(f"retention.yaml names {flow}, which has not run yet: is that its DAG id?", file=sys.stderr)
    _show(retain(given, getpass.getuser(), dry_run=not yes), yes, json)


def erase(
    entity: Annotated[
        list[str], typer.Argument(help="Key of the entity, as its flow publishes it; several for several.")
    ],
    reason: Annotated[str, typer.Option(help="Why; goes into the ledger, so name nobody.")],
    flow: Annotated[
        list[str] | None, typer.Option(help="DAG id, when several flows know the key; several for several.")
    ] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Remove all that flows hold of an entity: rows of every stage, predictions, labels, cases, quarantine, mails."""
    from baton.retention.person import erase, flows_of

    flows = flow or flows_of(entity)
    if not flows:
        raise BatonError(
            f"no table knows {', '.join(entity)}; to search the datasets all the same, name the flow with --flow"
        )
    if len(flows) > 1 and not flow:
        raise BatonError(f"{', '.join(flows)} know it: name those where it is the same person with --flow")
    removals = [erase(entity, one, reason, getpass.getuser(), dry_run=not yes) for one in flows]
    _show([one for one in removals if not one.empty()], yes, json)
    for place in sorted({place for one in removals for place in one.deliveries}):
        print(f"it came from {place}: clean that too, or the next delivery brings it back", file=sys.stderr)
    if left := [line for one in removals for line in one.left]:
        raise BatonError("not removed: " + "; ".join(left) + ". Repeat it with --flow when that is mended")


def _show(removals: Sequence["Removal"], done: bool, json: bool) -> None:
    if json:
        for one in removals:
            print(as_json({"done": done, **asdict(one)}))
        return
    rows = [[one.flow, name, f"{count:,}"] for one in removals for name, count in one.rows.items()]
    rows += [
        [one.flow, "objects in the store", f"{len(one.objects):,} ({one.size / 1e6:.1f} MB)"]
        for one in removals
        if one.objects
    ]
    table(["flow", "what", "number"], rows)
    total = plural(len(removals), "flow", "flows")
    print(f"removed, of {total}" if done else f"would go, of {total}; nothing was removed: --yes does it")
