"""Baton's roles in the real FAB security manager, on SQLite: each may what the table in the docs says, and no more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from baton.airflow.server.roles import ROLES, make_roles

pytest.importorskip("airflow.providers.fab", reason="users in a database are of the extra `production`")
pytestmark = pytest.mark.filterwarnings("ignore")  # of FAB and of what it brings

PAGE = Path(__file__).parents[2] / "include" / "docs" / "production.md"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    from airflow.providers.fab.auth_manager.models import Model

    engine = sa.create_engine(f"sqlite:///{tmp_path_factory.mktemp('fab') / 'airflow.db'}")
    Model.metadata.create_all(engine)
    with Session(engine) as made:
        make_roles(made)
        yield made
    engine.dispose()


def role_of(session: Session, name: str) -> Any:
    from airflow.providers.fab.auth_manager.models import Role

    return session.scalars(sa.select(Role).where(Role.name == name)).unique().one()


def rights_of(session: Session, name: str) -> set[tuple[str, str]]:
    return {(one.action.name, one.resource.name) for one in role_of(session, name).permissions}


def asked(manager: Any, user: Any) -> dict[str, Callable[[], bool]]:
    """What Airflow asks its auth manager, by the words of the table."""
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
    from airflow.api_fastapi.common.types import MenuItem

    a_dag = DagDetails(id="transaction_monitoring")

    def dag(method: str, entity: str | None = None) -> bool:
        part = getattr(DagAccessEntity, entity) if entity else None
        return bool(manager.is_authorized_dag(method=method, access_entity=part, details=a_dag, user=user))

    def menu(item: str) -> bool:
        return getattr(MenuItem, item) in manager.filter_authorized_menu_items([getattr(MenuItem, item)], user=user)

    return {
        "see *Today*, *Models*, *Map*, *Assets*, *Quarantine*": lambda: manager.is_authorized_view(
            access_view=AccessView.PLUGINS, user=user
        ),
        "see DAGs, runs, logs, requests": lambda: all(
            dag("GET", one) for one in (None, "RUN", "TASK_INSTANCE", "TASK_LOGS", "XCOM", "HITL_DETAIL")
        ),
        "see the menu *Required Actions*": lambda: menu("REQUIRED_ACTIONS"),
        "decide: requests, cases, quarantine, actions": lambda: dag("PUT", "HITL_DETAIL"),
        "start runs, clear and mark tasks": lambda: dag("POST", "RUN") and dag("PUT", "TASK_INSTANCE"),
        "pause a DAG": lambda: dag("PUT"),
        "change pools": lambda: manager.is_authorized_pool(method="PUT", user=user),
        "see the audit log": lambda: dag("GET", "AUDIT_LOG") and menu("AUDIT_LOG"),
        "delete a DAG or a run": lambda: dag("DELETE") or dag("DELETE", "RUN"),
        "read connections, variables, configuration": lambda: (
            manager.is_authorized_connection(method="GET", user=user)
            or manager.is_authorized_variable(method="GET", user=user)
            or manager.is_authorized_configuration(method="GET", user=user)
        ),
    }


def table() -> dict[str, dict[str, bool]]:
    """Role -> may -> yes, of the table in the docs."""
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")] for line in PAGE.read_text("utf-8").splitlines()
        if line.startswith("| may |") or re.match(r"\| [^|]+( \| (yes|no)){5} \|$", line)
    ]  # fmt: skip
    head, *body = rows
    return {name.strip("`"): {row[0]: row[at] == "yes" for row in body} for at, name in enumerate(head) if at}


def test_each_role_may_what_the_docs_say(session: Session) -> None:
    from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager

    said = table()
    assert set(said) == set(ROLES)
    for name, may in said.items():
        user = SimpleNamespace(perms=rights_of(session, name), get_id=lambda: "1", roles=[role_of(session, name)], id=1)
        manager = FabAuthManager()
        found = {what: bool(ask()) for what, ask in asked(manager, user).items()}
        assert found == may, name


def test_a_start_gives_roles_their_rights_back_and_leaves_other_roles(session: Session) -> None:
    from airflow.providers.fab.www.security_appless import ApplessAirflowSecurityManager

    manager = ApplessAirflowSecurityManager(session=session)
    own = manager.add_role("Ours")
    manager.add_permission_to_role(own, manager.create_permission("can_read", "Something"))
    auditor = role_of(session, "BatonAuditor")
    manager.add_permission_to_role(auditor, manager.create_permission("can_edit", "Connections"))
    manager.remove_permission_from_role(auditor, manager.get_permission("can_read", "Plugins"))
    make_roles(session)
    session.expire_all()
    assert {name: rights_of(session, name) for name in ROLES} == {name: set(ROLES[name]) for name in ROLES}
    assert rights_of(session, "Ours") == {("can_read", "Something")}
