"""Configuration of the services: environment, secrets, ports."""

import json
import os
import stat
from pathlib import Path

import pytest
import yaml

from baton.errors import BatonError, ServiceError
from baton.services import production
from baton.services.plan import USERS, Plan, choose_port, prepare_home, unsaid, users_file
from baton.settings import Settings, settings

_ROOT = Path(__file__).parents[3]


@pytest.fixture
def plan(home: Path) -> Plan:
    return Plan(
        settings(), dags_folder=home / "dags", plugins_folder=home / "plugins", airflow_port=1234, mlflow_port=1235
    )


def test_everything_listens_on_loopback(plan: Plan) -> None:
    environment = plan.environment()
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert environment["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:1234"
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:1234/execution/"
    commands = {service.name: service.command[1:] for service in plan.airflow_services()}
    assert "--skip-serve-logs" in commands["scheduler"]
    assert "--skip-serve-logs" in commands["triggerer"]


def test_no_secret_is_in_the_environment(plan: Plan) -> None:
    prepare_home(plan.settings)
    text = "\n".join(plan.environment().values())
    config = (plan.settings.secrets_dir / "airflow.cfg").read_text()
    secrets = [line.split(" = ", 1)[1] for line in config.splitlines() if " = " in line]
    secrets += json.loads(users_file(plan.settings).read_text()).values()
    assert len(secrets) == 3 + len(USERS)
    assert not [secret for secret in secrets if secret in text]


def test_secrets_are_made_once_and_for_the_owner_alone(plan: Plan) -> None:
    prepare_home(plan.settings)
    files = sorted(plan.settings.secrets_dir.iterdir())
    before = [path.read_bytes() for path in files]
    assert [path.name for path in files] == ["airflow.cfg", "airflow_users.json"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    for folder in (plan.settings.home, plan.settings.secrets_dir, plan.settings.keys_dir):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        folder.chmod(0o755)  # as an earlier build left it
    prepare_home(plan.settings)
    assert stat.S_IMODE(plan.settings.home.stat().st_mode) == 0o700
    assert [path.read_bytes() for path in files] == before


def test_a_new_home_is_one_persons_until_they_say_otherwise(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATON_HOME", str(plan.settings.home))
    assert Settings().governance == "four_eyes"
    prepare_home(plan.settings)
    assert Settings().governance == "single"
    plan.settings.governance_file.write_text("four_eyes\n")
    prepare_home(plan.settings)
    assert Settings().governance == "four_eyes"
    plan.settings.governance_file.unlink()  # of a home that is not new nobody makes it one person's
    prepare_home(plan.settings)
    assert Settings().governance == "four_eyes"
    plan.settings.governance_file.write_text("single\n")
    settings.cache_clear()
    with pytest.raises(ServiceError, match="governance: single is for an installation that one person runs"):
        production.set_up()


def test_a_variable_makes_an_installation_stricter_and_never_one_persons(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATON_HOME", str(plan.settings.home))
    monkeypatch.setenv("BATON_GOVERNANCE", "single")
    for said in (None, "four_eyes\n"):
        if said:
            plan.settings.governance_file.write_text(said)
        with pytest.raises(BatonError, match=r"BATON_GOVERNANCE=single.*home/governance says it") as refused:
            Settings()
        assert str(plan.settings.governance_file) in str(refused.value)
    plan.settings.governance_file.write_text("single\n")
    assert Settings().governance == "single", "both agree"
    monkeypatch.setenv("BATON_GOVERNANCE", "four_eyes")
    assert Settings().governance == "four_eyes"


def test_a_new_home_keeps_what_was_said_at_its_first_start(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATON_HOME", str(plan.settings.home))
    monkeypatch.setenv("BATON_GOVERNANCE", "four_eyes")
    prepare_home(Settings())
    assert plan.settings.governance_file.read_text() == "four_eyes\n"
    monkeypatch.delenv("BATON_GOVERNANCE")
    assert Settings().governance == "four_eyes"


def test_a_home_that_does_not_say_who_agrees_is_told_so(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATON_HOME", str(plan.settings.home))
    assert unsaid(Settings()) == ""
    prepare_home(Settings())
    assert unsaid(Settings()) == ""
    plan.settings.governance_file.unlink()
    assert str(plan.settings.governance_file) in unsaid(Settings())
    monkeypatch.setenv("BATON_GOVERNANCE", "four_eyes")
    assert unsaid(Settings()) == ""


def test_log_in_cannot_be_switched_off_from_outside(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True")
    monkeypatch.setenv("AIRFLOW__API__HOST", "0.0.0.0")
    environment = plan.environment()
    assert environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] == "False"
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"


def test_user_may_tune_airflow(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "7")
    assert plan.environment()["AIRFLOW__CORE__PARALLELISM"] == "7"


def test_large_xcoms_follow_the_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("AIRFLOW__CORE__XCOM_BACKEND", "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH")
    assert set(names).isdisjoint(Plan(settings(), home, home, 1, 2).environment())
    monkeypatch.setenv("BATON_STORE_URL", "s3://bucket/store")
    monkeypatch.setenv(names[1], "s3://other/xcom")
    settings.cache_clear()
    environment = Plan(settings(), home, home, 1, 2).environment()
    assert [environment[name] for name in names] == ["baton.airflow.xcoms.StoredXCom", "s3://other/xcom"]


def test_services_write_bytecode_and_skip_proxies(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("NO_PROXY", "example.org")
    environment = plan.environment()
    assert "PYTHONDONTWRITEBYTECODE" not in environment
    assert environment["NO_PROXY"] == environment["no_proxy"] == "example.org,127.0.0.1,localhost"


def test_only_the_scheduler_is_kept_single_threaded(plan: Plan) -> None:
    threads = {service.name: service.environment.get("OMP_NUM_THREADS") for service in plan.airflow_services()}
    assert threads == {"api-server": None, "scheduler": "1", "dag-processor": None, "triggerer": None}


def test_variables_of_the_caller_win(home: Path) -> None:
    plan = Plan(settings(), home, home, 1, 2, extra={"BATON_SCHEDULES": "false", "AIRFLOW__CORE__PARALLELISM": "1"})
    assert plan.environment()["BATON_SCHEDULES"] == "false"
    assert plan.environment()["AIRFLOW__CORE__PARALLELISM"] == "1"


@pytest.mark.parametrize("paused", [False, True])
def test_new_dags_start_as_asked(home: Path, paused: bool) -> None:
    plan = Plan(settings(), home, home, 1, 2, paused=paused)
    assert plan.environment()["AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"] == str(paused)


@pytest.mark.enable_socket
def test_taken_port_is_a_clear_error() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServiceError, match=f"BATON_AIRFLOW_PORT={port}: the port is taken.*unset"):
            choose_port(port, "BATON_AIRFLOW_PORT")
    assert choose_port(port, "BATON_AIRFLOW_PORT") == port
    assert choose_port(None, "BATON_AIRFLOW_PORT") > 1023


def test_compose_publishes_on_loopback_and_holds_no_secret() -> None:
    text = (_ROOT / "docker-compose.yml").read_text()
    services = yaml.safe_load(text)["services"]
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    words = ("PASSWORD", "SECRET", "FERNET_KEY", "TOKEN")
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if any(word in name for word in words):
                assert str(value) == "" or str(value).startswith(("{secret:", "/run/secrets/")), name


def test_environment_is_built_from_the_current_one(plan: Plan) -> None:
    assert plan.environment()["HOME"] == os.environ["HOME"]
