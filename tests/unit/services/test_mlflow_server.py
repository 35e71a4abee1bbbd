"""The MLflow server's command, configuration and secrets."""

from __future__ import annotations

import configparser
import json
from pathlib import Path

import pytest

from baton.errors import ServiceError
from baton.services.mlflow_server import prepare, server_command


def test_prepare_writes_private_files_once(tmp_path: Path) -> None:
    home = tmp_path / "with %40 in its name"
    prepare(home)
    secrets_file, ini = home / "secrets" / "mlflow.json", home / "mlflow" / "basic_auth.ini"
    first = secrets_file.read_text()
    prepare(home)
    assert secrets_file.read_text() == first
    for path in (secrets_file, ini):
        assert path.stat().st_mode & 0o777 == 0o600
    for folder in (home / "secrets", home / "mlflow"):
        assert folder.stat().st_mode & 0o777 == 0o700
    known = json.loads(first)
    assert len({known[role]["password"] for role in ("admin", "service", "reviewer")}) == 3
    config = configparser.ConfigParser()
    config.read(ini)
    assert config["mlflow"]["default_permission"] == "READ"
    assert config["mlflow"]["admin_password"] == known["admin"]["password"]
    assert config["mlflow"]["database_uri"] == f"sqlite:///{home}/mlflow/basic_auth.db"


def test_command_is_closed_by_default(tmp_path: Path) -> None:
    prepare(tmp_path)
    command, environment = server_command("127.0.0.1", 5001, tmp_path)
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["--app-name"] == "basic-auth"
    assert options["--host"] == "127.0.0.1"
    assert options["--workers"] == "1"
    assert options["--allowed-hosts"] == "127.0.0.1:5001,localhost:5001"
    assert "*" not in options["--cors-allowed-origins"]
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    passwords = [
        user["password"]
        for user in json.loads((tmp_path / "secrets/mlflow.json").read_text()).values()
        if isinstance(user, dict)
    ]
    assert not any(password in " ".join([*command, *environment.values()]) for password in passwords)


def test_command_needs_prepare(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="prepare"):
        server_command("127.0.0.1", 5001, tmp_path)
