"""Take the README's screenshots from running services (`baton up`, after `make demo`): a development tool, no test.

    python tests/e2e/screenshots.py OUTPUT [--airflow URL] [--user NAME] [--password PASSWORD] [--mlflow URL]

Needs Debian's `chromium` and `chromium-driver`; without them it says so and ends with code 0.
chromedriver is spoken to over its own protocol (W3C WebDriver), so no Python package is
needed beyond httpx. Addresses and passwords default to what `baton up` wrote to BATON_HOME.

Pictures, each `OUTPUT/<name>.png`: `airflow_grid` (runs of transaction_monitoring), `airflow_trigger_form` (partitions),
`airflow_trigger_form_models`, `today`, `models` and `map` (in Airflow's UI; with `--dark` as in its
dark mode), `mlflow_version` (the champion of card_fraud),
`replenishment_grid`, `replenishment_report` (of the newest run) and, where a run waits for a person, `replenishment_review`;
`document_grid`, `document_case` (the most urgent open case), `document_queue` and, where a run waits, `document_review` and
`document_answer` (its decision card); where an action of an incident waits for people, `actions` and `incident` (its page).
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

FLOW, MODEL = "transaction_monitoring", "card_fraud"
SIZE = (1440, 900)
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
]
ENTER = "\ue007"  # the protocol's name for the key
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name for a reference to an element


class Browser:
    """One window of a headless Chromium."""

    def __init__(self, driver: httpx.Client, session: str) -> None:
        self._driver, self._session = driver, session

    def call(self, method: str, path: str, **body: Any) -> Any:
        """One WebDriver command; returns its `value`.

        Raises:
            RuntimeError: the browser's own message.
        """
        answer = self._driver.request(
            method, f"/session/{self._session}{path}", json=body if method == "POST" else None
        )
        value = answer.json()["value"]
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {value.get('error')}: {value.get('message', '').splitlines()[0]}")
        return value

    def open(self, url: str) -> None:
        """Load a page."""
        self.call("POST", "/url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page; `arguments[0]...` are the arguments, `return` gives the result."""
        return self.call("POST", "/execute/sync", script=script, args=list(arguments))

    def wait(self, script: str, *arguments: Any, seconds: float = 60) -> Any:
        """Wait until a script returns something true; returns it.

        Raises:
            RuntimeError: it did not in time; names the page and what it shows.
        """
        until = time.monotonic() + seconds
        while not (found := self.run(script, *arguments)):
            if time.monotonic() > until:
                shown = self.run("return document.body.innerText.slice(0, 300)")
                raise RuntimeError(f"{self.run('return location.href')}: not in {seconds:.0f} s: {script}\n{shown}")
            time.sleep(0.3)
        return found

    def see(self, text: str, seconds: float = 60) -> None:
        """Wait until a text is on the page, and then for its pictures and transitions to settle."""
        self.wait("return document.body && document.body.innerText.includes(arguments[0])", text, seconds=seconds)
        time.sleep(1.5)

    def press(self, label: str) -> None:
        """Press the last button with this label (a dialog's come after the page's)."""
        button = (
            "return [...document.querySelectorAll('button')].filter(b => b.innerText.trim() === arguments[0]).pop()"
        )
        self.click_on(self.wait(button, label))

    def resize(self, width: int, height: int) -> None:
        """Set the size of the page's picture."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def click(self, selector: str) -> None:
        """Click the first element of a CSS selector, as a mouse would."""
        self.click_on(self.call("POST", "/element", using="css selector", value=selector))

    def click_on(self, element: dict[str, str]) -> None:
        """Click an element that a script gave, as a mouse would."""
        self.call("POST", f"/element/{element[ELEMENT]}/click")

    def write(self, element: dict[str, str], text: str) -> None:
        """Type into an element that a script gave, key by key."""
        self.call("POST", f"/element/{element[ELEMENT]}/value", text=text)

    def frame(self, selector: str | None) -> None:
        """Go into a frame; None goes back to the whole page."""
        if selector is None:
            self.call("POST", "/frame", id=None)
            return
        self.wait("return !!document.querySelector(arguments[0])", selector)
        self.call("POST", "/frame", id=self.call("POST", "/element", using="css selector", value=selector))

    def devtools(self, command: str, **parameters: Any) -> Any:
        """One command of Chromium's own protocol."""
        return self.call("POST", "/goog/cdp/execute", cmd=command, params=parameters)

    def save(self, path: Path) -> Path:
        """Write what the window shows."""
        path.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))
        return path


