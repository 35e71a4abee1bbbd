"""Who may what: every identity on every route of the console, of an own and of a foreign pack, by real FAB rights.

The table below is the whole promise; a route that it lacks fails. No server is started: the console's own application asks
Airflow's real auth manager, with the rights that `make_roles` gives and those that FAB's Admin has.
"""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pandas as pd
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from baton.actions.action import Action
from baton.airflow.server.roles import ROLES
from baton.effects import firewall, outbox, overview
from baton.feedback import cases
from baton.governance import duties
from baton.record import tables, warehouse
from baton.settings import settings

pytest.importorskip("airflow.providers.fab", reason="users in a database are of the extra `production`")
pytestmark = pytest.mark.filterwarnings("ignore")  # of FAB and of what it brings

STAGE = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "console" / "console_stage.py"))
SEED = runpy.run_path(str(Path(__file__).parents[1] / "published_rows.py"))["seed"]
filled, no_registry = STAGE["filled"], STAGE["no_registry"]
OWN, FOREIGN = STAGE["FLOW"], "incident_response"  # flows of two packs
STRANGE = "case-of-the-other-pack"
HOUR = "2026-11-20T09:00:00"
SECRETS = (
    "what it is about",
    f"{FOREIGN}-server",
    f"{FOREIGN}-desk",
    f"{FOREIGN}-cell",
)  # title, targets and a value, which its pages show

EVERYBODY, DECIDERS = frozenset(ROLES), frozenset({"BatonReviewer", "BatonOwner"})
# what a role that is made for the DAGs of one pack may: a page shows it its own, of a flow its own, of the whole house nothing
PAGE, FLOW, HOUSE = "page", "flow", "house"
# route -> (which of the five roles may, what it is about); an administrator may all, nobody without log-in any
TABLE = {
    "GET /": (EVERYBODY, PAGE),
    "GET /today": (EVERYBODY, PAGE),
    "GET /api/today": (EVERYBODY, PAGE),
    "GET /usage": (EVERYBODY, PAGE),
    "GET /models": (EVERYBODY, PAGE),
    "GET /map": (EVERYBODY, PAGE),
    "GET /cases": (EVERYBODY, PAGE),
    "GET /actions": (EVERYBODY, PAGE),
    "GET /quarantine": (EVERYBODY, PAGE),
    "GET /quarantine/{flow}/{partition}": (EVERYBODY, FLOW),
    "POST /quarantine/{flow}/{partition}/discard": (DECIDERS, FLOW),
    "GET /assets": (EVERYBODY, PAGE),
    "GET /assets/{asset:path}": (EVERYBODY, FLOW),
    "POST /grants": (DECIDERS, FLOW),  # beside this they have to own the asset
    "POST /grants/end": (DECIDERS, FLOW),
    "GET /pages/{path:path}": (EVERYBODY, FLOW),
    "GET /cases/{flow}/{entity_key:path}": (EVERYBODY, FLOW),
    "POST /cases/{flow}/{entity_key:path}": (DECIDERS, FLOW),
    "POST /actions/requests/{number:int}": (DECIDERS, FLOW),
    "POST /actions/undo": (DECIDERS, FLOW),
    "POST /actions/switch": (DECIDERS, HOUSE),
    "POST /ledger/verify": (DECIDERS, HOUSE),
}
REFUSED = (401, 403, 404)
# bodies that are wrong in themselves, so that whoever may ask is told so, and nothing changes
WRONG: dict[str, dict[str, Any]] = {
    "POST /cases/{flow}/{entity_key:path}": {"resolution": 7},
    "POST /actions/requests/{number:int}": {"answer": "approved", "seen": "something else"},
    "POST /actions/switch": {"turn": "round"},
}
POLICY = """
actions:
  isolate_host: {description: Cuts a host off, recovery: reversible, reach: host, undo: release_host}
  release_host: {description: Lets it back, recovery: reversible, reach: host, undo: isolate_host}
policy:
  - {name: servers, actions: [isolate_host], asset_class: [server], level: two_approvers}
  - {name: small, actions: [isolate_host, release_host], level: notify}
"""


