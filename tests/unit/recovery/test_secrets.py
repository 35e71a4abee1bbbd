"""Airflow is asked for its connections as the installation runs: by its own file of keys, or by the environment alone."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from baton.recovery import secrets
from baton.settings import settings


def test_without_a_file_of_keys_airflow_is_told_of_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow ends when the folder of the file that it is told of is not there, as in a container."""
    told: list[dict[str, str]] = []

    def run(command: list[str], *, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        told.append(env)
        return subprocess.CompletedProcess(command, 0, "a line of Airflow's\n{}\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql+psycopg2://backup:x@postgres/airflow")
    assert json.loads(secrets.gather(settings())) == {"files": {}, "airflow": {}}
    (home / "secrets").mkdir()
    (home / "secrets" / "airflow.cfg").write_text("[core]\n")
    secrets.gather(settings())
    assert [one.get("AIRFLOW_CONFIG") for one in told] == [None, str(home / "secrets" / "airflow.cfg")]
    assert told[0]["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].startswith("postgresql")
