"""Access to the MLflow server: before every request its own log-in, minus what runs things, minus what only Baton may say.

MLflow's assistant lets anybody who can log in, a reviewer too, name a model endpoint of their own, grant it full access
and have its tool calls executed by a shell on the server's machine, where the signing key lies; MLflow 3.17 has no
switch for it. The gateway keeps provider keys and calls out; the demo, scorer and job routes run code. Baton uses none
of them, so they are closed to every user, the admin included.

MLflow asks this module before it asks whether the user is an admin, so it can keep admins too from what is the service
account's alone: the aliases `champion`, `previous_champion` and `challenger`, and tags that begin with `baton.` but for
`baton.review`. It judges by the operation that MLflow will carry out and by the message that it will read, not by
paths and bodies of its own reading; an operation of the registry that is not known here is refused. Who tried is
kept as a tag `baton.refused.*` of the model, since this server has no warehouse: the DAG `registry_guard` takes it from
there to the ledger. On the rest MLflow decides.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from baton.names import CHALLENGER, CHAMPION, OWN_TAGS, PREVIOUS, REFUSED, REVIEW, REVIEW_BY
from baton.services.mlflow_server import USERS

log = logging.getLogger(__name__)

_CLOSED = re.compile(
    r"/(ajax-)?api/\d\.\d/(mlflow/)?"
    r"(assistant|demo|gateway|gateway-proxy|genai|issues/invoke|jobs|mcp-servers|prompt-optimization"
    r"|runs/create-promptlab-run|scorer|scorers)(/.*)?"
    r"|/gateway(/.*)?",
    re.DOTALL,  # a path may hold a line break
)
_REGISTRY = re.compile(r".*/mlflow/(registered-models|model-versions)/.*", re.DOTALL)
_ALIASES = frozenset({CHAMPION, CHALLENGER, PREVIOUS})
# operations that neither move an alias nor write a tag
_OPEN = frozenset({
    "GetRegisteredModel", "SearchRegisteredModels", "GetLatestVersions", "GetModelVersion", "SearchModelVersions",
    "GetModelVersionDownloadUri", "GetModelVersionByAlias", "UpdateRegisteredModel", "UpdateModelVersion",
    "TransitionModelVersionStage",
})  # fmt: skip


def is_closed(path: str) -> bool:
    """True for a decoded request path that this server does not offer."""
    return _CLOSED.fullmatch(path) is not None


def reserved(operation: str, asked: Any, standing: Callable[[str], Mapping[str, Any]]) -> str | None:
    """What of the service account's an operation of the model registry would change; None: nothing.

    Args:
        operation: name of MLflow's request message, such as `SetRegisteredModelAlias`.
        asked: that message, as MLflow reads it.
        standing: gives a model's aliases and the versions that they point at; empty for an unknown model.
    """
    match operation:
        case "SetRegisteredModelAlias" | "DeleteRegisteredModelAlias":
            return f"alias {asked.alias}" if _fold(asked.alias) in _ALIASES else None
        case "SetModelVersionTag" | "DeleteModelVersionTag":
            return _own_tag(key for key in [asked.key] if key != REVIEW)
        case "SetRegisteredModelTag" | "DeleteRegisteredModelTag":
            return _own_tag([asked.key])
        case "CreateRegisteredModel" | "CreateModelVersion":
            return _own_tag(tag.key for tag in asked.tags)
        case "DeleteRegisteredModel" | "RenameRegisteredModel":
            return _lost(standing(asked.name), None)
        case "DeleteModelVersion":
            return _lost(standing(asked.name), asked.version)
    return None if operation in _OPEN else f"operation {operation}"


def _own_tag(keys: Iterable[str]) -> str | None:
    return next((f"tag {key}" for key in keys if _fold(key).startswith(OWN_TAGS)), None)


def _lost(aliases: Mapping[str, Any], version: str | None) -> str | None:
    """The first alias of Baton's that goes with a version, or with the whole model."""
    gone = (name for name, at in sorted(aliases.items()) if version is None or str(at) == str(version))
    return next((f"alias {name}" for name in gone if _fold(name) in _ALIASES), None)


