"""docker-compose.yml: which container has which secret, database user and folder, and how it is bound. A change of it is a change here."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.engine import make_url

_ROOT = Path(__file__).parents[3]
FILE: dict[str, Any] = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = FILE["services"]
DOCKERFILE = (_ROOT / "Dockerfile").read_text()

WORKERS = {"worker", "worker-training"}
ONCE = {"set-up", "accounts", "data", "backup", "restore"}  # run to their end
SECRETS = {
    "AIRFLOW_FERNET_KEY": {"api-server", "scheduler", "triggerer", "backup", "restore"},
    "AIRFLOW_JWT_SECRET": {"api-server", "scheduler"},
    "AIRFLOW_SECRET_KEY": {"api-server"},
    "AIRFLOW_ADMIN_PASSWORD": {"set-up", "demo"},
    "POSTGRES_PASSWORD": {"postgres", "set-up", "restore"},
    "AIRFLOW_DATABASE_PASSWORD": {"set-up", "api-server", "scheduler", "dag-processor", "triggerer", "restore"},
    "CELERY_DATABASE_PASSWORD": {"set-up", "scheduler", "restore", *WORKERS},
    "BATON_DATABASE_PASSWORD": {"set-up", "api-server", "triggerer", "demo", "backup", "restore", *WORKERS},
    "MLFLOW_DATABASE_PASSWORD": {"set-up", "mlflow", "restore"},
    "REDIS_PASSWORD": {"redis", "scheduler", *WORKERS},
    "MLFLOW_SECRET_KEY": {"mlflow"},
    "MLFLOW_ADMIN_PASSWORD": {"set-up", "accounts"},
    "MLFLOW_SERVICE_PASSWORD": {"accounts", *WORKERS},
    "MLFLOW_READER_PASSWORD": {"accounts", "api-server", "triggerer", "demo"},
    "MLFLOW_REVIEWER_PASSWORD": {"accounts"},
    "S3_SECRET_KEY": {"s3", "restore", *WORKERS},
    "S3_READER_SECRET_KEY": {"s3", "api-server", "demo"},
    "MODEL_SERVER_TOKEN": {"model-server"},
    "BACKUP_DATABASE_PASSWORD": {"set-up", "backup", "restore"},
    "S3_BACKUP_SECRET_KEY": {"s3", "backup"},
    "BACKUP_PUBLIC_KEY": {"backup"},
    "BACKUP_PRIVATE_KEY": {"restore"},
    "BACKUP_SIGNED_BY": {"restore"},
}
VOLUMES = {
    "database": {"postgres": "rw"},
    "socket": {"postgres": "rw"},
    "queue": {"redis": "rw"},
    "mlflow": {"set-up": "rw", "mlflow": "rw", "backup": "ro", "restore": "rw"},
    # landing files, packaged models, the key that signs models
    "work": {"worker": "rw", "worker-training": "rw", "data": "rw", "demo": "rw", "backup": "rw", "restore": "rw"},
    "ledger": {
        "api-server": "rw",
        "worker": "rw",
        "worker-training": "rw",
        "demo": "rw",
        "backup": "rw",
        "restore": "rw",
    },
    "store": {
        "api-server": "ro",
        "worker": "rw",
        "worker-training": "rw",
        "demo": "ro",
        "backup": "ro",
        "restore": "rw",
    },
    "reports": {"api-server": "ro", "worker": "rw", "worker-training": "rw"},
    "logs": {"api-server": "ro", "triggerer": "rw", "worker": "rw", "worker-training": "rw"},
    "objects": {"s3": "rw"},
    "models": {"model-server": "rw"},
    "backups": {"backup": "rw", "restore": "ro"},
}
PROFILES = {
    "data": ["data"],
    "backup": ["backup"],
    "restore": ["backup"],
    "s3": ["s3"],
    "model-server": ["models"],
    "demo": ["demo"],
}


@pytest.mark.parametrize("secret", SECRETS)
def test_who_has_a_secret_and_that_it_is_used_there(secret: str) -> None:
    assert {name for name, service in SERVICES.items() if secret in service.get("secrets", ())} == SECRETS[secret]
    word = re.compile(rf"({{secret:{secret}}}|/run/secrets/{secret})(?!\w)")
    assert {name for name, service in SERVICES.items() if word.search(str(service))} == SECRETS[secret]


def test_what_writes_watchers_without_the_key_writes_what_the_triggerer_can_read() -> None:
    """Airflow makes a key up where none is said to be there; a triggerer that meets what is written with it ends."""
    keys = {name: of.get("environment", {}).get("AIRFLOW__CORE__FERNET_KEY") for name, of in SERVICES.items()}
    assert keys["dag-processor"] == ""
    assert keys["triggerer"] == keys["scheduler"] == keys["api-server"] == "{secret:AIRFLOW_FERNET_KEY}"


def test_secrets_are_files_and_nothing_secret_comes_from_the_environment() -> None:
    assert FILE["secrets"] == {name: {"file": f"${{BATON_SECRETS:-./secrets}}/{name}"} for name in SECRETS}
    asked = {part.split(":")[0].split("}")[0] for part in str(SERVICES).split("${")[1:]}
    assert asked == {
        "AIRFLOW_BASE_URL",
        "AIRFLOW_PORT",
        "MLFLOW_PORT",
        "MLFLOW_HOST",
        "BATON_STORE_URL",
        "BATON_PACKS",
        "BATON_SCHEDULES",
        "BATON_BUDGETS",
        "BATON_LINEAGE_URL",
        "BATON_WORKER_CONCURRENCY",
        "BATON_TRAINING_CONCURRENCY",
        "BATON_WORKER_MEMORY",
        "S3_ENDPOINT",
        "S3_REGION",
        "S3_KEY_ID",
        "S3_READER_KEY_ID",
        "S3_BACKUP_KEY_ID",
        "BATON_BACKUPS",
        "BATON_BACKUPS_KEPT",
    }


def test_budgets_and_lineage_are_known_wherever_they_are_read() -> None:
    """What a stage is held to is what the page Usage shows."""
    for name in ("BATON_BUDGETS", "BATON_LINEAGE_URL"):
        said = {
            service["environment"][name]
            for service in SERVICES.values()
            if "BATON_PACKS" in service.get("environment", {})
        }
        assert said == {f"${{{name}:-}}"}


def test_who_has_a_folder() -> None:
    found: dict[str, dict[str, str]] = {}
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source, _, mode = volume.partition(":")[0], *volume.partition(":")[2].partition(":")[1:]
            found.setdefault(source, {})[name] = mode or "rw"
    assert found == VOLUMES
    assert set(FILE["volumes"]) == set(VOLUMES)


def test_a_database_user_each_and_none_is_the_administrator() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if "@postgres/" not in str(value):
                continue
            url = make_url(re.sub(r"\{secret:\w+\}", "x", str(value).removeprefix("db+")))
            assert url.drivername == "postgresql+psycopg2", (name, variable)
            assert url.username in (url.database, "backup" if name == "backup" else ""), (name, variable)
            assert url.username != "postgres" or name in ("set-up", "restore")
    assert "--encoding=UTF8" in SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"]


def test_every_part_that_stays_says_whether_it_is_well() -> None:
    assert {name for name, one in SERVICES.items() if "healthcheck" not in one} == ONCE
    for name in SERVICES.keys() - ONCE:
        check = SERVICES[name]["healthcheck"]
        seconds = {key: int(check.get(key, "30s")[:-1]) for key in ("interval", "timeout")}
        assert 10 <= seconds["interval"] <= 30, "seldom enough to cost nothing, often enough to see a crash"
        assert seconds["timeout"] <= 30
        # Airflow's own command and Celery's import for seconds at every turn
        assert {"airflow", "celery"}.isdisjoint(check["test"]), name


def test_a_check_asks_for_the_part_that_the_container_is() -> None:
    parts = {"scheduler": "SchedulerJob", "dag-processor": "DagProcessorJob", "triggerer": "TriggererJob"}
    for name, part in {**parts, "worker": "worker", "worker-training": "worker"}.items():
        assert SERVICES[name]["healthcheck"]["test"] == ["CMD", "with-secrets", "alive", part]
    assert SERVICES["scheduler"]["environment"]["AIRFLOW__CORE__HOSTNAME_CALLABLE"] == "socket.gethostname"


def test_nothing_starts_before_what_it_needs() -> None:
    for name, one in SERVICES.items():
        for needed, how in one.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if needed in ONCE else "service_healthy"
            assert how["condition"] == wanted, (name, needed)
            assert how.get("required", True) == ("profiles" not in SERVICES[needed]), (name, needed)


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_bound(name: str) -> None:
    one = SERVICES[name]
    assert one["read_only"] is True
    assert any(folder.split(":")[0] == "/tmp" for folder in one["tmpfs"])
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["user"] == ("50000:50000" if "baton" in one["image"] else name), "none is root"
    assert {"privileged", "cap_add", "network_mode", "pid"}.isdisjoint(one)
    limits = one["deploy"]["resources"]["limits"]
    assert limits["pids"] <= 1000
    assert re.fullmatch(r"\d+[GM]|\$\{\w+:-\d+G\}", limits["memory"])
    assert one["restart"] == ("no" if name in ONCE else "unless-stopped")


def test_only_these_leave_the_inner_network() -> None:
    assert FILE["networks"]["inside"] == {"internal": True}
    out = {name for name, one in SERVICES.items() if "outside" in one["networks"]}
    assert out == {"mlflow", "api-server", "data", "model-server", "demo", "backup", "restore"}
    assert {name for name, one in SERVICES.items() if "ports" in one} == {"mlflow", "api-server"}


def test_training_has_a_worker_of_its_own() -> None:
    queues = {name: SERVICES[name]["command"][SERVICES[name]["command"].index("--queues") + 1] for name in WORKERS}
    assert queues == {"worker": "default", "worker-training": "training"}
    assert 'queue="training"' in (_ROOT / "include/baton/airflow/lifecycle.py").read_text()


def test_what_a_killed_worker_had_taken_and_not_begun_comes_back_in_time() -> None:
    """Airflow's own patience is a day, and it gives a task up as stuck, and queues it again, after ten minutes."""
    for name in ("scheduler", *WORKERS):
        of = SERVICES[name]["environment"]
        option = "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__"
        assert of[f"{option}VISIBILITY_TIMEOUT"] == of["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"]
        assert of[f"{option}UNACKED_RESTORE_THROTTLE"] == "1"  # the broker is looked through every ten seconds


