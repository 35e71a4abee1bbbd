"""The pages Quarantine, and giving rows up there: who does it is whoever logged in, and another person may have to agree."""

import re
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse, Response

from baton.actions.votes import Voter
from baton.console.host import Rights
from baton.console.pages import forms, stored_pages
from baton.console.pages.asking import asking, wants_html, with_forms
from baton.console.queries.quarantine import waiting
from baton.data.fit import LONGEST_KEY, flaw
from baton.errors import BatonError
from baton.quarantine import discards, repairs
from baton.quarantine.rows import FEW, RowKey, Where
from baton.record.warehouse import read
from baton.settings import settings

router = APIRouter()
MOST = 20_000  # rows of a rule at once: they are held with all their cells, beside Airflow's own work
_ROW = re.compile(r"([0-9]{1,18}):([0-9A-Za-z]{1,64})")
Asking = Annotated[Rights, Depends(asking)]


@router.get("/quarantine")
def places(request: Request, rights: Asking, page_number: Annotated[int, Query(alias="page", ge=1)] = 1) -> Response:
    """Partitions that have open rows, a page at a time; as JSON when the caller accepts no HTML."""
    with read() as conn:
        found = waiting.one_page(conn, rights, page_number)
    for place in found["places"]:
        place["result"] = _stored(place["result"])
    return (
        with_forms(request, rights, "quarantine/list.html.j2", found=found)
        if wants_html(request)
        else JSONResponse(found)
    )


@router.get("/quarantine/{flow}/{partition}")
def rows(
    request: Request, flow: str, partition: str, rights: Asking, rule: str = "",
    page_number: Annotated[int, Query(alias="page", ge=1, le=10**9)] = 1,
) -> Response:  # fmt: skip
    """The open rows of a partition, a page at a time, of one rule or of all; as JSON when the caller accepts no HTML."""
    if not rights.read(flow) or _odd(flow, partition, rule):
        raise HTTPException(404, f"There is no flow {flow}, or you may not read about it.")
    with read() as conn:
        found = waiting.one_partition(conn, rights, flow, partition, rule, page_number)
    found["result"] = _stored(found["result"])
    if not wants_html(request):
        return JSONResponse(found)
    return with_forms(
        request,
        rights,
        "quarantine/one.html.j2",
        found=found,
        share=discards.SHARE,
        most=MOST,
        longest=forms.MAX_REASON,
    )


def _stored(page: str) -> str:
    """The address of a result page that is still there; empty: retention removed it, or there is none."""
    return page if page and stored_pages.find_page(settings().reports_dir, page) else ""


@router.post("/quarantine/{flow}/{partition}/discard")
async def discard(request: Request, flow: str, partition: str, rights: Asking) -> Response:
    """Give rows up, or ask another person to agree where they are too many; the same again, once they agreed, does it.

    Fields: `reason`, and `rows` (`NUMBER:SHA256` of each, as the page has them; of forms a field `row:NUMBER:SHA256` each) or
    `rule` with `seen` (how many rows of it were shown).
    """
    fields = await forms.checked_body(request, rights.host, rights.person)
    result = await run_in_threadpool(_discard, rights, flow, partition, fields)
    if request.headers.get("content-type", "").startswith(forms.JSON):
        return JSONResponse(result, 200 if result["discarded"] else 202)
    return RedirectResponse(
        f"{request.scope['root_path']}/quarantine/{quote(flow, safe='')}/{quote(partition, safe='')}", 303
    )


def _discard(rights: Rights, flow: str, partition: str, fields: dict[str, Any]) -> dict[str, Any]:
    if not rights.decide(flow) or _odd(flow, partition):
        raise HTTPException(403, f"{rights.person.name} may not decide about rows of {flow}.")
    reason = fields.get("reason") or ""
    if not isinstance(reason, str) or not reason.strip() or len(reason) > forms.MAX_REASON or flaw(reason):
        raise HTTPException(422, f"reason: say why in a text of at most {forms.MAX_REASON} characters")
    where, seen = _which(flow, partition, fields)
    who = Voter(rights.person.id, rights.person.name, "airflow")
    try:
        return {"discarded": repairs.discard(where, reason.strip(), who, seen), "request": None, "words": ""}
    except discards.DiscardWaits as waits:
        with read() as conn:
            asked = discards.standing(conn, flow, partition)
        if asked is None or asked.state != "open":
            raise HTTPException(409, str(waits)) from waits
        return {"discarded": 0, "request": asked.id, "words": str(waits)}
    except BatonError as error:
        raise HTTPException(409, str(error)) from error


def _which(flow: str, partition: str, fields: dict[str, Any]) -> tuple[Where, int]:
    """The rows that are meant, of this partition and no other, and how many they are as whoever asks saw them."""
    rule = fields.get("rule") or ""
    names = fields.get("rows") or [name.removeprefix("row:") for name in fields if name.startswith("row:")]
    if not isinstance(rule, str) or not isinstance(names, list) or bool(rule) == bool(names):
        raise HTTPException(422, "choose rows (`rows`), or all of a rule (`rule`), and not both")
    if names:
        keys = {_key(name) for name in names}
        if len(keys) > FEW:
            raise HTTPException(422, f"rows: at most {FEW} at once")
        return Where(flow, partition, rows=tuple(sorted(keys)), status="open"), len(keys)
    seen = str(fields.get("seen", ""))
    if _odd(rule) or not re.fullmatch("[0-9]{1,9}", seen):
        raise HTTPException(422, "seen: how many rows of the rule you were shown")
    with read() as conn:
        there = waiting.of_rule(conn, flow, partition, rule)
    if there > MOST:
        raise HTTPException(
            409, f"{there:,} rows break {rule}; here {MOST:,} at once are given up, more by `baton quarantine discard`"
        )
    return Where(flow, partition, rule=rule, status="open"), int(seen)


def _key(name: Any) -> RowKey:
    found = _ROW.fullmatch(name) if isinstance(name, str) else None
    if found is None:
        raise HTTPException(422, "rows: each is `NUMBER:SHA256`, as the page has it")
    return found[2], int(found[1])


def _odd(*texts: str) -> bool:
    """Whether no flow, partition or rule can be called so."""
    return any(flaw(text, LONGEST_KEY) for text in texts)
