"""`baton quarantine`: look at bad rows, repair or discard them, send them through the flow again."""

import getpass
import json
from pathlib import Path
from typing import Annotated

import typer

from baton.cli.output import Json, as_json, partition_key, plural, table
from baton.errors import BatonError
from baton.quarantine.files import export as write
from baton.quarantine.files import repair_file
from baton.quarantine.repairs import discard as give_up
from baton.quarantine.repairs import repair as change
from baton.quarantine.rows import STATUSES, WAITING, Where, counts, list_rows
from baton.settings import settings

app = typer.Typer(help="Rows that broke a contract.", no_args_is_help=True)

FlowOption = Annotated[str | None, typer.Option(help="Only of this flow.")]
PartitionOption = Annotated[str | None, typer.Option(help="Only of this partition.", callback=partition_key)]
RuleOption = Annotated[str | None, typer.Option(help="Only rows that break this rule.")]
KeyOption = Annotated[str | None, typer.Option(help="Only the row with this key.")]
RowOption = Annotated[int | None, typer.Option(help="Only this row of the source, from 1.", min=1)]
ActorOption = Annotated[str | None, typer.Option(help="Who does this, for the record.")]


@app.command("list")
def list_(
    flow: FlowOption = None,
    partition: PartitionOption = None,
    rule: RuleOption = None,
    key: KeyOption = None,
    row: RowOption = None,
    status: Annotated[str | None, typer.Option(help="open, repaired, resolved or discarded.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1)] = 50,
    json: Json = False,
) -> None:
    """List rows: each once, with all rules that it breaks."""
    if status is not None and status not in STATUSES:
        raise BatonError(f"--status {status}: allowed are {', '.join(STATUSES)}")
    found = list_rows(Where(flow=flow, partition=partition, rule=rule, key=key, row=row, status=status), limit)
    if json:
        for one in found:
            print(as_json(one))
        return
    table(
        ["flow", "partition", "row", "key", "status", "rules", "columns", "values", "reason"],
        [
            [r.flow, r.partition, str(r.row), r.entity_key or "", r.status, ", ".join(r.rules),
             ", ".join(filter(None, r.columns)), ", ".join(r.values), r.reason or ""]
            for r in found
        ],
    )  # fmt: skip
    if len(found) == limit:
        print(f"the first {limit}; --limit shows more")
    print(", ".join(f"{count:,} {name}" for name, count in counts(flow, partition).items()))


@app.command()
def export(
    path: Annotated[Path, typer.Argument(help="A new .csv or .json file.")],
    flow: FlowOption = None,
    partition: PartitionOption = None,
    rule: RuleOption = None,
    key: KeyOption = None,
    row: RowOption = None,
) -> None:
    """Write waiting rows to a file, to be edited and given back with `repair --file`."""
    which = Where(flow=flow, partition=partition, rule=rule, key=key, row=row, status=WAITING)
    rows = write(path, which)
    print(f"{plural(rows, 'row', 'rows')} written to {path}")


@app.command()
def repair(
    file: Annotated[Path | None, typer.Option(help="An exported file with edited cells.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="column=expression: amount=amount/100")] = None,
    flow: FlowOption = None,
    partition: PartitionOption = None,
    rule: RuleOption = None,
    key: KeyOption = None,
    row: RowOption = None,
    actor: ActorOption = None,
) -> None:
    """Change cells of waiting rows, by a file or by expressions; `reinject` then judges them again."""
    if (file is None) == (not set_):
        raise BatonError("give either --file or --set column=expression")
    if file is not None:
        if any(value is not None for value in (flow, partition, rule, key, row)):
            raise BatonError("--file names its rows itself: give no other selection")
        report = repair_file(file, actor or getpass.getuser())
    else:
        pairs = dict(part.partition("=")[::2] for part in set_ or [])
        if faulty := [column for column, formula in pairs.items() if not column or not formula]:
            raise BatonError(f"--set {faulty[0]}: the form is column=expression, e.g. amount=amount/100")
        which = Where(flow=flow, partition=partition, rule=rule, key=key, row=row)
        report = change(which, pairs, actor or getpass.getuser())
    for line in report.skipped:
        print(f"skipped: {line}")
    print(f"{plural(report.cells, 'cell', 'cells')} in {plural(report.rows, 'row', 'rows')} changed")
    for one_flow, one_partition in report.partitions:
        print(f"next: baton quarantine reinject {one_flow} {one_partition}")


@app.command()
def discard(
    reason: Annotated[str, typer.Option(help="Why; goes on record.")],
    flow: FlowOption = None,
    partition: PartitionOption = None,
    rule: RuleOption = None,
    key: KeyOption = None,
    row: RowOption = None,
    actor: ActorOption = None,
) -> None:
    """Give up rows for good."""
    if all(value is None for value in (flow, partition, rule, key, row)):
        raise BatonError("say which rows: --flow, --partition, --rule, --key or --row")
    which = Where(flow=flow, partition=partition, rule=rule, key=key, row=row)
    rows = give_up(which, reason, actor or getpass.getuser())
    print(f"{plural(rows, 'row', 'rows')} discarded")


@app.command()
def reinject(
    flow: Annotated[str, typer.Argument(help="The flow.")],
    partition: Annotated[
        str, typer.Argument(help="The partition, e.g. 2026-01-31T13:00:00 or 2026-01-31T13.", callback=partition_key)
    ],
) -> None:
    """Run the partition again: repaired rows that pass are published, nothing is counted twice."""
    _require_rows(flow, partition)
    from baton.services.airflow_api import Orchestrator
    from baton.services.health import airflow_token
    from baton.services.plan import users_file

    here = settings()
    if here.airflow_url is None:
        raise BatonError("Airflow does not run: start it with `baton up`, or set BATON_AIRFLOW_URL")
    password = json.loads(users_file(here).read_text(encoding="utf-8"))["admin"]
    airflow = Orchestrator(here.airflow_url, lambda: airflow_token(str(here.airflow_url), "admin", password))
    print(f"started: {airflow.trigger(flow, partition=partition)}")


def _require_rows(flow: str, partition: str) -> None:
    """Refuse a partition without a quarantined row: another one was meant, and its run would do nothing for it."""
    if any(counts(flow, partition).values()):
        return
    waiting = sorted({row.partition for row in list_rows(Where(flow=flow, status=WAITING))})
    hint = f"rows wait in {', '.join(waiting[-3:])}" if waiting else f"no row of {flow} waits in any partition"
    if not partition[:4].isdigit():  # `history` is a name, so it was let pass; a mistyped date is one too
        hint += "; a partition of a flow is the UTC start of its interval, such as 2026-11-20T09:00:00"
    raise typer.BadParameter(f"{flow} has no quarantined row in partition {partition}: {hint}")
