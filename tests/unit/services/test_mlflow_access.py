"""Which parts of MLflow the server does not offer, and what of the registry is the service account's alone."""

from __future__ import annotations

from types import SimpleNamespace as Message
from typing import Any

import pytest

from baton.services.mlflow_access import is_closed, reserved


@pytest.mark.parametrize(
    "path",
    [
        "/ajax-api/3.0/mlflow/assistant/config",
        "/ajax-api/3.0/mlflow/assistant/message",
        "/ajax-api/3.0/mlflow/assistant/providers/a\nb/health",
        "/ajax-api/3.0/mlflow/demo/generate",
        "/ajax-api/2.0/mlflow/gateway-proxy",
        "/api/3.0/mlflow/gateway/secrets/create",
        "/ajax-api/3.0/mlflow/scorer/invoke",
        "/api/3.0/mlflow/scorers/register",
        "/ajax-api/3.0/mlflow/genai/evaluate/invoke",
        "/ajax-api/3.0/mlflow/issues/invoke",
        "/ajax-api/3.0/jobs/",
        "/ajax-api/3.0/mlflow/jobs/cancel/1",
        "/api/3.0/mlflow/mcp-servers",
        "/gateway/openai/v1/chat/completions",
    ],
)
def test_closed(path: str) -> None:
    assert is_closed(path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/graphql",
        "/version",
        "/api/2.0/mlflow/model-versions/set-tag",
        "/ajax-api/2.0/mlflow/registered-models/get",
        "/api/2.0/mlflow/logged-models/m-1",
        "/api/2.0/mlflow-artifacts/artifacts/1/gateway/mlflow/demo/assistant",
        "/api/3.0/mlflow/users/permissions/grant",
        "/get-artifact",
    ],
)
def test_open(path: str) -> None:
    assert not is_closed(path)


GATE = Message(key="baton.gate")


@pytest.mark.parametrize(
    ("operation", "asked", "what"),
    [
        ("SetRegisteredModelAlias", Message(alias="champion"), "alias champion"),
        ("SetRegisteredModelAlias", Message(alias="Champion "), "alias Champion "),
        ("SetRegisteredModelAlias", Message(alias="mine"), None),
        ("DeleteRegisteredModelAlias", Message(alias="previous_champion"), "alias previous_champion"),
        ("DeleteRegisteredModelAlias", Message(alias="challenger"), "alias challenger"),
        ("SetModelVersionTag", Message(key="baton.review"), None),
        ("SetModelVersionTag", Message(key="baton.review_by"), "tag baton.review_by"),
        ("SetModelVersionTag", Message(key="BATON.gate"), "tag BATON.gate"),
        ("SetModelVersionTag", Message(key="team"), None),
        ("DeleteModelVersionTag", Message(key="baton.gate_at"), "tag baton.gate_at"),
        ("SetRegisteredModelTag", Message(key="baton.review"), "tag baton.review"),
        ("DeleteRegisteredModelTag", Message(key="baton.refused.1"), "tag baton.refused.1"),
        ("CreateModelVersion", Message(tags=[Message(key="team"), GATE]), "tag baton.gate"),
        ("CreateModelVersion", Message(tags=[]), None),
        ("CreateRegisteredModel", Message(tags=[GATE]), "tag baton.gate"),
        ("DeleteRegisteredModel", Message(name="fraud"), "alias champion"),
        ("RenameRegisteredModel", Message(name="fraud"), "alias champion"),
        ("DeleteRegisteredModel", Message(name="theirs"), None),
        ("DeleteModelVersion", Message(name="fraud", version="3"), "alias champion"),
        ("DeleteModelVersion", Message(name="fraud", version="2"), None),
        ("GetModelVersion", Message(), None),
        ("CopyAliases", Message(), "operation CopyAliases"),  # of an MLflow that is not known here
    ],
)
def test_what_is_the_service_accounts_alone(operation: str, asked: Any, what: str | None) -> None:
    aliases = {"fraud": {"champion": 3, "mine": 2}}
    assert reserved(operation, asked, lambda model: aliases.get(model, {})) == what
