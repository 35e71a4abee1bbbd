"""Where the people of the end-to-end tests sit: each at a real browser where Chromium is, else over HTTP; the clicks are the same."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from screenshots import Browser, browser, log_in_to_airflow

from baton.errors import BatonError
from baton.services.supervisor import Services
from baton_demo.incident_response.people import CONSOLE, OverHttp, Seat, said_in

FORM = """return [...document.forms].find(form => form.action.endsWith(arguments[0])
  && [...form.querySelectorAll('button')].some(one => one.textContent.trim() === arguments[1])
  && Object.entries(arguments[2]).every(([name, value]) => form.elements[name]?.value === value))"""
BUTTON = "return [...arguments[0].querySelectorAll('button')].find(one => one.textContent.trim() === arguments[1])"
FOLDED = "return arguments[0].closest('details:not([open])')?.querySelector('summary')"
STATUS = "return performance.getEntriesByType('navigation')[0].responseStatus"


class AtTheBrowser:
    """A desk with a browser of its own, logged in by Airflow's log-in form."""

    def __init__(self, window: Browser, airflow: str, name: str, password: str) -> None:
        self.window, self.airflow = window, airflow
        log_in_to_airflow(window, airflow, name, password)

    def read(self, page: str) -> str:
        """See `baton_demo.incident_response.people.Seat`."""
        self.window.open(f"{self.airflow}{CONSOLE}/{page}")
        return self._shown()

    def press(
        self, page: str, action: str, button: str, held: Mapping[str, str] = {}, typed: Mapping[str, str] = {}
    ) -> str:
        """See `baton_demo.incident_response.people.Seat`."""
        self.read(page)
        form = self.window.run(FORM, action, button, held)
        if form is None:
            raise BatonError(f"{CONSOLE}/{page} has no button {button!r} of a form {action} with {dict(held)}")
        if folded := self.window.run(FOLDED, form):
            self.window.click_on(folded)
        for name, text in typed.items():
            self.window.write(self.window.run("return arguments[0].elements[arguments[1]]", form, name), text)
        self.window.run("document.body.dataset.before = 'yes'")
        self.window.click_on(self.window.run(BUTTON, form, button))
        self.window.wait("return document.readyState === 'complete' && !document.body.dataset.before")
        return self._shown()

    def _shown(self) -> str:
        page = str(self.window.run("return document.documentElement.outerHTML"))
        if (status := self.window.run(STATUS)) >= 400:
            raise BatonError(f"{status}: {said_in(page)}")
        return page


class Room:
    """Desks by name; what each press showed is kept."""

    def __init__(self, services: Services, stack: ExitStack, *, real: bool) -> None:
        self.services, self.stack, self.real = services, stack, real
        self.pages: list[tuple[str, str, str]] = []  # person, address of the form, the page that came
        self._desks: dict[str, Seat] = {}

    def __call__(self, person: str) -> Seat:
        if person not in self._desks:
            self._desks[person] = self._new(person)
        return self._desks[person]

    def _new(self, person: str) -> Seat:
        where = (self.services.airflow_url, person, self.services.users[person])
        desk = AtTheBrowser(self.stack.enter_context(browser()), *where) if self.real else OverHttp(*where)
        return Kept(person, desk, self.pages)

    def shown(self, person: str, action: str) -> str:
        """The page that a person saw after their last press on a form whose address ends so."""
        return [page for who, where, page in self.pages if who == person and where.endswith(action)][-1]


class Kept:
    """A desk whose pages are kept."""

    def __init__(self, person: str, desk: Seat, pages: list[tuple[str, str, str]]) -> None:
        self.person, self.desk, self.pages, self.read = person, desk, pages, desk.read

    def press(
        self, page: str, action: str, button: str, held: Mapping[str, str] = {}, typed: Mapping[str, str] = {}
    ) -> str:
        """See `baton_demo.incident_response.people.Seat`."""
        shown = self.desk.press(page, action, button, held, typed)
        self.pages.append((self.person, action, shown))
        return shown


@contextmanager
def room(services: Services) -> Iterator[Room]:
    """A room whose browsers end with it."""
    with ExitStack() as stack:
        yield Room(services, stack, real=all(shutil.which(one) for one in ("chromium", "chromedriver")))
