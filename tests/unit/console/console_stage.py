"""The stage of the console's tests: a host of a few lines, a client for a person, and warehouses to look at.

Test modules load it by path, because tests are no package: `STAGE = runpy.run_path(...)`.
"""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient
from sqlalchemy import event

from baton.console.host import OpenRequest, Person, RunsOfDag, Wiring
from baton.console.pages.app import create_app
from baton.console.queries import alias_watch
from baton.errors import ServiceError
from baton.record import warehouse
from baton.settings import settings

ROWS = runpy.run_path(str(Path(__file__).with_name("console_rows.py")))
FLOW = ROWS["FLOW"]
HTML = {"accept": "text/html"}
SITE = "http://testserver"


class LittleHost:
    """Knows four people: admin and second decide, viewer reads, stranger may nothing."""

    root, origin, secret = "", "", b"key of this test"
    started: ClassVar[list[tuple[str, str, dict[str, str]]]] = []  # what people had started, by all of them

    def allowed(self, person: Person, action: str, dag_id: str | None) -> bool:
        return person.name in ("admin", "second") or (person.name == "viewer" and action == "read")

    def runs(self, person: Person, since: datetime) -> list[RunsOfDag]:
        if person.name == "stranger":
            return []
        return [
            RunsOfDag(
                FLOW, {"success": 13, "failed": 1}, "run-2", "failed", since.isoformat(), "2026-11-20T09:00:00", "run-2"
            )
        ]

    def requests(self, person: Person) -> list[OpenRequest]:
        at = datetime.now(UTC).isoformat()
        return [
            OpenRequest("card_fraud_promote", "run 1", "approve", -1, "Promote?", at),
            OpenRequest("document_intake", "r", "confirm", 3, "Is this invoice real?", at),
        ] if person.name != "stranger" else []  # fmt: skip

    def wirings(self, person: Person) -> list[Wiring]:
        """A flow with its source, two models and a delivery; a flow of labels; the lifecycle of one model."""
        if person.name == "stranger":
            return []
        pack, given = "pack:financial_crime", f"x-baton://{FLOW}/labelled"
        flow = {"ingest": {"source": "transactions"}, "contract": {"contract": "transactions"}}
        flow |= {f"score__{model}": {"model": model} for model in ("card_fraud", "hidden")}
        flow |= {
            "send": {"effect": "mail", "conn_id": "outgoing_mail"},
            "send_reviewed": {"effect": "mail", "conn_id": "outgoing_mail"},
        }
        monitor = ("kind:lifecycle", pack, "model:card_fraud")
        return [
            Wiring("card_fraud_monitor", monitor, wakes_on=(given, f"x-baton://{FLOW}/published")),
            Wiring("somebody_elses", ("team:other",)),
            Wiring("transaction_labels", ("kind:flow", pack), True, {"ingest": {"source": "labels"}}, (given,)),
            Wiring(FLOW, ("kind:flow", pack), False, flow, (f"x-baton://{FLOW}/published",)),
        ]

    def start(self, person: Person, dag_id: str, conf: Mapping[str, str]) -> str:
        self.started.append((person.name, dag_id, dict(conf)))
        return "run 9"

    def login_url(self, next_url: str) -> str:
        return f"/auth/login?next={next_url}"


def who(request: Request) -> Person:
    """Bearer token or cookie; the token is the name."""
    name = request.headers.get("authorization", "").removeprefix("Bearer ") or request.cookies.get("who")
    if not name:
        raise HTTPException(401, "Not authenticated")
    return Person(name)


@pytest.fixture(autouse=True)
def no_registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The registry's answer is what a test puts here; without one it does not answer."""
    answer: dict[str, Any] = {}

    def fetch(models: tuple[str, ...]) -> Any:
        if not answer:
            raise ServiceError("MLflow: no server is known")
        return answer

    monkeypatch.setattr(alias_watch, "fetch", fetch)
    monkeypatch.setattr(alias_watch, "KEEP", 0.0)
    monkeypatch.setattr("baton.console.queries.state.known_models", lambda: ("card_fraud", "transaction_anomaly"))
    return answer


def new_home(folder: Path, patch: pytest.MonkeyPatch) -> None:
    from baton.record import warehouse

    patch.setenv("BATON_HOME", str(folder))
    settings.cache_clear()
    warehouse.migrate()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        new_home(tmp_path_factory.mktemp("filled"), patch)
        yield ROWS["fill"](decisions_per_partition=8, partitions=12)
    settings.cache_clear()


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    new_home(tmp_path, monkeypatch)
    yield
    monkeypatch.undo()
    settings.cache_clear()


def client(name: str | None, *, cookie: bool = False) -> TestClient:
    outer = FastAPI()
    outer.mount("/baton", create_app(who, LittleHost()))
    made = TestClient(outer, follow_redirects=False)
    if name and cookie:
        made.cookies.set("who", name)
    elif name:
        made.headers["authorization"] = f"Bearer {name}"
    return made


def sent_from_now() -> list[tuple[str, Any]]:
    """Statements with their values, as they go to the warehouse."""
    sent: list[tuple[str, Any]] = []
    event.listen(
        warehouse.engine(), "before_cursor_execute", lambda c, cur, text, values, *_: sent.append((text, values))
    )
    return sent


def plans_of(sent: list[tuple[str, Any]]) -> list[tuple[str, list[str]]]:
    """Each query that was sent, and the steps by which SQLite answers it."""
    asked = [(text, values) for text, values in list(sent) if text.startswith("SELECT")]
    with warehouse.read() as conn:
        return [
            (text, [step for *_, step in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)])
            for text, values in asked
        ]


def routes() -> list[tuple[str, str]]:
    """Every (method, address) of the console, with values for its parameters."""
    app = create_app(who, LittleHost())
    values = {
        "{path:path}": "contracts/f/p/x.html",
        "{flow}": FLOW,
        "{partition}": "2026-11-20T09:00:00",
        "{entity_key:path}": "1",
        "{number:int}": "1",
        "{asset:path}": "model:card_fraud",
    }
    found = []
    for route in app.routes:
        path = route.path  # type: ignore[attr-defined]
        for name, value in values.items():
            path = path.replace(name, value)
        assert "{" not in path, f"give a value for the parameters of {path}"
        found += [(method, f"/baton{path}") for method in sorted(getattr(route, "methods", None) or {"GET"})]
    return found
