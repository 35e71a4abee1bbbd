"""Prompts in MLflow's registry: a file's text is registered once, under the hash that every row of a result carries.

The requests are those of `mlflow.genai.register_prompt`: a registered model with a tag that makes it a prompt, a version
whose text is a tag.
"""

import hashlib

from baton.tracking.rest import Rest, RestError

IS_PROMPT, TEXT, TYPE = "mlflow.prompt.is_prompt", "mlflow.prompt.text", "_mlflow_prompt_type"
SHA = "baton.sha256"
_SOURCE = "dummy-source"  # MLflow's own placeholder: a version needs a source, a prompt's is not used


def prompt_name(agent: str, critic: bool = False) -> str:
    """Name of an agent's prompt; models live in the same registry, so it is never a model's."""
    return f"agent.{agent}{'.critic' if critic else ''}"


def register(rest: Rest, name: str, text: str, experiment_id: str) -> int:
    """The version of a prompt with this text, made if there is none yet.

    Args:
        experiment_id: in whose pages the prompt is listed too.

    Raises:
        ServiceError: the server does not take it.
    """
    sha = hashlib.sha256(text.encode()).hexdigest()
    if version := _known(rest, name, sha):
        return version
    tag = [{"key": IS_PROMPT, "value": "true"}]
    try:
        listed = [*tag, {"key": "_mlflow_experiment_ids", "value": f",{experiment_id},"}]
        rest.post("/registered-models/create", name=name, tags=listed)
    except RestError as error:
        if error.code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = [*tag, {"key": TYPE, "value": "text"}, {"key": TEXT, "value": text}, {"key": SHA, "value": sha}]
    rest.post("/model-versions/create", name=name, source=_SOURCE, tags=tags)
    return _known(rest, name, sha)  # of two tasks that were as fast as one another, both take the older


def _known(rest: Rest, name: str, sha: str) -> int:
    """The oldest version with this hash, 0 if there is none."""
    wanted = f"name = '{name}' AND tags.`{IS_PROMPT}` = 'true' AND tags.`{SHA}` = '{sha}'"
    found = rest.get("/model-versions/search", filter=wanted, max_results=100).get("model_versions", [])
    return min((int(one["version"]) for one in found), default=0)
