"""Giving and ending duties on an asset: Airflow has to let the person decide there, and Baton's rules have to say that it is theirs."""

from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse, Response

from baton.actions import promotions
from baton.console.host import Rights
from baton.console.pages import forms
from baton.console.pages.asking import asking
from baton.console.queries.assets import listing
from baton.errors import BatonError, SpecError
from baton.governance import duties
from baton.governance.assets import Asset, find
from baton.governance.duties import Grant, Who
from baton.record.warehouse import write

router = APIRouter()
Asking = Annotated[Rights, Depends(asking)]


@router.post("/grants")
async def give(request: Request, rights: Asking) -> Response:
    """Give somebody a duty. Fields: `asset`, `duty`, `person`, `until` (a day), `reason`."""
    return await _done(request, rights, partial(_give, rights))


@router.post("/grants/end")
async def end(request: Request, rights: Asking) -> Response:
    """End a grant now. Fields: `asset`, `grant` (its number), `reason`."""
    return await _done(request, rights, partial(_end, rights))


def _give(rights: Rights, asset: Asset, fields: dict[str, Any]) -> Grant:
    try:
        until = date.fromisoformat(str(fields.get("until", "")))
    except ValueError:
        raise HTTPException(422, "until: a day such as 2027-06-30") from None
    duty, person, why = (str(fields.get(name, "")) for name in ("duty", "person", "reason"))
    with write() as conn:
        return promotions.grant(conn, asset.id, duty, person, _who(rights), until, why[:2000])


def _end(rights: Rights, asset: Asset, fields: dict[str, Any]) -> Grant:
    number = str(fields.get("grant", ""))
    with write() as conn:
        known = {str(one.id): one for one in duties.of_asset(conn, asset.id)}
        if number not in known:
            raise HTTPException(422, f"grant: {asset.id} has none of the number {number!r}")
        return promotions.end_grant(conn, known[number].id, _who(rights), str(fields.get("reason", ""))[:2000])


def _who(rights: Rights) -> Who:
    return Who(rights.person.id, rights.person.name)


def _asset(rights: Rights, named: str) -> Asset:
    try:
        asset = find(named)
    except SpecError:
        asset = None
    if asset is None or not listing.readable(rights, asset):
        if rights.decide(None):  # who may decide nothing learns nothing of what there is
            raise HTTPException(404, f"There is no asset {named}, or you may not read about it.")
        raise HTTPException(403, f"{rights.person.name} may read only.")
    if not listing.decides(rights, asset):
        raise HTTPException(403, f"{rights.person.name} may read about {named}, not decide.")
    return asset


async def _done(request: Request, rights: Rights, work: Callable[[Asset, dict[str, Any]], Grant]) -> Response:
    fields = await forms.checked_body(request, rights.host, rights.person)
    asset = await run_in_threadpool(_asset, rights, str(fields.get("asset", "")))
    try:
        made = await run_in_threadpool(work, asset, fields)
    except BatonError as error:
        raise HTTPException(409, str(error)) from error
    if request.headers.get("content-type", "").startswith(forms.JSON):
        return JSONResponse(vars(made))
    return RedirectResponse(f"{request.scope['root_path']}/assets/{quote(asset.id, safe=':/')}#duties", 303)
