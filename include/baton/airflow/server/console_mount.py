"""What the plugin registers: the console's place in Airflow's API server and in its navigation.

Plugins are loaded by every process of Airflow, also by those that only run tasks. So importing this module costs
nothing: the application, and what it imports, is made at the API server's first request to it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from fastapi import FastAPI

PREFIX = "/baton"
# a list and a conductor's baton; the pale outline keeps it visible on the dark ground of the selected entry
_SHAPE = "%3Cpath d='M4 7h9M4 12h6M4 17h9M20 4 13 16'/%3E%3Ccircle cx='20' cy='4' r='1.2'/%3E"
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke-linecap='round'%3E"
    f"%3Cg stroke='{{outline}}' stroke-width='4'%3E{_SHAPE}%3C/g%3E%3Cg stroke='{{line}}' stroke-width='1.8'%3E{_SHAPE}%3C/g%3E"
    "%3C/svg%3E"
)


class Console:
    """The ASGI application that the plugin mounts; the real one is made when it is first asked for."""

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        await application()(scope, receive, send)


@lru_cache(maxsize=1)
def application() -> FastAPI:
    """The console, with Airflow as its host."""
    from baton.airflow.server.console_host import AirflowHost, current_user
    from baton.console.pages.app import create_app

    return create_app(current_user, AirflowHost())


def checked_answers(app: Any) -> Any:
    """Airflow's API behind a look at what people answer; called by the API server only."""
    from baton.airflow.server.answers import CheckedAnswers, open_fields

    return CheckedAnswers(app, open_fields)


def form_partitions(app: Any) -> Any:
    """Airflow's API behind a look at which partition a new run's form names; called by the API server only."""
    from baton.airflow.server.form import FormPartitions

    return FormPartitions(app)


def nav_entry(base_url: str) -> dict[str, Any]:
    """The entry in Airflow's navigation: the page Today in a frame.

    Args:
        base_url: `[api] base_url`; its path comes before every address of this server.
    """
    root = urlsplit(base_url).path.rstrip("/")
    return {
        "name": "Today",
        "href": f"{root}{PREFIX}/today",
        "destination": "nav",
        "url_route": "today",
        "nav_top_level": True,
        "icon": _ICON.format(line="%234a5a6e", outline="%23e8eef6"),
        "icon_dark_mode": _ICON.format(line="%23d5dde7", outline="none"),
    }
