"""What all tests share: a home of their own, no proxies, and no network for unit tests."""

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3  # noqa: F401  opens a socket when it is imported, to see whether IPv6 works: not in the middle of a test
from pytest_socket import disable_socket, enable_socket

_ROOT = Path(__file__).parents[1]

# before any test module imports baton or airflow: both read the environment on import
_HOME = tempfile.TemporaryDirectory(prefix="baton-tests-")
for _name in [name for name in os.environ if name.startswith(("AIRFLOW", "BATON_", "MLFLOW_"))]:
    if not _name.startswith("BATON_BENCH"):
        del os.environ[_name]
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ |= {
    "BATON_HOME": _HOME.name,
    "BATON_PROJECT": str(_ROOT),
    "AIRFLOW_HOME": str(Path(_HOME.name) / "airflow"),
    "AIRFLOW__CORE__DAGS_FOLDER": str(_ROOT / "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--renew-snapshots`: `tests/dags` writes its snapshots of the DAGs anew."""
    parser.addoption("--renew-snapshots", action="store_true", help="write the snapshots of the DAGs anew")


def pytest_collection_finish() -> None:
    """Take the imported libraries out of the garbage collector's sight: walking them over and over is an eighth of a unit test run."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_unconfigure() -> None:
    """Remove the tests' home."""
    _HOME.cleanup()


@pytest.fixture(autouse=True)
def _settings_of_this_test() -> Iterator[None]:
    """Settings are cached per process; no test sees those of the test before."""
    from baton.settings import settings

    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture(autouse=True)
def _no_network_for_units(request: pytest.FixtureRequest) -> Iterator[None]:
    """Unit tests open no socket; `enable_socket` on a test allows it (Unix sockets are always allowed)."""
    unit = (_ROOT / "tests" / "unit") in request.path.parents
    if unit and request.node.get_closest_marker("enable_socket") is None:
        disable_socket(allow_unix_socket=True)
    yield
    enable_socket()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A BATON_HOME for this test alone."""
    from baton.settings import settings

    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("BATON_HOME", str(folder))
    settings.cache_clear()
    return folder
