"""Access to the MLflow server: before every request its own log-in, minus the parts that run things.

MLflow's assistant lets anybody who can log in, a reviewer too, name a model endpoint of their own, grant it full access
and have its tool calls executed by a shell on the server's machine, where the signing key lies; MLflow 3.17 has no
switch for it. The gateway keeps provider keys and calls out; the demo, scorer and job routes run code. Baton uses none
of them, so they are closed to every user, the admin included. On the rest MLflow decides.
"""

import re
from typing import Any

_CLOSED = re.compile(
    r"/(ajax-)?api/\d\.\d/(mlflow/)?"
    r"(assistant|demo|gateway|gateway-proxy|genai|issues/invoke|jobs|mcp-servers|prompt-optimization"
    r"|runs/create-promptlab-run|scorer|scorers)(/.*)?"
    r"|/gateway(/.*)?",
    re.DOTALL,  # a path may hold a line break
)


def is_closed(path: str) -> bool:
    """True for a decoded request path that this server does not offer."""
    return _CLOSED.fullmatch(path) is not None


def authenticate() -> Any:
    """Return MLflow's answer to who asks, or the response that this part of MLflow is closed.

    The log-in app calls it in a Flask request context; `authorization_function` in `basic_auth.ini` names it.
    """
    from flask import Response, request
    from mlflow.server.auth import authenticate_request_basic_auth

    answer = authenticate_request_basic_auth()
    if not isinstance(answer, Response) and is_closed(request.path):
        return Response("Permission denied: this part of MLflow is closed in Baton", status=403)
    return answer
