"""`baton actions` and `baton undo`: who is asked about what, people's answers, the kill switch, and taking effects back."""

import json as plain
from typing import Annotated

import typer

from baton.actions import assets, switch, votes
from baton.actions.requests import APPROVED, Request
from baton.actions.votes import Voter
from baton.cli.output import Json, as_json, plural
from baton.effects import firewall, overview
from baton.effects.overview import ShownRequest
from baton.errors import BatonError, ServiceError
from baton.settings import settings

app = typer.Typer(help="What Baton does outside: requests, approvals, the kill switch.", no_args_is_help=True)
Number = Annotated[int, typer.Argument(help="Number of the request, from `baton actions list`.")]
Reason = Annotated[str, typer.Option(help="Why; goes on record.")]


def person() -> Voter:
    """Who types."""
    return votes.account()


def register(into: typer.Typer) -> None:
    """Add the commands."""
    into.add_typer(app, name="actions")
    into.command("undo")(undo)


@app.command("list")
def list_(flow: Annotated[str | None, typer.Option(help="Only of this flow.")] = None, json: Json = False) -> None:
    """List the requests that wait for people, and say whether all effects are stopped."""
    firewall.sweep()
    found = overview.open_requests(flow)
    if json:
        for one in found:
            print(as_json(_plain(one)))
        return
    if stopped := switch.stopped():
        print(f"{stopped}; `baton actions start` lets them begin again")
    me = person()
    for one in found:
        request = one.request
        there = sum(vote["answer"] == votes.APPROVE for vote in one.votes)
        print(
            f"{request.id}  {request.kind} on {request.target}  {there} of {request.needs} approvals  {request.named}"
        )
        if one.void and one.void.of(me) and not any(me.same_as(Voter(v["person"], v["name"])) for v in one.votes):
            again = "only what is shown changed" if one.void.display else "it is another one"
            print(
                f"    you agreed to request {one.void.request}: {again}; `baton actions approve {request.id}` shows it and asks"
            )
    print(f"{plural(len(found), 'request', 'requests')} open")


@app.command()
def show(number: Number, json: Json = False) -> None:
    """Show a request: the difference that it would make, the evidence, who answered."""
    found = overview.request(number)
    if json:
        print(as_json(_plain(found)))
    else:
        _print(found)


@app.command()
def approve(
    number: Number,
    seen: Annotated[
        str, typer.Option(help="Digest of what you saw, from `show`; without it you are shown it and asked.")
    ] = "",
    reason: Reason = "",
) -> None:
    """Agree to a request; the effect begins once enough people did."""
    after = _vote(number, votes.APPROVE, seen, reason)
    if after.state != APPROVED:
        print(f"request {number}: recorded; another person has to agree")
    elif after.kind in assets.EDITS and after.of_asset:
        print(f"request {number}: approved; what {after.target} says is in force. Clear the tasks that failed for it")
    elif after.undoes:
        print(f"request {number}: approved; {_deliver(after.flow, after.partition)}")
    elif after.of_asset and after.kind in assets.THEN:
        print(f"request {number}: approved; {assets.THEN[after.kind]}")
    else:
        print(f"request {number}: approved; the run of {after.flow} that waits for it goes on")


@app.command()
def refuse(number: Number, reason: Reason, seen: Annotated[str, typer.Option(help="As for `approve`.")] = "") -> None:
    """Say no to a request; the same action is not asked about again."""
    _vote(number, votes.REFUSE, seen, reason)
    print(f"request {number}: refused")


@app.command()
def stop(reason: Reason) -> None:
    """Stop all effects of all flows at once."""
    switch.stop(person().name, reason)
    print("all effects are stopped; what was on its way is asked about, not sent again. `baton actions start` resumes")


@app.command()
def start() -> None:
    """Let effects begin again."""
    was = switch.start(person().name)
    print(
        f"effects begin again; they were stopped since {was.at[:19]} by {was.by}. Clear the tasks that failed meanwhile"
    )


def undo(
    key: Annotated[str, typer.Argument(help="Key of the effect, from `baton outbox list FLOW --all`.")],
    reason: Reason = "",
) -> None:
    """Take a delivered effect back, through the same firewall and the same connection."""
    done = firewall.take_back(key, person().id, reason)
    if not done.key or done.state != "pending":
        print(done.words)
    else:
        print(f"{done.key}: {_deliver(done.flow, done.partition)}")


def _vote(number: int, answer: str, seen: str, reason: str) -> Request:
    found = overview.request(number)
    digest = found.request.seen
    if seen and not (len(seen) >= 12 and digest.startswith(seen)):
        raise BatonError(f"--seen {seen}: request {number} is not what you saw: look at it again with `show`")
    if not seen:
        _print(found)
        typer.confirm(f"{'Approve' if answer == votes.APPROVE else 'Refuse'} this?", abort=True)
    return firewall.vote(number, person(), answer, digest, reason)


def _deliver(flow: str, partition: str) -> str:
    """Have Airflow deliver what takes effects back; says what becomes of it."""
    from baton.services.airflow_api import Orchestrator
    from baton.services.health import airflow_token
    from baton.services.plan import users_file

    here = settings()
    if here.airflow_url is None:
        return f"Airflow does not run: start the DAG `undo` with flow {flow} and partition {partition} once it does"
    password = plain.loads(users_file(here).read_text(encoding="utf-8"))["admin"]
    airflow = Orchestrator(here.airflow_url, lambda: airflow_token(str(here.airflow_url), "admin", password))
    try:
        return f"started: {airflow.trigger('undo', conf={'flow': flow, 'partition': partition})}"
    except ServiceError as error:
        raise BatonError(
            f"it may go, but the DAG `undo` could not be started ({error}): start it with flow {flow}, partition {partition}"
        ) from error


def _plain(found: ShownRequest) -> dict[str, object]:
    shown = ("id", "flow", "partition", "entity_key", "kind", "target", "level", "rule", "needs", "reasons", "requester",
             "state", "note", "seen", "opened_at", "expires_at")  # fmt: skip
    request = {name: getattr(found.request, name) for name in shown}
    void = found.void and {
        "request": found.void.request, "by": [one.person for one in found.void.by], "display": found.void.display,
        "changed": found.void.changed,
    }  # fmt: skip
    more = {"difference": found.difference, "evidence": found.evidence, "votes": found.votes, "void": void}
    return {**request, **more, "recovery": found.recovery, "description": found.description}


def _print(found: ShownRequest) -> None:
    request = found.request
    print(f"request {request.id}: {request.kind} on {request.target}, for {request.named}")
    print(f"    {found.description} ({found.recovery.replace('_', ' ')})")
    print(
        f"    asked by {request.requester}, {request.state}, until {request.expires_at[:19]}; {'; '.join(request.reasons)}"
    )
    for name, before, after in found.difference:
        print(f"    {name}: {plain.dumps(before)} -> {plain.dumps(after)}")
    if not found.difference:
        print("    it changes nothing")
    if found.evidence:
        print(f"    evidence: {', '.join(found.evidence)}")
    for vote in found.votes:
        print(
            f"    {vote['answer']} by {vote['name']} ({vote['channel']}, {vote['at'][:19]}) {vote['reason'] or ''}".rstrip()
        )
    if void := found.void:
        who = "you" if void.of(person()) else ", ".join(one.name or one.person for one in void.by)
        what = "only what is shown changed" if void.display else "this is another request"
        print(f"    {who} agreed to request {void.request}, which counts for nothing here: {what}")
        for name, then, now in void.changed:
            print(f"        {name}: {plain.dumps(then)} -> {plain.dumps(now)}")
    print(f"    seen: {request.seen}")