def _fold(text: str) -> str:
    return text.strip().casefold()  # a database may compare without case or blanks at the end


def authenticate() -> Any:
    """Return MLflow's answer to who asks, or the response that this part of MLflow is closed to them.

    The log-in app calls it in a Flask request context, more than once a request; `authorization_function` in
    `basic_auth.ini` names it.
    """
    from flask import g

    if "baton_access" not in g:
        g.baton_access = _decide()
    return g.baton_access


def _decide() -> Any:
    from flask import Response, request
    from mlflow.server.auth import authenticate_request_basic_auth

    answer = authenticate_request_basic_auth()
    if isinstance(answer, Response):
        return answer
    if is_closed(request.path):
        return Response("Permission denied: this part of MLflow is closed in Baton", status=403)
    message = _operations().get(request.endpoint or "")
    if message is not None:
        return answer if message.__name__ in _OPEN else _judge(answer, message())
    if request.endpoint and request.method != "GET" and _REGISTRY.fullmatch(request.path):
        return Response("Permission denied: Baton does not know this operation of the registry", status=403)
    return answer


def _judge(user: Any, message: Any) -> Any:
    from flask import Response
    from mlflow.server.handlers import _get_request_message

    operation, asked = type(message).__name__, _get_request_message(message)
    if user.username != USERS["service"] and (what := reserved(operation, asked, _aliases)):
        log.warning("refused: %r would change %s of model %r (%s)", user.username, what, asked.name, operation)
        _keep(asked.name, user.username, operation, what, getattr(asked, "version", ""))
        text = f"Permission denied: {what[:100]} is Baton's own, administrators included; that you tried is kept"
        return Response(text, status=403, mimetype="text/plain")
    if operation == "SetModelVersionTag" and asked.key == REVIEW:
        _sign(asked, user.username)
    return user


@lru_cache(maxsize=1)
def _operations() -> dict[str, type[Any]]:
    """Flask's endpoint -> request message, of every operation of MLflow's model registry."""
    from mlflow.protos.model_registry_pb2 import ModelRegistryService
    from mlflow.server.handlers import HANDLERS

    known = {method.input_type.full_name for method in ModelRegistryService.DESCRIPTOR.methods}
    handlers: dict[Any, Any] = HANDLERS
    return {run.__name__: message for message, run in handlers.items() if message.DESCRIPTOR.full_name in known}


def _aliases(model: str) -> Mapping[str, Any]:
    from mlflow.exceptions import MlflowException
    from mlflow.server.handlers import _get_model_registry_store

    try:
        return dict(_get_model_registry_store().get_registered_model(model).aliases)
    except MlflowException:
        return {}  # no such model: MLflow says so


def _keep(model: str, user: str, operation: str, what: str, version: str) -> None:
    """Keep that somebody tried: a tag of the model for each user and operation, so that trying often fills nothing."""
    from mlflow.entities.model_registry import RegisteredModelTag
    from mlflow.exceptions import MlflowException
    from mlflow.server.handlers import _get_model_registry_store

    store = _get_model_registry_store()
    key = REFUSED + hashlib.sha256(f"{user}\n{operation}".encode()).hexdigest()[:12]
    try:
        before = store.get_registered_model(model).tags.get(key)
        times = json.loads(before)["times"] + 1 if before else 1
        said = {"by": user[:200], "operation": operation, "what": what[:100], "version": version[:20], "times": times}
        said["at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        store.set_registered_model_tag(model, RegisteredModelTag(key, json.dumps(said)))
    except MlflowException as error:
        log.warning("the attempt is in this log only: %s", error)


def _sign(asked: Any, user: str) -> None:
    """Once the review's tag is written, write whose word it is: MLflow itself keeps no author of a tag."""
    from flask import after_this_request
    from mlflow.entities.model_registry import ModelVersionTag
    from mlflow.server.handlers import _get_model_registry_store

    def sign(response: Any) -> Any:
        if response.status_code == 200:
            tag = ModelVersionTag(REVIEW_BY, json.dumps({"by": user[:200], "word": asked.value[:200]}))
            _get_model_registry_store().set_model_version_tag(asked.name, asked.version, tag)
        return response

    after_this_request(sign)
