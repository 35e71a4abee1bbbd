"""People at the console's pages: each logs in under their own name, reads a page, and presses a button of a form that is on it.

Over HTTP, as a browser would: what Airflow's log-in form gives is kept as its cookie; a form goes with all that the page put
into it (so with the page's own token), and says from which site it comes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from typing import Protocol

import httpx

from baton.errors import BatonError

CONSOLE = "/baton"


class Seat(Protocol):
    """Where one person sits; the end-to-end tests put a real browser there where there is one."""

    def read(self, page: str) -> str:
        """The HTML of a page of the console, such as `actions`."""

    def press(
        self, page: str, action: str, button: str, held: Mapping[str, str] = {}, typed: Mapping[str, str] = {}
    ) -> str:
        """Open a page, press a button of one of its forms; returns the HTML of the page that then shows.

        Args:
            action: what the form's address ends with.
            held: what it must hold besides, by field.
            typed: what is written into it first, by field.

        Raises:
            BatonError: there is no such button, or the console refused; in its own words.
        """


People = Callable[[str], Seat]  # name -> where they sit


class Form:
    """One form of a page: its address, what it holds, and its buttons (label -> name and value)."""

    def __init__(self, action: str) -> None:
        self.action, self.fields, self.buttons = action, dict[str, str](), dict[str, tuple[str, str]]()


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._inside = False
        self._button: dict[str, str] | None = None
        self._label = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(Form(given.get("action", "")))
            self._inside = True
        elif self._inside and tag == "input" and "name" in given:
            self.found[-1].fields[given["name"]] = given.get("value", "")
        elif self._inside and tag == "button":
            self._button, self._label = given, ""

    def handle_data(self, data: str) -> None:
        self._label += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False
        elif tag == "button" and self._button is not None:
            self.found[-1].buttons[self._label.strip()] = (self._button.get("name", ""), self._button.get("value", ""))
            self._button = None


def forms(page: str) -> list[Form]:
    """The forms of a page, as they stand in it."""
    reader = _Forms()
    reader.feed(page)
    return reader.found


def said_in(page: str) -> str:
    """What a whole page says."""
    return words(page.partition("<main>")[2].partition("</main>")[0])


def words(page: str) -> str:
    """What a piece of a page says, without its markup, in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


class OverHttp:
    """A desk without a browser."""

    def __init__(self, airflow: str, name: str, password: str) -> None:
        """Log in to Airflow."""
        self.airflow = airflow.rstrip("/")
        self.http = httpx.Client(
            base_url=airflow, headers={"Accept": "text/html"}, timeout=60, trust_env=False, follow_redirects=True
        )
        answer = self.http.post("/auth/token", json={"username": name, "password": password})
        self.http.cookies.set("_token", answer.raise_for_status().json()["access_token"])

    def read(self, page: str) -> str:
        """See `Seat`."""
        return self._shown(self.http.get(f"{CONSOLE}/{page}"))

    def press(
        self, page: str, action: str, button: str, held: Mapping[str, str] = {}, typed: Mapping[str, str] = {}
    ) -> str:
        """See `Seat`."""
        fitting = [
            one for one in forms(self.read(page))
            if one.action.endswith(action) and button in one.buttons and held.items() <= one.fields.items()
        ]  # fmt: skip
        if not fitting:
            raise BatonError(f"{CONSOLE}/{page} has no button {button!r} of a form {action} with {dict(held)}")
        form, (name, value) = fitting[0], fitting[0].buttons[button]
        body = {**form.fields, **typed, **({name: value} if name else {})}
        return self._shown(self.http.post(form.action, data=body, headers={"Origin": self.airflow}))

    def _shown(self, answer: httpx.Response) -> str:
        if answer.is_error:
            raise BatonError(f"{answer.status_code}: {said_in(answer.text)}")
        return answer.text
