"""Settings: defaults, variables, services.json, errors."""

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from baton.errors import BatonError
from baton.settings import Settings, scoring_slots, settings


def test_everything_derives_from_home(home: Path) -> None:
    here = settings()
    assert here.home == home
    assert here.warehouse_url == f"sqlite:///{home}/warehouse.db"
    assert here.store_url == f"file://{home}/store"
    for folder in (here.data_dir, here.landing_dir, here.keys_dir, here.reports_dir, here.secrets_dir, here.logs_dir):
        assert folder.parent == home


def test_home_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BATON_HOME")
    assert settings().home == tmp_path / ".baton"


def test_variables_win_over_defaults(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATON_WAREHOUSE_URL", "postgresql+psycopg2://baton@db/baton")
    monkeypatch.setenv("BATON_STORE_URL", "s3://bucket/store")
    assert settings().warehouse_url.startswith("postgresql")
    assert settings().store_url == "s3://bucket/store"


def test_the_pool_has_twice_as_many_slots_as_cores_unless_it_is_said(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scoring_slots() == 2 * (os.cpu_count() or 1)
    monkeypatch.setenv("BATON_SCORING_SLOTS", "3")
    settings.cache_clear()
    assert scoring_slots() == 3


def test_empty_variable_means_default(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATON_WAREHOUSE_URL", "")
    monkeypatch.setenv("BATON_AIRFLOW_PORT", "")
    assert settings().warehouse_url.endswith("warehouse.db")
    assert settings().airflow_port is None


def test_addresses_come_from_the_supervisor_unless_set(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings().mlflow_tracking_uri is None
    content = {"mlflow": {"url": "http://127.0.0.1:1"}, "airflow": {"url": "http://127.0.0.1:2"}}
    (home / "services.json").write_text(json.dumps(content))
    settings.cache_clear()
    assert (settings().mlflow_tracking_uri, settings().airflow_url) == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    monkeypatch.setenv("BATON_MLFLOW_TRACKING_URI", "https://registry.example")
    settings.cache_clear()
    assert settings().mlflow_tracking_uri == "https://registry.example"


def test_broken_services_file_says_what_to_do(home: Path) -> None:
    (home / "services.json").write_text("{")
    with pytest.raises(BatonError, match=r"services\.json: not JSON.*delete the file"):
        settings()


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_impossible_port_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("BATON_AIRFLOW_PORT", port)
    with pytest.raises(ValidationError, match="airflow_port"):
        settings()


@pytest.mark.parametrize("url", ["/srv/store", "store", "s3://", "://bucket", "s3:bucket"])
def test_a_store_that_is_no_address_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("BATON_STORE_URL", url)
    with pytest.raises(ValidationError, match="such as file:///srv/store or s3://bucket/folder"):
        settings()


def test_another_home_does_not_touch_the_cached_settings(home: Path, tmp_path: Path) -> None:
    other = Settings(home=tmp_path / "other")
    assert other.warehouse_url == f"sqlite:///{tmp_path}/other/warehouse.db"
    assert settings().home == home
