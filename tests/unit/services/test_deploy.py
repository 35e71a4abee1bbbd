"""include/deploy: the same parts with the same secrets on Kubernetes as docker-compose.yml has, bound in the same way."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[3]
_DEPLOY = _ROOT / "include" / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())["services"]
VALUES: dict[str, Any] = yaml.safe_load((_DEPLOY / "values.yaml").read_text())
MANIFESTS = [
    document
    for path in sorted(_DEPLOY.glob("*.yaml"))
    if path.name != "values.yaml"
    for document in yaml.safe_load_all(path.read_text())
]
# container of docker-compose.yml -> what stands for it in the chart's values
CHART = {
    "api-server": VALUES["apiServer"],
    "scheduler": VALUES["scheduler"],
    "dag-processor": VALUES["dagProcessor"],
    "triggerer": VALUES["triggerer"],
    "worker": VALUES["workers"]["celery"],
    "worker-training": VALUES["workers"]["celery"],
}


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Pods of our own manifests by component."""
    for one in MANIFESTS:
        if one["kind"] in ("Deployment", "StatefulSet", "Job"):
            template = one["spec"]["template"]
            yield template["metadata"]["labels"]["component"], template["spec"]


def mounted(volumes: list[dict[str, Any]]) -> set[str]:
    """Keys of the Secret that a pod mounts."""
    return {item["path"] for volume in volumes if "secret" in volume for item in volume["secret"]["items"]}


@pytest.mark.parametrize("part", [*CHART, "set-up", "accounts", "mlflow", "postgres", "redis"])
def test_each_part_has_the_secrets_that_it_has_in_compose(part: str) -> None:
    spec = CHART.get(part) or dict(pods())[part]
    found = mounted(spec.get("extraVolumes") or spec["volumes"])
    assert found == set(COMPOSE[part]["secrets"])
    told = str(spec)
    used = set(re.findall(r"{secret:(\w+)}", told)) | set(re.findall(r"/run/secrets/(\w+)", told))
    assert used == found


def test_what_waits_for_votes_reads_them() -> None:
    """A trigger asks the warehouse how a request stands; without it no vote ends the wait, wherever it was given."""
    url = COMPOSE["api-server"]["environment"]["BATON_WAREHOUSE_URL"]
    assert COMPOSE["triggerer"]["environment"]["BATON_WAREHOUSE_URL"] == url
    assert {"name": "BATON_WAREHOUSE_URL", "value": url} in CHART["triggerer"]["env"]


def test_single_is_said_nowhere_and_four_eyes_everywhere() -> None:
    ours = {name for name, one in COMPOSE.items() if "BATON_PACKS" in one.get("environment", {})}
    assert ours >= {*CHART, "set-up", "backup"}
    assert {COMPOSE[name]["environment"]["BATON_GOVERNANCE"] for name in ours} == {"four_eyes"}
    assert {"name": "BATON_GOVERNANCE", "value": "four_eyes"} in VALUES["env"]


def test_the_chart_gives_no_secret_to_every_pod() -> None:
    assert set(VALUES["enableBuiltInSecretEnvVars"].values()) == {False}
    assert "secret:" not in str(VALUES["env"])
    assert VALUES["workers"]["kubernetes"]["extraVolumes"] == VALUES["workers"]["celery"]["extraVolumes"]


def test_what_writes_watchers_has_no_key_that_is_made_up() -> None:
    assert {"name": "AIRFLOW__CORE__FERNET_KEY", "value": ""} in CHART["dag-processor"]["env"]
    assert COMPOSE["dag-processor"]["environment"]["AIRFLOW__CORE__FERNET_KEY"] == ""


def test_the_chart_asks_the_same_signs_of_life() -> None:
    for part in ("scheduler", "dag-processor", "triggerer", "worker"):
        assert ["CMD", *CHART[part]["livenessProbe"]["command"]] == COMPOSE[part]["healthcheck"]["test"]


def test_every_pod_begins_with_what_reads_its_secrets() -> None:
    """The image's entry point, which also says where large XComs go; a `command` would take its place."""
    pods = (*CHART.values(), *VALUES["workers"]["celery"]["sets"], VALUES["workers"]["kubernetes"])
    assert [one for one in pods if "command" in one] == []
    assert {"name": "BATON_STORE_URL", "value": "s3://baton/store"} in VALUES["env"]


def test_training_goes_to_workers_of_its_own_by_its_queue() -> None:
    celery = VALUES["workers"]["celery"]
    assert VALUES["executor"] == "CeleryExecutor,KubernetesExecutor"
    assert celery["args"] == COMPOSE["worker"]["command"]
    assert [(one["queue"], one["args"]) for one in celery["sets"]] == [
        ("training", COMPOSE["worker-training"]["command"])
    ]


def test_settings_are_those_of_compose() -> None:
    given = COMPOSE["scheduler"]["environment"]
    for section, values in VALUES["config"].items():
        for name, value in values.items():
            variable = f"AIRFLOW__{section.upper()}__{name.upper()}"
            if variable not in ("AIRFLOW__CORE__DAGS_FOLDER", "AIRFLOW__API__BASE_URL"):
                wanted = given[variable].replace("//api-server", "//baton-api-server")
                assert value == wanted, variable
    assert given["BATON_AIRFLOW_URL"].replace("//", "//baton-") in [one["value"] for one in VALUES["env"]]


def test_every_pod_is_bound() -> None:
    bound = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert VALUES["securityContexts"]["containers"] == bound
    assert VALUES["securityContexts"]["pod"]["runAsNonRoot"] is True
    for name, spec in pods():
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["automountServiceAccountToken"] is False, name
        for container in spec["containers"]:
            assert container["securityContext"] == bound, name
            assert container["resources"]["limits"]["memory"], name
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"], name
    for part in (*CHART.values(), *VALUES["workers"]["celery"]["sets"], VALUES["workers"]["kubernetes"]):
        assert part["resources"]["limits"]["memory"]


def test_every_claim_is_there() -> None:
    claims = {one["metadata"]["name"] for one in MANIFESTS if one["kind"] == "PersistentVolumeClaim"}
    asked = set(re.findall(r"claimName': '([\w-]+)", str(VALUES) + str(MANIFESTS)))
    assert asked | {VALUES["logs"]["persistence"]["existingClaim"]} == claims


def test_nobody_talks_to_anybody_who_is_not_named() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in MANIFESTS if one["kind"] == "NetworkPolicy"}
    assert policies["baton-nothing-by-default"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    into = {}
    for spec in policies.values():
        if "ingress" in spec:
            (rule,) = spec["ingress"]
            (near,) = [one["podSelector"] for one in rule["from"] if "podSelector" in one]
            (expression,) = near["matchExpressions"]
            into[spec["podSelector"]["matchLabels"]["component"]] = set(expression["values"])
    # whoever has a secret of a database, the queue or the registry may go there, and no other
    assert into["redis"] == {"scheduler", "worker"}
    database = {name for name, one in COMPOSE.items() if "@postgres/" in str(one.get("environment"))}
    assert into["postgres"] == (database - {"worker-training", "demo", "backup", "restore"})
    registry = {name for name, one in COMPOSE.items() if "MLFLOW_TRACKING_PASSWORD" in one.get("environment", {})}
    assert into["mlflow"] == (registry - {"worker-training", "demo"})


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_kubernetes_knows_every_field(manifest: dict[str, Any]) -> None:
    """By the schemas of a release that `kubernetes-validate` brings; an unknown field is an error."""
    validator = pytest.importorskip("kubernetes_validate")
    validator.validate(manifest, "1.37", strict=True)
