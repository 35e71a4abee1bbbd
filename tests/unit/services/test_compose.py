"""docker-compose.yml: which container has which secret, database user and folder. A change of it is a change here."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.engine import make_url

_ROOT = Path(__file__).parents[3]
SERVICES: dict[str, Any] = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())["services"]

SECRETS = {
    "AIRFLOW_FERNET_KEY": {"api-server", "scheduler", "triggerer"},
    "AIRFLOW_JWT_SECRET": {"api-server", "scheduler"},
    "AIRFLOW_SECRET_KEY": {"api-server"},
    "AIRFLOW_ADMIN_PASSWORD": {"set-up"},
    "POSTGRES_PASSWORD": {"postgres", "set-up"},
    "AIRFLOW_DATABASE_PASSWORD": {"set-up", "api-server", "scheduler", "dag-processor", "triggerer"},
    "CELERY_DATABASE_PASSWORD": {"set-up", "scheduler", "worker"},
    "BATON_DATABASE_PASSWORD": {"set-up", "api-server", "worker"},
    "MLFLOW_DATABASE_PASSWORD": {"set-up", "mlflow"},
    "REDIS_PASSWORD": {"redis", "scheduler", "worker"},
    "MLFLOW_SECRET_KEY": {"mlflow"},
    "MLFLOW_ADMIN_PASSWORD": {"set-up", "accounts"},
    "MLFLOW_SERVICE_PASSWORD": {"accounts", "worker"},
    "MLFLOW_READER_PASSWORD": {"accounts", "api-server", "triggerer"},
    "MLFLOW_REVIEWER_PASSWORD": {"accounts"},
}
VOLUMES = {
    "database": {"postgres": "rw"},
    "mlflow": {"set-up": "rw", "mlflow": "rw"},
    "work": {"worker": "rw", "data": "rw"},  # landing files, packaged models, the key that signs models
    "ledger": {"api-server": "rw", "worker": "rw"},
    "store": {"api-server": "ro", "worker": "rw"},
    "reports": {"api-server": "ro", "worker": "rw"},
    "logs": {"api-server": "ro", "triggerer": "rw", "worker": "rw"},
}


@pytest.mark.parametrize("secret", SECRETS)
def test_who_has_a_secret(secret: str) -> None:
    assert {name for name, service in SERVICES.items() if f"${{{secret}" in str(service)} == SECRETS[secret]


def test_no_other_secret_is_asked_for() -> None:
    asked = {part.split(":")[0].split("}")[0] for part in str(SERVICES).split("${")[1:]}
    harmless = {
        "AIRFLOW_BASE_URL",
        "AIRFLOW_PORT",
        "MLFLOW_PORT",
        "MLFLOW_HOST",
        "BATON_STORE_URL",
        "BATON_WORKER_CONCURRENCY",
    }
    assert asked - harmless == set(SECRETS)


def test_who_has_a_folder() -> None:
    found: dict[str, dict[str, str]] = {}
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source, _, mode = volume.partition(":")[0], *volume.partition(":")[2].partition(":")[1:]
            found.setdefault(source, {})[name] = mode or "rw"
    assert found == VOLUMES


def test_a_database_user_each_and_none_is_the_administrator() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if "@postgres/" not in str(value):
                continue
            url = make_url(str(value).removeprefix("db+").split("${")[0] + "x@postgres/" + str(value).rsplit("/", 1)[1])
            assert url.drivername == "postgresql+psycopg2", (name, variable)
            assert url.username == url.database, (name, variable)
            assert url.username != "postgres" or name == "set-up"


def test_every_part_that_stays_says_whether_it_is_well() -> None:
    assert [name for name, one in SERVICES.items() if "healthcheck" not in one] == ["set-up", "accounts", "data"]


def test_the_image_has_a_folder_for_each_volume() -> None:
    """Else the new volume would belong to root, and nothing could be written."""
    made = (_ROOT / "Dockerfile").read_text().split("mkdir -p ", 1)[1].splitlines()[0].split()
    targets = {
        volume.split(":")[1]
        for name, one in SERVICES.items()
        if name != "postgres"
        for volume in one.get("volumes", [])
    }
    below = {target.removeprefix("/var/lib/baton/") for target in targets - {"/var/lib/baton"}}
    assert below <= set(made)


def test_the_documentation_makes_every_secret() -> None:
    text = (_ROOT / "SECURITY.md").read_text()
    assert [name for name in SECRETS if f"{name}=" not in text] == []
