"""Which parts of MLflow the server does not offer."""

from __future__ import annotations

import pytest

from baton.services.mlflow_access import is_closed


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
