"""The really started services, once for all end-to-end tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from baton.settings import settings
from baton.supervisor import Services


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """Airflow and MLflow with the project's DAGs, nothing on schedule, in the tests' BATON_HOME."""
    with Services(extra_env={"BATON_SCHEDULES": "false"}, report=print) as started:
        yield started
    settings.cache_clear()


@pytest.fixture(scope="session")
def logs(services: Services) -> Path:
    """Folder with one log file per service."""
    return services.settings.logs_dir
