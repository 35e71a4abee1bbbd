"""The page Assets, and the page of one asset; both as JSON when the caller accepts no HTML."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response

from baton.console.host import Rights
from baton.console.pages import charts
from baton.console.pages.asking import asking, wants_html, with_forms
from baton.console.pages.assets import timeline
from baton.console.queries.assets import life, listing
from baton.errors import SpecError
from baton.governance import duties
from baton.governance.assets import find
from baton.record.warehouse import read

router = APIRouter()
Asking = Annotated[Rights, Depends(asking)]


@router.get("/assets")
def assets(request: Request, rights: Asking, page_number: Annotated[int, Query(alias="page", ge=1)] = 1) -> Response:
    """Assets of all packs, a page at a time, searched and filtered by `q, kind, pack, owner, impact, due`."""
    found = listing.one_page(rights, listing.wanted_of(dict(request.query_params)), page_number)
    return (
        with_forms(request, rights, "assets/list.html.j2", found=found) if wants_html(request) else JSONResponse(found)
    )


@router.get("/assets/{asset:path}")
def one_asset(request: Request, rights: Asking, asset: str) -> Response:
    """One asset: who answers for it, its versions, what they scored, drift and performance, what went wrong."""
    found = _one(rights, asset)
    if not wants_html(request):
        return JSONResponse(found)
    return with_forms(
        request,
        rights,
        "assets/one.html.j2",
        found=found,
        draw=charts,
        line=timeline,
        now=datetime.now(UTC),
        duties=duties.asked_on(found["kind"]),
    )


def _one(rights: Rights, asset: str) -> dict[str, Any]:
    try:
        known = find(asset)
    except SpecError:
        known = None
    # the same answer for an asset that is not there and one that is not theirs
    if known is None or not listing.readable(rights, known):
        raise HTTPException(404, f"There is no asset {asset}, or you may not read about it.")
    with read() as conn:
        return {**listing.row_of(known, datetime.now(UTC).date()), **life.life(conn, rights, known)}
