"""`baton playbook`: which playbooks there are, what each would do, and what is wrong in them."""

from __future__ import annotations

import json as plain
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from baton.errors import BatonError
from baton_packs.incident_response import HERE
from baton_packs.incident_response.playbooks import lint as mistakes
from baton_packs.incident_response.playbooks.preview import Previewed, preview
from baton_packs.incident_response.playbooks.spec import ActionStep, PlaybookSpec, following, playbooks

PACK = "incident_response"
app = typer.Typer(help="Playbooks: what is done about an incident, step by step.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Of the playbook, from `baton playbook list`.")]
Json = Annotated[bool, typer.Option("--json", help="For other programs: JSON, one object a line.")]


def register(into: typer.Typer) -> None:
    """Add the commands."""
    into.add_typer(app, name="playbook")


@app.command("list")
def list_(json: Json = False) -> None:
    """List the playbooks, the one that goes first where several fit at the top."""
    for book in playbooks().values():
        actions = list(dict.fromkeys(step.action for step in book.actions().values()))
        if json:
            _print(plain.dumps({"name": book.name, "rank": book.fits.rank, "contains": book.fits.contains,
                                "actions": actions, "description": book.description}))  # fmt: skip
            continue
        _print(f"{book.name}  rank {book.fits.rank}, {'contains' if book.fits.contains else 'watches'}")
        _print(f"    {book.description}")
        _print(f"    {', '.join(actions)}")


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show a playbook: whom it is for, and its steps with what comes after each."""
    book = _find(name)
    if json:
        _print(plain.dumps(book.model_dump(mode="json")))
        return
    fits = [*book.fits.tactics, *book.fits.techniques]
    _print(f"{book.name}: {book.description}")
    _print(
        f"    for {', '.join(fits) or 'what fits no other'} on {', '.join(book.fits.asset_classes)}; rank {book.fits.rank}"
    )
    for step, one in book.workflow.items():
        after = ", ".join(f"{field} {other}" for field, other in following(one))
        does = f"  {one.action}: {one.name}" if isinstance(one, ActionStep) else ""
        _print(f"{step}{does}")
        if after:
            _print(f"    {after}")


@app.command("dry-run")
def dry_run(
    name: Name,
    incident: Annotated[
        str | None, typer.Option(help="Id of an incident: its own targets, and how they stand now.")
    ] = None,
    confidence: Annotated[
        float, typer.Option(help="Without an incident: how sure it would be.", min=0.0, max=1.0)
    ] = 0.9,
    json: Json = False,
) -> None:
    """Say what a playbook would do, and what the policy would say to each action; nothing is placed."""
    book = _find(name)
    steps = preview(PACK, book, confidence)
    targets = _targets(incident, name) if incident else None
    for one in steps:
        mine = None if targets is None else [row for row in targets if row["step"] == one.step]
        if json:
            told = asdict(one) if mine is None else {**asdict(one), "policy": None, "targets": mine}
            _print(plain.dumps(told, default=str))
        elif mine != []:
            _show(one, confidence, mine)


@app.command()
def lint(
    folder: Annotated[
        Path | None, typer.Argument(help="Of a pack, with `playbooks/` and `actions.yaml`; default the pack's own.")
    ] = None,
    json: Json = False,
) -> None:
    """Check the playbooks: every mistake by file, line and field; exit code 1 where there is one."""
    found = list(mistakes.check(folder or HERE))
    for problem in found:
        _print(plain.dumps(asdict(problem)) if json else str(problem))
    if found:
        raise BatonError(f"{len(found)} mistake{'s' if len(found) > 1 else ''}")
    if not json:
        _print("no mistakes")


def _find(name: str) -> PlaybookSpec:
    known = playbooks()
    if name not in known:
        raise BatonError(f"no playbook `{name}`; there are {', '.join(known)}")
    return known[name]


def _targets(incident: str, playbook: str) -> list[dict[str, Any]]:
    """What the playbook would do about an incident as it is published now."""
    from baton_packs.incident_response.incidents import respond

    frame = respond.dry_run(PACK, respond.published(incident), playbook)
    # null is not a number where a column has numbers too
    return [
        {str(name): None if cell != cell else cell for name, cell in row.items()} for row in frame.to_dict("records")
    ]


def _show(one: Previewed, confidence: float, targets: list[dict[str, Any]] | None) -> None:
    _print(f"{one.step}  {one.name}")
    _print(f"    if       {' and '.join(one.conditions) or 'always'}")
    _print(f"    action   {one.action} on {', '.join(one.targets)}")
    if targets is None:
        levels = dict.fromkeys(level for _, level, _ in one.policy)
        said = [f"{level} for {', '.join(name for name, other, _ in one.policy if other == level)}" for level in levels]
        _print(f"    policy   {'; '.join(said)} ({confidence:g} sure)")
    for row in targets or ():
        _print(f"    policy   {_target(row)}")
    _print(f"    verify   {one.verification}")
    _print(f"    undo     {one.undo or 'nothing takes it back'}")
    if one.otherwise:
        _print(f"    else     {one.otherwise}, where the policy forbids it")


def _target(row: dict[str, Any]) -> str:
    name = f"{row['target']} ({row['asset_class']})" if row["target"] else "no target"
    if row["skipped"]:
        return f"{name}: passed over: {row['skipped']}"
    return f"{name}: {row['level']}, {row['before'] or 'not known'} -> {row['after']}"


def _print(line: str) -> None:
    typer.echo(line)
