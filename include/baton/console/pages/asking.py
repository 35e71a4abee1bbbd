"""Who asks for a page, what they want of it, and where a form leads back to."""

from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import Request
from fastapi.responses import Response

from baton.console.host import Host, Person, Rights
from baton.console.pages import forms
from baton.console.pages.rendering import page


def asking(request: Request) -> Rights:
    """Rights of the person whom `create_app`'s dependency has found."""
    person: Person = request.state.baton_person
    host: Host = request.app.state.host
    return Rights(host, person)


def wants_html(request: Request) -> bool:
    """Whether a browser asks; programs get JSON."""
    return "text/html" in request.headers.get("accept", "")


def with_forms(request: Request, rights: Rights, template: str, **values: Any) -> Response:
    """A page with forms, which carry a token of the person's own."""
    return page(request, rights.host, template, token=forms.token_for(rights.host, rights.person), **values)


def back_to(named: str, flow: str, entity_key: str) -> str:
    """The page that a form came from, below the console: nothing that a form says leads anywhere else."""
    if named == "card":
        return f"cases/{quote(flow, safe='')}/{quote(entity_key)}"
    if named == "actions":
        return "actions"
    where, _, query = named.partition("?")
    if where != "cases":
        return "today"
    kept = {name: value for name, value in parse_qsl(query) if name in ("flow", "queue", "route", "page")}
    return f"cases?{urlencode(kept)}" if kept else "cases"