class Identity(NamedTuple):
    """A log-in: one of the roles, for all DAGs or for those of one pack alone; `Admin`; empty: none."""

    role: str
    narrow: bool = False

    def __str__(self) -> str:
        return f"{self.role or 'anonymous'}{' of one pack' if self.narrow else ''}"

    def rights(self) -> frozenset[tuple[str, str]]:
        from airflow.providers.fab.auth_manager.security_manager.override import (
            FabAirflowSecurityManagerOverride as Fab,
        )

        if self.role == "Admin":
            return frozenset(
                (*Fab.VIEWER_PERMISSIONS, *Fab.USER_PERMISSIONS, *Fab.OP_PERMISSIONS, *Fab.ADMIN_PERMISSIONS)
            )
        given = ROLES[self.role]
        return frozenset((do, f"DAG:{OWN}" if what == "DAGs" else what) for do, what in given) if self.narrow else given

    def may(self, route: str, flow: str) -> bool:
        who, about = TABLE[route]
        if self.role == "Admin":
            return True
        return self.role in who and (not self.narrow or about == PAGE or (about == FLOW and flow == OWN))


WHOLE = (Identity(""), *(Identity(role) for role in ROLES), Identity("Admin"))
NARROW = tuple(Identity(role, narrow=True) for role in ROLES)


