"""Models of agents: address, model and key stay in Airflow connections, and common.ai makes the agents.

A connection of type `pydanticai` says: host (base
URL, ending in /v1), password (API key), extra `model` (`openai-chat:<name>` for any OpenAI-compatible server) and
perhaps `fallback_conn_ids` (who is asked when it fails) and `prices` (dollars for a million tokens, `input` and
`output`). Its siblings for Azure, Bedrock and Vertex work as well.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import redact
from pydantic import BaseModel

from baton.agents.calls import FALLBACK
from baton.stages.connections import Model, NoModel, prices_of

# one line for each request would bury a task's own log
for _name in ("httpx", "httpx2"):
    if logging.getLogger(_name).level == logging.NOTSET:
        logging.getLogger(_name).setLevel(logging.WARNING)

if TYPE_CHECKING:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models.fallback import FallbackModel


class ConnectedModel(Model):
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
        extra = connection.extra_dejson
        self.name = str(extra.get("model") or "")
        if not self.name:
            raise NoModel(f"connection {conn_id} names no model; give its extra a `model`")
        self.prices = prices_of(conn_id, extra.get("prices"))

    def agent(self, output: type[BaseModel], instructions: str, retries: int) -> Agent[Any, Any]:
        """An agent of common.ai's hook whose answers the server constrains to the output's JSON Schema."""
        from airflow.providers.common.ai.hooks.pydantic_ai import PydanticAIHook
        from pydantic_ai import NativeOutput
        from pydantic_ai.models.fallback import FallbackModel

        try:
            hook = PydanticAIHook.get_hook(self.conn_id)
            made = hook.create_agent(NativeOutput(output), instructions=instructions, retries=retries)
            chain = hook.get_conn()
        except Exception as error:  # unknown provider, library that is not installed, half a connection
            said = str(redact(str(error).partition("\n")[0]))
            raise NoModel(f"connection {self.conn_id} cannot be used: {said[:300]}") from error
        if isinstance(chain, FallbackModel):
            others = [name.strip() for name in BaseHook.get_connection(self.conn_id).extra_dejson["fallback_conn_ids"]]
            self._note_who_answers(chain, [name for name in others if name])
        return made

    def _note_who_answers(self, chain: FallbackModel, others: list[str]) -> None:
        """Let each model of the chain say that it was the one, for the result."""
        from pydantic_ai.models.wrapper import WrapperModel

        owner = self

        class Answering(WrapperModel):
            said = ""

            async def request(self, *args: Any, **kwargs: Any) -> ModelResponse:
                response = await super().request(*args, **kwargs)
                owner.answered = self.said
                return response

        self.chain = len(chain.models)
        for place, name in enumerate(["", *others]):
            wrapped = Answering(chain.models[place])
            wrapped.said = f"{wrapped.model_name}{FALLBACK}{name}" if name else ""
            chain.models[place] = wrapped

    def reveals(self, text: str) -> bool:
        """Whether the text holds a secret that Airflow masks: passwords and keys of every connection read so far."""
        return bool(redact(text) != text)