@contextmanager
def browser(size: tuple[int, int] = SIZE, dark: bool = False) -> Iterator[Browser]:
    """A browser with a profile of its own; ended, profile removed, when the block ends."""
    driver_path, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver_path or not chromium:
        raise FileNotFoundError("chromium and chromedriver are not installed (Debian: chromium, chromium-driver)")
    with tempfile.TemporaryDirectory(prefix="baton-screenshots-", ignore_cleanup_errors=True) as profile:
        arguments = [*FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]
        arguments += ["--blink-settings=preferredColorScheme=0"] if dark else []
        with subprocess.Popen([driver_path, "--port=0"], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                port = next(line.split()[-1].rstrip(".") for line in process.stdout if "successfully on port" in line)
                options = {"goog:chromeOptions": {"binary": chromium, "args": arguments}}
                with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=180, trust_env=False) as driver:
                    body = {"capabilities": {"alwaysMatch": options}}
                    answer = driver.post("/session", json=body).json()["value"]
                    if "sessionId" not in answer:
                        raise RuntimeError(f"Chromium did not start: {answer.get('message')}")
                    window = Browser(driver, answer["sessionId"])
                    try:
                        window.resize(*size)
                        yield window
                    finally:
                        window.call("DELETE", "")
            finally:
                process.terminate()


def log_in_to_airflow(window: Browser, url: str, user: str, password: str) -> None:
    """Fill in Airflow's log-in form, that of the users in a file or of those in a database."""
    field = "return document.querySelector(`input[name=${arguments[0]}]`)"
    window.open(f"{url}/auth/login?next={quote(url, safe='')}/baton/today")
    window.write(window.wait(field, "username"), user)
    window.write(window.wait(field, "password"), password + ENTER)
    window.wait("return location.pathname === '/baton/today' && document.readyState === 'complete'")


def capture(
    window: Browser, folder: Path, airflow: str, mlflow: str | None, reviewer: tuple[str, str] | None
) -> list[Path]:
    """All pictures; the browser is logged in to Airflow."""
    made = []
    window.open(f"{airflow}/dags/{FLOW}")
    window.see("publish")  # the last task of the grid, which arrives after its frame
    made.append(window.save(folder / "airflow_grid.png"))
    window.press("Trigger")
    window.see("Trigger Dag")
    for section, field, name in (("Partitions", "Last partition", "form"), ("Models", "Dry run", "form_models")):
        window.press(section)  # folded at first, one at a time stays open
        window.see(field)
        made.append(window.save(folder / f"airflow_trigger_{name}.png"))
    for page, shown, height in (
        ("today", "Waiting for an answer", 1500),
        ("models", "Champions of", 1300),
        ("map", "sales", 1100),
    ):
        window.resize(SIZE[0], height)
        window.open(f"{airflow}/plugin/{page}")
        window.frame("iframe")
        window.see(shown)
        window.frame(None)
        made.append(window.save(folder / f"{page}.png"))
    if mlflow and reviewer:
        secret = base64.b64encode(":".join(reviewer).encode()).decode()
        window.devtools("Network.enable")
        window.devtools("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {secret}"})
        alias = {"name": MODEL, "alias": "champion"}
        answer = httpx.get(
            f"{mlflow}/api/2.0/mlflow/registered-models/alias", params=alias, auth=reviewer, trust_env=False
        )
        version = answer.raise_for_status().json()["model_version"]["version"]
        window.resize(SIZE[0], 1100)
        window.open(f"{mlflow}/#/models/{MODEL}/versions/{version}")
        window.see("champion")
        # MLflow opens its assistant on the first visit
        window.run("document.querySelector('[data-component-id=\"mlflow.assistant.chat_panel.close\"]')?.click()")
        time.sleep(1)
        made.append(window.save(folder / "mlflow_version.png"))
    return made


def capture_replenishment(window: Browser, folder: Path, airflow: str, reports: Path) -> list[Path]:
    """The weekly flow: its grid, its newest report, and its request for a person where one waits."""
    made = []
    window.resize(*SIZE)
    window.open(f"{airflow}/dags/replenishment")
    window.see("send_reviewed")
    made.append(window.save(folder / "replenishment_grid.png"))
    pages = sorted((reports / "replenishment").glob("*.html"), key=lambda path: path.name)
    if pages:
        window.resize(1200, 1700)
        window.open(pages[-1].as_uri())
        made.append(window.save(folder / "replenishment_report.png"))
    return made + capture_review(window, folder, airflow, "replenishment", "replenishment_review.png")


