"""Models of agents: address, model and key stay in Airflow connections, and common.ai makes the agents.

Importing this module registers the connections with `baton.agents`. A connection of type `pydanticai` says: host (base
URL, ending in /v1), password (API key), extra `model` (`openai-chat:<name>` for any OpenAI-compatible server) and
perhaps `fallback_conn_ids`. Its siblings for Azure, Bedrock and Vertex work as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import redact

from baton.agents.calls import NoModel, register_models

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_ai import Agent


class ConnectedModel:
    """The model of a connection; its libraries are imported when an agent is made, not when it is named."""

    def __init__(self, conn_id: str) -> None:
        """Raises NoModel where there is no such connection, or it is none to a model."""
        self.conn_id = conn_id
        try:
            connection = BaseHook.get_connection(conn_id)
        except AirflowNotFoundException as error:
            raise NoModel(f"there is no connection {conn_id}") from error
        if not (connection.conn_type or "").startswith("pydanticai"):
            raise NoModel(f"connection {conn_id} is of type {connection.conn_type}, not pydanticai")
        self.name = str(connection.extra_dejson.get("model") or "")
        if not self.name:
            raise NoModel(f"connection {conn_id} names no model; give its extra a `model`")

    def agent(self, output: type[BaseModel], instructions: str, retries: int) -> Agent[Any, Any]:
        """An agent of common.ai's hook whose answers the server constrains to the output's JSON Schema."""
        from airflow.providers.common.ai.hooks.pydantic_ai import PydanticAIHook
        from pydantic_ai import NativeOutput

        try:
            hook = PydanticAIHook.get_hook(self.conn_id)
            return hook.create_agent(NativeOutput(output), instructions=instructions, retries=retries)
        except Exception as error:  # unknown provider, library that is not installed, half a connection
            said = str(redact(str(error).partition("\n")[0]))
            raise NoModel(f"connection {self.conn_id} cannot be used: {said[:300]}") from error

    def reveals(self, text: str) -> bool:
        """Is a secret in the text that Airflow masks: passwords and keys of every connection read so far."""
        return bool(redact(text) != text)


register_models(ConnectedModel)
