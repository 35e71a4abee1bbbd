"""HTML pages: Jinja templates, one style sheet and a few lines of script, all inline and named by a nonce."""

import secrets
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from baton.console import wording
from baton.console.host import Host
from baton.console.pages.sparkline import Point, sparkline
from baton.settings import SINGLE, settings

TEMPLATES = Path(__file__).parent.parent / "templates"


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates' environment: everything escaped, a missing name is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    words = (
        wording.when, wording.day, wording.partition, wording.ago, wording.count, wording.money, wording.figure, wording.plural,
        wording.cell, wording.meaning, wording.details, wording.sentence, wording.short,
    )  # fmt: skip
    made.filters |= {one.__name__: one for one in words}
    made.globals["metric_line"] = metric_line
    made.globals["style"] = (TEMPLATES / "console.css").read_text(encoding="utf-8")
    made.globals["script"] = (TEMPLATES / "console.js").read_text(encoding="utf-8")
    return made


def metric_line(window: dict[str, Any]) -> str:
    """The sparkline of a model's labelled metric over its partitions."""
    points = [Point(wording.partition(p["partition"]), p["value"], p["status"] == "dropped") for p in window["series"]]
    newest = window["labelled"] or {}
    return sparkline(points, newest.get("reference"), newest.get("metric") or "metric")


def page(request: Request, host: Host, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Render a template; `console` and `airflow` are the paths that links start with."""
    nonce = secrets.token_urlsafe(16)
    html = environment().get_template(template).render(
        nonce=nonce, console=request.scope.get("root_path", ""), airflow=host.root,
        single=settings().governance == SINGLE, **values
    )  # fmt: skip
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    )
    return HTMLResponse(html, status, headers={"Content-Security-Policy": policy})