@pytest.fixture(scope="module")
def house(filled: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Flow -> what there is of it: a case, a page, a request that waits, an effect."""
    SEED(FOREIGN, HOUR, decisions=[{"entity_key": STRANGE, "risk": 0.9, "route": "review"}])
    pack = tmp_path_factory.mktemp("pack")
    (pack / "actions.yaml").write_text(POLICY)
    found: dict[str, dict[str, Any]] = {}
    for flow, case in ((OWN, filled["cases"][0][1]), (FOREIGN, STRANGE)):
        where = settings().reports_dir / "contracts" / flow / "p"
        where.mkdir(parents=True)
        (where / "x.html").write_text("<p>a page</p>")
        asked = [
            Action("isolate_host", case, f"{flow}-{kind}", {"action": "isolate_host", "target": f"{flow}-{kind}"}, asset_class=kind,
                   confidence=0.9, evidence=["a"], before={"isolated": False}, after={"isolated": True})
            for kind in ("server", "desk")
        ]  # fmt: skip
        with warehouse.write() as conn:
            firewall.place(conn, pack, flow, HOUR, asked, kinds=["isolate_host"])
        key = next(one.key for one in outbox.effects(flow, HOUR) if one.target == f"{flow}-desk")
        (number,) = [one.request.id for one in overview.open_requests(flow)]
        found[flow] = {"flow": flow, "case": case, "key": key, "number": number}
    with warehouse.write() as conn:
        one = {"entity_key": STRANGE, "risk": 0.9, "route": "review", "title": SECRETS[0], "reasons": None}
        row = STAGE["ROWS"]["quarantined"]([HOUR] * 12)[0]
        conn.execute(tables.quarantine.insert(), [{**row, "flow": FOREIGN, "value": SECRETS[-1]}])
        cases.open_cases(conn, FOREIGN, HOUR, pd.DataFrame([one]), {"yes": {"is": 1}})
    return found


@pytest.fixture(scope="module")
def console() -> Iterator[TestClient]:
    """The console as Airflow mounts it; the bearer token is the identity's name."""
    from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager
    from jwt import InvalidTokenError

    from baton.airflow.server import console_host
    from baton.console.pages.app import create_app

    people = {str(one): one for one in (*WHOLE[1:], *NARROW)}
    users = {
        name: SimpleNamespace(perms=one.rights(), get_id=lambda name=name: name, get_name=lambda name=name: name)
        for name, one in people.items()
    }

    class Manager(FabAuthManager):
        async def get_user_from_token(self, token: str) -> Any:
            if token not in users:
                raise InvalidTokenError("forged")
            return users[token]

    class Host(console_host.AirflowHost):
        secret, origin, root = b"key of this test", "", ""
        runs = requests = wirings = lambda *_: []

        def start(self, *_: Any) -> str:
            raise AssertionError("nothing is started")

    with pytest.MonkeyPatch.context() as patch:
        manager = Manager()
        patch.setattr("airflow.api_fastapi.core_api.security.get_auth_manager", lambda: manager)
        patch.setattr(console_host, "get_auth_manager", lambda: manager)
        patch.setattr(console_host.DagModel, "get_team_name", staticmethod(lambda _: None))
        outer = FastAPI()
        outer.mount("/baton", create_app(console_host.current_user, Host()))
        yield TestClient(outer, follow_redirects=False)


def routes() -> set[str]:
    """`METHOD /path` of every route of the console."""
    from baton.console.pages.app import create_app

    app = create_app(lambda: None, STAGE["LittleHost"]())
    return {
        f"{method} {route.path}"  # type: ignore[attr-defined]
        for route in app.routes for method in getattr(route, "methods", None) or {"GET"}
    }  # fmt: skip


def ask(console: TestClient, identity: Identity, route: str, there: dict[str, Any]) -> Any:
    method, _, path = route.partition(" ")
    values = {"{path:path}": f"contracts/{there['flow']}/p/x.html", "{flow}": there["flow"], "{partition}": HOUR,
              "{entity_key:path}": str(there["case"]), "{number:int}": str(there["number"]), "{asset:path}": f"flow:{there['flow']}"}  # fmt: skip
    for name, value in values.items():
        path = path.replace(name, value)
    assert "{" not in path, f"give a value for the parameters of {path}"
    body = (
        {"json": WRONG.get(route, {"key": there["key"], "asset": f"flow:{there['flow']}"})} if method == "POST" else {}
    )
    headers = {"authorization": f"Bearer {identity}"} if identity.role else {}
    return console.request(method, f"/baton{path}", headers=headers, **body)


def test_the_table_has_every_route() -> None:
    assert routes() == set(TABLE), "declare in TABLE who may what on it"


@pytest.mark.parametrize("identity", [*WHOLE, *NARROW], ids=str)
def test_each_identity_may_what_the_table_says(
    identity: Identity, console: TestClient, house: dict[str, dict[str, Any]]
) -> None:
    wrong = []
    for route in TABLE:
        for flow, there in house.items():
            answer = ask(console, identity, route, there)
            if not identity.role:
                right = answer.status_code == 401
            else:
                right = (answer.status_code not in REFUSED) == identity.may(route, flow) and answer.status_code < 500
            if not right:
                wrong.append(f"{identity}: {route} of {flow}: {answer.status_code} {answer.text[:100]}")
            if (identity.narrow or not identity.role) and any(one in answer.text for one in SECRETS):
                wrong.append(f"{identity}: {route}: shows what is of another pack")
    assert not wrong


def test_what_others_were_given_to_read_is_as_of_another_pack(
    console: TestClient, house: dict[str, dict[str, Any]]
) -> None:
    """The duty `read` only takes away: its owners and who has it keep their roles' rights, the others lose this flow alone."""
    with warehouse.write() as conn:
        day = datetime.now(UTC).date()
        made = duties.give(conn, f"flow:{FOREIGN}", "read", "BatonOwner", duties.Who("op"), day, "hers alone")
        duties.agree(conn, made.id, ["admin"], 1)
    try:
        wrong = []
        for identity in WHOLE[1:]:
            keeps = identity.role in ("BatonOwner", "Admin")  # has it; is the deputy
            for route, (_, about) in TABLE.items():
                for flow, there in house.items():
                    answer = ask(console, identity, route, there)
                    may = identity.may(route, flow) and (keeps or flow == OWN or about != FLOW)
                    if (answer.status_code not in REFUSED) != may or answer.status_code >= 500:
                        wrong.append(f"{identity}: {route} of {flow}: {answer.status_code} {answer.text[:100]}")
                    if not keeps and any(one in answer.text for one in SECRETS):
                        wrong.append(f"{identity}: {route}: shows what is others' to read")
        assert not wrong
    finally:
        with warehouse.write() as conn:
            conn.execute(tables.grants.delete().where(tables.grants.c.id == made.id))


def test_who_may_read_all_sees_what_the_others_must_not(console: TestClient, house: dict[str, dict[str, Any]]) -> None:
    shown = "".join(ask(console, Identity("Admin"), route, house[FOREIGN]).text for route in TABLE if "GET" in route)
    assert all(one in shown for one in SECRETS)


def test_a_forged_token_opens_nothing(console: TestClient, house: dict[str, dict[str, Any]]) -> None:
    forged = Identity("Root")
    assert {ask(console, forged, route, there).status_code for route in TABLE for there in house.values()} == {403}
