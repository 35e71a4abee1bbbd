"""The page Actions, and the answers that people give there: approve or refuse, take back, stop everything."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse, Response

from baton.actions import switch, votes
from baton.actions.votes import Voter, VoteRefused
from baton.console.host import Rights
from baton.console.pages import forms
from baton.console.pages.asking import asking, back_to, wants_html, with_forms
from baton.console.queries import actions
from baton.effects import firewall, outbox, overview
from baton.errors import BatonError
from baton.record import warehouse

router = APIRouter()
UNDO = "undo"  # DAG that delivers what takes effects back
Asking = Annotated[Rights, Depends(asking)]


@router.get("/actions")
def page(request: Request, rights: Asking) -> Response:
    """Requests that wait, what went with a notice, the newest effects; as JSON when the caller accepts no HTML."""
    found = actions.gather(rights)
    return with_forms(request, rights, "actions.html.j2", found=found) if wants_html(request) else JSONResponse(found)


@router.post("/actions/requests/{number:int}")
async def answer(request: Request, number: int, rights: Asking) -> Response:
    """A person's vote. Fields: `answer` (approved, refused), `seen` (the request's digest as it was shown), `reason`."""
    return await _done(request, rights, partial(_answer, rights, number))


def _answer(rights: Rights, number: int, fields: dict[str, Any]) -> dict[str, Any]:
    try:
        asked = overview.request(number)
    except BatonError as error:
        raise _missing(rights, str(error)) from error
    _require_decider(rights, asked.request.flow)
    if not actions.may_see(rights, asked.request):
        raise HTTPException(404, "There is no such request, or you may not read about it.")
    voter = Voter(rights.person.id, rights.person.name, "airflow")
    try:
        after = firewall.vote(
            number, voter, str(fields.get("answer", "")), str(fields.get("seen", "")), _reason(fields)
        )
    except VoteRefused as error:
        raise HTTPException(409, str(error)) from error
    started = ""
    if after.state == votes.APPROVE and after.undoes:
        started = _deliver(rights, after.flow, after.partition)
    return {"request": number, "state": after.state, "started": started}


@router.post("/actions/undo")
async def undo(request: Request, rights: Asking) -> Response:
    """Take a delivered effect back. Fields: `key`, `reason`."""
    return await _done(request, rights, partial(_undo, rights))


def _undo(rights: Rights, fields: dict[str, Any]) -> dict[str, Any]:
    with warehouse.read() as conn:
        effect = outbox.find(str(fields.get("key", "")), conn)
    if effect is None or not rights.read(effect.flow):
        raise _missing(rights, "There is no such effect, or you may not read about it.")
    _require_decider(rights, effect.flow)
    try:
        done = firewall.take_back(effect.key, rights.person.id, _reason(fields))
    except BatonError as error:
        raise HTTPException(409, str(error)) from error
    ready = bool(done.key) and done.state == outbox.PENDING
    return {"key": done.key, "state": done.state, "words": done.words,
            "started": _deliver(rights, done.flow, done.partition) if ready else ""}  # fmt: skip


@router.post("/actions/switch")
async def turn(request: Request, rights: Asking) -> Response:
    """Stop all effects of all flows, or let them begin again. Fields: `turn` (stop, start), `reason`."""
    return await _done(request, rights, partial(_turn, rights))


def _turn(rights: Rights, fields: dict[str, Any]) -> dict[str, Any]:
    if not rights.decide(None):
        raise HTTPException(403, f"{rights.person.name} may read, not stop or start effects.")
    to = fields.get("turn")
    if to not in ("stop", "start"):
        raise HTTPException(422, "turn: stop or start")
    reason = _reason(fields)
    if to == "stop" and not reason:
        raise HTTPException(422, "reason: say why all effects are to stop")
    try:
        switch.stop(rights.person.name, reason) if to == "stop" else switch.start(rights.person.name)
    except BatonError as error:
        raise HTTPException(409, str(error)) from error
    return {"stopped": to == "stop"}


def _require_decider(rights: Rights, flow: str) -> None:
    if not rights.decide(flow):
        raise HTTPException(403, f"{rights.person.name} may not answer for {flow}.")


def _missing(rights: Rights, words: str) -> HTTPException:
    """Who may decide nothing learns nothing of what there is."""
    return (
        HTTPException(404, words) if rights.decide(None) else HTTPException(403, f"{rights.person.name} may read only.")
    )


def _deliver(rights: Rights, flow: str, partition: str) -> str:
    """Start the run that sends it; what keeps it from starting is said, since it may be sent later as well."""
    try:
        return rights.host.start(rights.person, UNDO, {"flow": flow, "partition": partition})
    except BatonError as error:
        raise HTTPException(503, f"it may go, but is not sent yet: {error}") from error


def _reason(fields: dict[str, Any]) -> str:
    reason = fields.get("reason") or ""
    if not isinstance(reason, str) or len(reason) > forms.MAX_REASON:
        raise HTTPException(422, f"reason: text of at most {forms.MAX_REASON} characters")
    return reason.strip()


async def _done(request: Request, rights: Rights, work: Callable[[dict[str, Any]], dict[str, Any]]) -> Response:
    """Do what a checked form, or JSON, asks for; a form's sender goes back to their page."""
    fields = await forms.checked_body(request, rights.host, rights.person)
    result = await run_in_threadpool(work, fields)
    if request.headers.get("content-type", "").startswith(forms.JSON):
        return JSONResponse(result)
    back = back_to(str(fields.get("back", "")), str(fields.get("flow", "")), str(fields.get("entity_key", "")))
    return RedirectResponse(f"{request.scope['root_path']}/{back}", 303)
