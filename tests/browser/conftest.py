"""An installation of five people (`governance: four_eyes`, users in Airflow's database), started for real; its pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))  # the browser and its log-in are shared with the stories
sys.path.insert(0, str(Path(__file__).parent))

from people import Album, Company

from baton.packs.demos import prepare_data
from baton.services import companions
from baton.services.supervisor import Services
from baton.settings import settings

FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
ENVIRONMENT = {
    "BATON_GOVERNANCE": "four_eyes", "AIRFLOW__CORE__AUTH_MANAGER": FAB,
    "AIRFLOW__FAB__AUTH_RATE_LIMIT": "60 per 1 minute",  # five people at one address: more log-ins than one person's five in 40 s
}  # fmt: skip
ROLES = {
    "ada": "BatonAuthor", "rosa": "BatonReviewer", "omar": "BatonOwner", "opal": "BatonOperator", "axel": "BatonAuditor",
}  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--pictures FOLDER`: what each person sees goes there as PNG, in light and dark."""
    parser.addoption("--pictures", type=Path, help="folder for a picture of each step, in light and dark")


@pytest.fixture(scope="session")
def company(request: pytest.FixtureRequest) -> Iterator[Company]:
    """Airflow, MLflow and the fraud desk's data; five people with a log-in each."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        settings.cache_clear()
        companions.fetch_files(settings())
        extra = {**ENVIRONMENT, "BATON_SCHEDULES": "false"}
        with Services(extra_env=extra, report=print, companions_of=["financial_crime"]) as services:
            prepare_data("financial_crime")
            album = Album(request.config.getoption("--pictures"))
            with Company(services, _hire(services), album) as made:
                yield made
    settings.cache_clear()


def _hire(services: Services) -> dict[str, str]:
    """Make the administrator as production does, and let the administrator make the five; returns their passwords."""
    password, home = services.users["admin"], services.settings.home
    command = ["airflow", "users", "create", "--username", "admin", "--role", "Admin"]
    command += ["--firstname", "Baton", "--lastname", "Administrator", "--email", "admin@localhost"]
    where = {
        "AIRFLOW_HOME": str(home / "airflow"), "AIRFLOW_CONFIG": str(services.settings.secrets_dir / "airflow.cfg"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow' / 'airflow.db'}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    done = subprocess.run(
        command, input=f"{password}\n{password}\n", text=True, capture_output=True, env={**os.environ, **where}, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    headers = {"Authorization": f"Bearer {services.token()}"}
    with httpx.Client(base_url=services.airflow_url, headers=headers, trust_env=False, timeout=60) as http:
        for name, role in ROLES.items():
            body = {"username": name, "email": f"{name}@localhost", "first_name": name.title(), "last_name": role,
                    "password": f"password of {name}", "roles": [{"name": role}]}  # fmt: skip
            http.post("/auth/fab/v1/users", json=body).raise_for_status()
    return {name: f"password of {name}" for name in ROLES}