def test_what_the_queue_holds_outlives_it() -> None:
    assert "--appendonly yes" in SERVICES["redis"]["command"][-1]


def test_profiles_and_the_one_file_that_images_are_built_from() -> None:
    assert {name: one["profiles"] for name, one in SERVICES.items() if "profiles" in one} == PROFILES
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    for one in SERVICES.values():
        if "build" in one:
            assert one["build"]["context"] == "."
            assert one["build"]["target"] in stages
            target = one["build"]["target"]
            assert one["image"] == ("baton:local" if target == "baton" else f"baton-{target}:local")
    assert re.findall(r"^FROM (\S+)$", DOCKERFILE, re.MULTILINE) == ["baton"], "without a target the demo stays out"


def test_only_the_demo_has_the_demo() -> None:
    assert [line for line in DOCKERFILE.splitlines() if "baton_demo" in line and line.startswith("COPY")] == [
        "COPY include/baton_demo /opt/baton/lib/python3.11/site-packages/baton_demo"
    ]


def test_the_image_has_a_folder_for_each_volume() -> None:
    """Else the new volume would belong to root, and nothing could be written."""
    made = DOCKERFILE.split("mkdir -p ", 1)[1].splitlines()[0].split()
    targets = {
        volume.split(":")[1]
        for name, one in SERVICES.items()
        if name not in ("postgres", "redis")
        for volume in one.get("volumes", [])
    }
    below = {target.removeprefix("/var/lib/baton/") for target in targets - {"/var/lib/baton", "/backups"}}
    assert below <= set(made)
    assert "mkdir --mode=700 /backups && chown 50000:50000 /backups" in DOCKERFILE


def test_a_new_volume_is_empty_but_for_folders() -> None:
    """A volume takes what the image has there, and a restore writes over nothing: no file of a user's home."""
    assert "--no-create-home" in DOCKERFILE
    assert " --create-home" not in DOCKERFILE


def test_the_documentation_makes_every_secret() -> None:
    text = (_ROOT / "SECURITY.md").read_text()
    assert [
        name for name in SECRETS if not re.search(rf"\b{name}\b", text.split("## Secrets of a production")[1])
    ] == []
