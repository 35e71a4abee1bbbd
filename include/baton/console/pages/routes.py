"""The console's pages. Who asks is settled before any of them runs (see `app.create_app`)."""

from datetime import UTC, date, datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response

from baton.console.host import Rights
from baton.console.pages import charts, forms, graph_drawing, map_drawing, stored_pages
from baton.console.pages.asking import asking, back_to, wants_html, with_forms
from baton.console.queries import models, orchestra, queues
from baton.console.queries.card import find_card
from baton.console.queries.lineage import first_row
from baton.console.queries.state import verify_ledger
from baton.console.queries.today import gather, readable
from baton.errors import BatonError, DatasetCorrupt
from baton.feedback import cases
from baton.record import tables
from baton.record.warehouse import read
from baton.settings import settings
from baton.usage import report

router = APIRouter()
MAX_NOTE = 2000


Asking = Annotated[Rights, Depends(asking)]


@router.get("/")
def start(request: Request) -> Response:
    """The start page is Today."""
    return RedirectResponse(f"{request.scope['root_path']}/today", 307)


@router.get("/today")
def today(request: Request, rights: Asking) -> Response:
    """What happened today, and what waits for a person."""
    return with_forms(request, rights, "today.html.j2", today=gather(rights))


@router.get("/api/today")
def today_as_json(rights: Asking) -> dict[str, Any]:
    """The page Today as JSON."""
    return gather(rights)


@router.get("/models")
def models_page(request: Request, rights: Asking, model: str = "", until: str = "", at: str = "") -> Response:
    """One model over its partitions, the first one unless it is named, and as of a moment `at`; as JSON when the caller accepts no HTML."""
    with read() as conn:
        names = models.readable(conn, rights)
        if model and model not in names:
            raise HTTPException(404, f"There is no model {model}, or you may not read about it.")
        chosen = model or next(iter(names), "")
        found = {"models": names, **(models.one_model(conn, rights, chosen, until) if chosen else {"model": ""})}
        if chosen:
            found["as_of"] = models.as_of(conn, rights, chosen, at) if at else None
    if not wants_html(request):
        return JSONResponse(found)
    mlflow = settings().mlflow_tracking_uri
    versions = f"{mlflow}/#/models/{quote(chosen)}/versions/" if mlflow else None
    return with_forms(
        request, rights, "models.html.j2", found=found, draw=charts, now=datetime.now(UTC), versions=versions
    )


@router.get("/usage")
def usage_page(request: Request, rights: Asking, month: str = "") -> Response:
    """What a month used (`YYYY-MM`, the present one unless it is named), and how budgets stand; as JSON when the caller accepts no HTML."""
    today = datetime.now(UTC).date()
    try:
        of = date.fromisoformat(f"{month}-01") if month else today
    except ValueError as error:
        raise HTTPException(422, "month: written YYYY-MM") from error
    problems: list[str] = []
    budgets = readable(lambda: report.standing(rights.read), rights, problems)
    found = report.month(rights.read, min(of, today), today) | {"budgets": budgets, "problems": problems}
    return (
        with_forms(request, rights, "usage.html.j2", found=found, draw=charts)
        if wants_html(request)
        else JSONResponse(found)
    )


@router.get("/map")
def map_page(request: Request, rights: Asking) -> Response:
    """Sources, flows, models and effects with today's state; as JSON when the caller accepts no HTML."""
    found = orchestra.gather(rights)
    if not wants_html(request):
        return JSONResponse(found)
    return with_forms(request, rights, "map.html.j2", found=found, draw=map_drawing.draw)


@router.get("/pages/{path:path}")
def stored_page(path: str, rights: Asking) -> Response:
    """A stored page: validation result or drift report."""
    found = stored_pages.find_page(settings().reports_dir, path)
    # the same answer for a page that is not there and one that is not theirs
    if found is None or not stored_pages.readable(rights, path):
        raise HTTPException(404, "There is no such page, or you may not read about the DAG that it belongs to.")
    return FileResponse(found, media_type="text/html", headers={"Content-Security-Policy": stored_pages.POLICY})