def capture_review(window: Browser, folder: Path, airflow: str, dag_id: str, name: str) -> list[Path]:
    """A flow's request for a person, where one waits."""
    window.resize(*SIZE)
    window.open(f"{airflow}/required_actions?response_received=false&dag_display_name_pattern={dag_id}")
    window.see("Required Action")
    rows = "return [...document.querySelectorAll('a')].find(a => a.href.includes('/tasks/review'))?.href"
    address = window.run(rows)
    if not address:
        return []
    window.open(address if "required_actions" in address else f"{address}/required_actions")
    window.see("Approve")
    return [window.save(folder / name)]


def capture_documents(window: Browser, folder: Path, airflow: str) -> list[Path]:
    """The intake of documents: its grid, its most urgent open case, its queue, its request for a person with the card."""
    from sqlalchemy import select

    from baton.record import tables
    from baton.record.warehouse import read

    made, flow, table = [], "document_intake", tables.cases
    window.resize(*SIZE)
    window.open(f"{airflow}/dags/{flow}")
    window.see("send_reviewed")
    made.append(window.save(folder / "document_grid.png"))
    urgent = select(table.c.entity_key).where(table.c.flow == flow, table.c.status == "open")
    with read() as conn:
        key = conn.execute(urgent.order_by(table.c.priority, table.c.risk.desc()).limit(1)).scalar()
    if key:
        window.resize(SIZE[0], 1300)
        window.open(f"{airflow}/baton/cases/{flow}/{key}")
        window.see("Scores")
        made.append(window.save(folder / "document_case.png"))
    window.resize(*SIZE)
    window.open(f"{airflow}/baton/cases?flow={flow}")
    window.see("priority")
    made.append(window.save(folder / "document_queue.png"))
    made += capture_review(window, folder, airflow, flow, "document_review.png")
    card = window.run("return [...document.querySelectorAll('a')].find(a => a.href.includes('/baton/cases/'))?.href")
    if card and made[-1].stem == "document_review":
        window.resize(SIZE[0], 1300)
        window.open(card)
        window.see("Scores")
        made.append(window.save(folder / "document_answer.png"))
    return made


def capture_incident(window: Browser, folder: Path, airflow: str) -> list[Path]:
    """An action that people must agree to, with its difference, and the page of its incident; where one waits."""
    from baton.actions import requests

    made, waiting = [], requests.still_open("incident_response")
    pages = {"actions": "actions", "incident": f"cases/incident_response/{waiting[0].entity_key}"} if waiting else {}
    for name, page in pages.items():
        window.resize(1300, 1000 if page == "actions" else 1600)
        window.open(f"{airflow}/baton/{page}")
        window.see("Waiting for your word")
        made.append(window.save(folder / f"{name}.png"))
    return made


def main() -> int:
    """Parse the arguments, take the pictures, name them."""
    from baton.settings import settings

    here = settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder for the pictures")
    parser.add_argument("--airflow", default=here.airflow_url, help="address; default: the running `baton up`")
    parser.add_argument("--user", default="admin", help="of Airflow")
    parser.add_argument("--password", help="default: from BATON_HOME")
    parser.add_argument("--mlflow", default=here.mlflow_tracking_uri, help="address; default: the running `baton up`")
    parser.add_argument("--dark", action="store_true", help="in dark mode")
    given = parser.parse_args()
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        sys.stdout.write("skipped: no chromium or chromedriver (Debian: apt-get install chromium chromium-driver)\n")
        return 0
    if not given.airflow:
        parser.error("Airflow does not run: start it with `baton up`, or give --airflow")
    password = given.password or json.loads((here.secrets_dir / "airflow_users.json").read_text())[given.user]
    reviewer = None
    if (here.secrets_dir / "mlflow.json").exists():
        entry = json.loads((here.secrets_dir / "mlflow.json").read_text())["reviewer"]
        reviewer = (entry["username"], entry["password"])
    given.output.mkdir(parents=True, exist_ok=True)
    with browser(dark=given.dark) as window:
        log_in_to_airflow(window, given.airflow, given.user, password)
        for path in capture(window, given.output, given.airflow, given.mlflow, reviewer):
            sys.stdout.write(f"{path}\n")
        for path in capture_replenishment(window, given.output, given.airflow, here.reports_dir):
            sys.stdout.write(f"{path}\n")
        for path in capture_documents(window, given.output, given.airflow):
            sys.stdout.write(f"{path}\n")
        for path in capture_incident(window, given.output, given.airflow):
            sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
