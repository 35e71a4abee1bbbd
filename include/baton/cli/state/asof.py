"""`baton asof`: what was in force at a moment, on which evidence, and how a past partition is computed again with exactly that."""

import re
from typing import Annotated, Any

import typer

from baton.cli.output import Json, as_json, partition_key, table
from baton.errors import BatonError
from baton.governance import content
from baton.record import asof as record
from baton.record import warehouse

_ASSET = re.compile(r"(model|flow):([A-Za-z][A-Za-z0-9_.~\-]{0,99})")
_FILE = re.compile(rf"({'|'.join(content.KINDS)}):[A-Za-z0-9_./~\-]{{1,200}}")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(asof)


def asof(
    moment: Annotated[str, typer.Argument(help="Such as 2026-11-20T10:00; without a zone it is UTC.")],
    about: Annotated[str, typer.Argument(metavar="ASSET", help="model:NAME, flow:DAG_ID, or contract:PACK/NAME.")],
    partition: Annotated[
        str | None, typer.Option(help="Of a flow, what this partition was made with; and the command that repeats it.")
    ] = None,
    json: Json = False,
) -> None:
    """Say what was in force at a moment: version, who approved it, on which evidence; and print how to replay a partition."""
    at, naive = record.moment(moment)
    if _FILE.fullmatch(about):
        _of_file(about, at, naive, json)
        return
    if (named := _ASSET.fullmatch(about)) is None:
        raise BatonError(f"{about}: say model:NAME or flow:DAG_ID, or contract:, prompt:, agent: or rules:PACK/NAME")
    key = partition_key(partition) or ""
    with warehouse.read() as conn:
        if named[1] == "model":
            found = record.of_model(conn, named[2], at)
            uses = record.users_of(conn, named[2], found["version"], key)
            found["replay"] = [record.replay(flow, one, {named[2]: found["version"]}) for flow, one in uses]
        else:
            found = record.of_flow(conn, named[2], at, key)
            made = found["published"] or found["stages"][-1]
            found["replay"] = [record.replay(named[2], made["partition"], found["models"])]
    if json:
        print(as_json(found))
        return
    print(f"{found['asset']} at {at}{', read as UTC' if naive else ''}")
    table(["what", ""], _model(found) if named[1] == "model" else _flow(found))
    if named[1] == "flow":
        headings = ["stage", "partition", "commit", "entry", "code", "depended on"]
        table(headings, [_stage(one) for one in found["stages"]])
    for command in found["replay"]:
        print(command)
    if found["replay"]:
        print(
            "a dry run: it changes nothing. Rows are read as they are now, code and contracts are today's; compare their digests"
        )
    elif key:
        print(f"no flow is on record with version {found['version']} in partition {key}: there is nothing to replay")


def _of_file(asset: str, at: str, naive: bool, json: bool) -> None:
    with warehouse.read() as conn:
        found = record.of_file(conn, asset, at)
    if json:
        print(as_json(found))
        return
    print(f"{asset} at {at}{', read as UTC' if naive else ''}")
    by = f", by {', '.join(found['by'])}" if found["by"] else ""
    since = f"since {found['since']}, {found['how']}{by} (entry {found['entry']})"
    table(["what", ""], [["content", found["digest"]], ["in force", since]])


def _model(found: dict[str, Any]) -> list[list[str]]:
    none = "not on record"
    gate, approval, made = found["gate"], found["approval"], found["registered"]
    rows = [
        ["version", f"{found['version']}, champion from {found['since']} to {found['until'] or 'now'}"],
        ["made champion", f"by {found['actor']}: {found['reason']} (entry {found['entry']})"],
        ["approved", f"{approval['says'].get('answer')} by {approval['says'].get('reviewer')} ({approval['says'].get('channel')}) at "
                     f"{approval['at']} (entry {approval['number']})" if approval else none],
        ["gate", f"{gate['says'].get('decision')}: {'; '.join(map(str, gate['says'].get('reasons') or []))} (entry {gate['number']})"
                 if gate else none],
        ["registered", f"{made['at']}, winner {made['says'].get('winner')} (entry {made['number']})" if made else none],
    ]  # fmt: skip
    rows += [[name, found[name] or none] for name in ("manifest", "spec", "contract", "dataset", "code")]
    listed = ", ".join(f"{one['number']} {one['kind']}" for one in found["entries"])
    return [*rows, ["ledger entries", listed]]


def _flow(found: dict[str, Any]) -> list[list[str]]:
    made = found["published"]
    said = f"{made['partition']} at {made['at']} (commit {made['commit']})" if made else "nothing until then"
    versions = ", ".join(f"{name} {version}" for name, version in sorted(found["models"].items()))
    return [["published", said], ["models", versions or "none"]]


def _stage(one: dict[str, Any]) -> list[str]:
    specs = ", ".join(f"{name} {value[:12]}" for name, value in one["specs"].items())
    entry = "" if one["entry"] is None else str(one["entry"])
    return [one["stage"], one["partition"], str(one["commit"]), entry, one["code"][:12], specs]