@router.get("/cases")
def cases_by_queue(
    request: Request, rights: Asking, flow: str = "", queue: str = "", route: str = "",
    page_number: Annotated[int, Query(alias="page", ge=1)] = 1,
) -> Response:  # fmt: skip
    """Open cases, a page at a time, of a flow, a queue or a route; as JSON when the caller accepts no HTML."""
    with read() as conn:
        found = queues.one_page(conn, rights, queues.Filter(flow, queue, route), page_number)
    if not wants_html(request):
        return JSONResponse(found)
    return with_forms(request, rights, "cases.html.j2", found=found)


@router.get("/cases/{flow}/{entity_key:path}")
def case(request: Request, flow: str, entity_key: str, rights: Asking) -> Response:
    """The decision card of a case; as JSON when the caller accepts no HTML."""
    found = find_card(rights, flow, entity_key) if rights.read(flow) else None
    if found is None:
        raise HTTPException(404, f"Flow {flow} has no case {entity_key}, or you may not read about it.")
    if not wants_html(request):
        return JSONResponse(found)
    mlflow = settings().mlflow_tracking_uri
    return with_forms(
        request,
        rights,
        "card.html.j2",
        card=found,
        mlflow_url=mlflow,
        longest=cases.LONGEST_TEXT,
        draw=graph_drawing.draw,
    )


@router.post("/cases/{flow}/{entity_key:path}")
async def decide(request: Request, flow: str, entity_key: str, rights: Asking) -> Response:
    """Record the person's decision on a case.

    Fields: `resolution` (one of the case's own), `note`, `text` (for an answer that comes with one), `seen` (commit of the
    decision that was looked at), and of forms `token` and `back` (today, card, or `cases` with the query of that page).
    """
    fields = await forms.checked_body(request, rights.host, rights.person)
    result = await run_in_threadpool(_decide, rights, flow, entity_key, fields)
    if request.headers.get("content-type", "").startswith(forms.JSON):
        return JSONResponse(result)
    back = back_to(str(fields.get("back", "")), flow, entity_key)
    return RedirectResponse(f"{request.scope['root_path']}/{back}", 303)


def _decide(rights: Rights, flow: str, entity_key: str, fields: dict[str, Any]) -> dict[str, Any]:
    if not rights.decide(flow):
        raise HTTPException(403, f"{rights.person.name} may read cases of {flow}, not decide them.")
    resolution, note = fields.get("resolution"), fields.get("note") or ""
    if not isinstance(resolution, str):
        raise HTTPException(422, "resolution: name one of the answers that the case allows")
    if not isinstance(note, str) or len(note) > MAX_NOTE:
        raise HTTPException(422, f"note: text of at most {MAX_NOTE} characters")
    text = fields.get("text")
    if text is not None and not isinstance(text, str):
        raise HTTPException(422, "text: what is to be used, as a text")
    seen = str(fields.get("seen") or "")
    if seen and not (seen.isdecimal() and len(seen) <= 18):
        raise HTTPException(422, "seen: the number of the commit that was looked at")
    with read() as conn:
        if first_row(conn, tables.cases, flow=flow, entity_key=entity_key) is None:
            raise HTTPException(404, f"Flow {flow} has no case {entity_key}.")
    try:
        looked_at = int(seen) if seen else None
        who = rights.person
        return cases.decide(flow, entity_key, resolution, who.name, note.strip(), text, looked_at, who.id)
    except (cases.UnknownResolution, cases.UnusableText) as error:
        raise HTTPException(422, str(error)) from error
    except DatasetCorrupt:  # what the text is compared with cannot be read
        raise
    except BatonError as error:  # somebody else was faster
        raise HTTPException(409, str(error)) from error


@router.post("/ledger/verify")
async def verify(request: Request, rights: Asking) -> Response:
    """Check the ledger's chain now; the result is on the page Today."""
    fields = await forms.checked_body(request, rights.host, rights.person)
    if not await run_in_threadpool(rights.decide, None):
        raise HTTPException(403, f"{rights.person.name} may read, not start checks.")
    result = await run_in_threadpool(verify_ledger, rights.person.name)
    if "token" in fields:
        return RedirectResponse(f"{request.scope['root_path']}/today#ledger", 303)
    return JSONResponse(result)
