"""Five people at five browsers: each logs in by Airflow's log-in form under a name of their own; what they see is kept as pictures."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from desks import AtTheBrowser
from screenshots import SIZE, Browser, browser

from baton.services.airflow_api import Orchestrator
from baton.services.supervisor import Services
from baton_demo.incident_response.people import words

TALLEST = 3000  # pixels of a picture


class Album:
    """Pictures of what people saw, numbered in the order in which they were taken; without a folder none is."""

    def __init__(self, folder: Path | None) -> None:
        self.folder, self._taken = folder, 0
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def take(self, window: Browser, name: str) -> None:
        """The whole page in light and in dark; the window then is as it was."""
        if self.folder is None:
            return
        self._taken += 1
        height = int(window.run("return document.documentElement.scrollHeight"))
        window.resize(SIZE[0], min(max(SIZE[1], height), TALLEST))
        for scheme in ("dark", "light"):
            scheme_now = [{"name": "prefers-color-scheme", "value": scheme}]
            window.devtools("Emulation.setEmulatedMedia", features=scheme_now)
            time.sleep(1)  # Airflow's pages change their colours slowly
            window.save(self.folder / f"{self._taken:02}_{name}_{scheme}.png")
        window.resize(*SIZE)


class Person(AtTheBrowser):
    """Somebody at a browser of their own."""

    def __init__(self, window: Browser, airflow: str, name: str, password: str, album: Album) -> None:
        super().__init__(window, airflow, name, password)
        self.name, self.album = name, album

    def picture(self, of: str) -> None:
        """Keep what the window shows."""
        self.album.take(self.window, f"{self.name}_{of}")

    def sees(self, page: str) -> str:
        """The words of a page of the console, as the browser shows them, in one line."""
        self.read(page)
        return " ".join(str(self.window.run("return document.body.innerText")).split())

    def asked(self, number: int, page: str = "actions") -> str:
        """What the page says of an open request; empty: nothing."""
        said = self.read(page).partition(f'id="request-{number}"')[2]
        return words(said.partition(">")[2].partition("</article>")[0])

    def start(self, dag_id: str) -> None:
        """Start a run by the button *Trigger* and its form, in Airflow's own pages."""
        self.window.open(f"{self.airflow}/dags/{dag_id}")
        self.window.press("Trigger")
        self.window.see("Advanced Options")
        self.picture("starts_a_run")
        self.window.press("Trigger")
        self.window.wait("return location.pathname.includes('/runs/manual__')")

    def answer(self, dag_id: str, button: str, of: str) -> None:
        """Press a button of what a DAG asks, in Airflow's menu *Required Actions*."""
        self.window.open(f"{self.airflow}/required_actions?response_received=false&dag_display_name_pattern={dag_id}")
        link = "return [...document.querySelectorAll('a')].find(a => a.href.endsWith('/required_actions'))?.href"
        self.window.open(self.window.wait(link))
        self.window.see(button)
        self.picture(of)
        time.sleep(2)  # as long as anybody reads: see `Orchestrator.answer`
        self.window.press(button)
        self.window.see("Response received")


class Company:
    """The started services, and whoever has come to work so far."""

    def __init__(self, services: Services, passwords: dict[str, str], album: Album) -> None:
        self.services, self.passwords, self.album = services, passwords, album
        self.airflow = Orchestrator(services.airflow_url, services.token)  # for looking on, as the administrator
        self._here: dict[str, Person] = {}
        self._browsers = ExitStack()

    def __enter__(self) -> Self:
        """Nobody is here yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """All go home."""
        self._browsers.close()

    def __call__(self, name: str) -> Person:
        """Somebody, at their browser; the first time they log in."""
        if name not in self._here:
            window = self._browsers.enter_context(browser())
            made = Person(window, self.services.airflow_url, name, self.passwords[name], self.album)
            self._here[name] = made
        return self._here[name]
