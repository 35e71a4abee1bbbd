"""The really started services, once for all end-to-end tests, and the financial-crime story played on them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from baton.files import place
from baton.packs.demos import prepare_data
from baton.services import companions
from baton.services.airflow_api import Orchestrator
from baton.services.supervisor import Services
from baton.settings import settings
from baton_demo.financial_crime import story
from baton_demo.financial_crime.playbook import FinancialCrimePlaybook
from baton_demo.story import Demo

if TYPE_CHECKING:
    from lineage_catalogue import Catalogue

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))  # the kill drills are shared with `make gameday`
sys.path.insert(0, str(Path(__file__).parent))  # people's desks


@pytest.fixture(scope="session")
def hold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder through which a test holds a stage in its middle (tests/faults/hold)."""
    return tmp_path_factory.mktemp("hold")


@pytest.fixture(scope="session")
def catalogue() -> Iterator[Catalogue]:
    """Who is told of every commit and version of these tests."""
    from lineage_catalogue import TOKEN, listening

    settings().secrets_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    place(settings().secrets_dir / "lineage_token", TOKEN)
    with listening() as here:
        yield here


@pytest.fixture(scope="session")
def services(hold: Path, catalogue: Catalogue) -> Iterator[Services]:
    """Airflow and MLflow with the project's DAGs, nothing on schedule, in the tests' BATON_HOME."""
    from kills import ENVIRONMENT

    companions.fetch_files(settings())
    extra = {**ENVIRONMENT, "BATON_HOLD": str(hold), "BATON_SCHEDULES": "false", "BATON_LINEAGE_URL": catalogue.url}
    with Services(extra_env=extra, report=print) as started:
        yield started
    settings.cache_clear()


@pytest.fixture(scope="session")
def logs(services: Services) -> Path:
    """Folder with one log file per service."""
    return services.settings.logs_dir


@contextmanager
def _silent(title: str, total: int) -> Iterator[Any]:
    yield lambda done: None


@pytest.fixture(scope="session")
def demo(services: Services) -> Demo:
    """What the story is played with."""
    prepare_data("financial_crime")
    return Demo(services, Orchestrator(services.airflow_url, services.token), print, _silent)


@pytest.fixture(scope="session")
def summary(demo: Demo) -> dict[str, Any]:
    """Steps 1 to 7 of the story; the story itself stops at the first thing that is not as told."""
    return story.play(demo)


@pytest.fixture(scope="session")
def book(demo: Demo, summary: dict[str, Any]) -> FinancialCrimePlaybook:
    """The moves of the story, for tests that go on from its end."""
    return FinancialCrimePlaybook(demo)
