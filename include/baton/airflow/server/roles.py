"""The roles that Baton brings to an Airflow whose users are in a database (FAB auth manager).

Airflow's own Viewer and User do not see Baton's pages, since the navigation comes from the list of plugins, nor the menu
*Required Actions*. These do, and part who makes, decides, runs and looks. Airflow couples two rights that Baton would part:
whoever answers a request or starts a run must be able to edit DAGs, which pauses them too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

Right = tuple[str, str]  # action, resource; as FAB spells them

_SEEN = (
    "Asset Aliases", "Assets", "Backfills", "Cluster Activity", "DAG Code", "DAG Dependencies", "DAG Runs", "DAG Versions",
    "DAG Warnings", "DAGs", "HITL Detail", "ImportError", "Jobs", "My Password", "My Profile", "Plugins", "Pools",
    "Task Instances", "Task Logs", "Website", "XComs",
)  # fmt: skip
_MENUS = ("Assets", "Browse", "DAG Dependencies", "DAG Runs", "DAGs", "Docs", "Documentation", "Jobs", "Task Instances")
_LOOK: frozenset[Right] = frozenset({
    *(("can_read", one) for one in _SEEN), *(("menu_access", one) for one in _MENUS),
    ("can_edit", "My Password"), ("can_edit", "My Profile"),
})  # fmt: skip
_DECIDE: frozenset[Right] = frozenset({
    ("can_edit", "DAGs"), ("can_edit", "HITL Detail"), ("menu_access", "HITL Detail"),
})  # fmt: skip
_RUN: frozenset[Right] = frozenset({
    ("can_edit", "DAGs"), ("can_create", "DAG Runs"), ("can_edit", "DAG Runs"),
    ("can_create", "Task Instances"), ("can_edit", "Task Instances"),
})  # fmt: skip
_OPERATE: frozenset[Right] = frozenset({
    ("can_create", "Assets"), ("can_create", "Backfills"), ("can_edit", "Backfills"), ("can_create", "Pools"),
    ("can_edit", "Pools"), ("menu_access", "Admin"), ("menu_access", "Pools"),
})  # fmt: skip
_AUDIT: frozenset[Right] = frozenset({("can_read", "Audit Logs"), ("menu_access", "Audit Logs")})

ROLES: dict[str, frozenset[Right]] = {
    "BatonAuthor": _LOOK | _RUN,
    "BatonReviewer": _LOOK | _DECIDE,
    "BatonOwner": _LOOK | _RUN | _DECIDE,
    "BatonOperator": _LOOK | _RUN | _OPERATE,
    "BatonAuditor": _LOOK | _AUDIT,
}


def make_roles(session: Session) -> None:
    """Create Baton's roles and give them exactly the rights of `ROLES`; other roles, and who has which, stay.

    Args:
        session: of Airflow's metadata database, migrated by FAB too.
    """
    from airflow.providers.fab.www.security_appless import ApplessAirflowSecurityManager

    manager = ApplessAirflowSecurityManager(session=session)
    for name, rights in ROLES.items():
        role = manager.add_role(name)
        # FAB takes only pairs that are there: makes resource and action as well
        granted = [manager.create_permission(action, resource) for action, resource in sorted(rights)]
        role.permissions = [one for one in granted if one is not None]
        session.flush()
    session.commit()
