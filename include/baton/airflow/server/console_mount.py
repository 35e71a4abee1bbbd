"""What the plugin registers: the console's place in Airflow's API server and in its navigation.

Plugins are loaded by every process of Airflow, also by those that only run tasks. So importing this module costs
nothing: the application, and what it imports, is made at the API server's first request to it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from fastapi import FastAPI

PREFIX = "/baton"
# name -> shapes; the pale outline keeps them visible on the dark ground of the selected entry
_PAGES = {
    "Today": "<path d='M4 7h9M4 12h6M4 17h9M20 4 13 16'/><circle cx='20' cy='4' r='1.2'/>",  # a list and a conductor's baton
    "Models": "<path d='M4 4v16h16M8 14l4-5 3 3 5-6'/>",
    "Map": "<path d='M8 12h4m0 0 4-5m-4 5 4 5'/><circle cx='5' cy='12' r='2.4'/><circle cx='18' cy='6' r='2.4'/>"
    "<circle cx='18' cy='18' r='2.4'/>",
}
_ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke-linecap='round'>"
    "<g stroke='{outline}' stroke-width='4'>{shape}</g><g stroke='{line}' stroke-width='1.8'>{shape}</g></svg>"
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


def nav_entries(base_url: str) -> list[dict[str, Any]]:
    """The entries in Airflow's navigation: Today, Models and Map, each in a frame.

    Args:
        base_url: `[api] base_url`; its path comes before every address of this server.
    """
    root = urlsplit(base_url).path.rstrip("/")
    return [
        {
            "name": name,
            "href": f"{root}{PREFIX}/{name.lower()}",
            "destination": "nav",
            "url_route": name.lower(),
            "nav_top_level": True,
            "icon": _icon(shape, line="#4a5a6e", outline="#e8eef6"),
            "icon_dark_mode": _icon(shape, line="#d5dde7", outline="none"),
        }
        for name, shape in _PAGES.items()
    ]


def _icon(shape: str, **colours: str) -> str:
    return "data:image/svg+xml," + quote(_ICON.format(shape=shape, **colours), safe=" ='/:.,")
