"""The console as a FastAPI application, to be mounted into the host (Airflow's API server, under `/baton`)."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException as AnyHttpException

from baton.console.host import Host, Person
from baton.console.pages import action_routes
from baton.console.pages.assets import grants
from baton.console.pages.assets import routes as asset_routes
from baton.console.pages.quarantine import routes as quarantine_routes
from baton.console.pages.rendering import page
from baton.console.pages.routes import router
from baton.errors import BatonError

log = logging.getLogger(__name__)
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'self'",
}


def create_app(current_user: Callable[..., Any], host: Host) -> FastAPI:
    """Build the application.

    Args:
        current_user: FastAPI dependency that returns the `Person` who asks, or raises HTTPException 401. Every route
            depends on it; there are no others (no generated documentation, no static files).
        host: what else the console needs from the program that shows it.
    """

    def identify(request: Request, person: Person = Depends(current_user)) -> None:  # noqa: B008 - FastAPI's notation
        request.state.baton_person = person

    app = FastAPI(title="Baton", dependencies=[Depends(identify)], docs_url=None, redoc_url=None, openapi_url=None)
    app.state.host = host
    app.include_router(router)
    app.include_router(action_routes.router)
    app.include_router(asset_routes.router)
    app.include_router(grants.router)
    app.include_router(quarantine_routes.router)
    app.middleware("http")(_with_headers)
    app.add_exception_handler(AnyHttpException, _refused)
    app.add_exception_handler(BatonError, _broken)
    return app


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


async def _refused(request: Request, error: Exception) -> Response:
    """401, 403, 404, ... in words for a person, as JSON for a program."""
    assert isinstance(error, AnyHttpException)
    return _message(request, error.status_code, str(error.detail), error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    """A message that says what to do, such as a warehouse without tables."""
    log.warning("%s: %s", request.url.path, error)
    return _message(request, 503, str(error))


def _message(request: Request, status: int, detail: str, headers: Any = None) -> Response:
    host: Host = request.app.state.host
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"detail": detail}, status, headers=headers)
    login = host.login_url(str(request.url)) if status == 401 else None
    back = next((name for name in ("actions", "quarantine") if f"/{name}/" in request.url.path), "today")
    return page(request, host, "message.html.j2", status, code=status, detail=detail, login=login, back=back)
