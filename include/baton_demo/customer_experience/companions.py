"""The language model of a fresh machine: a small local one beside Airflow, reached by the connection `customer_agent`.

It writes simple replies and no more; point the connection at any OpenAI-compatible endpoint for better ones. Agents of
other packs go by the connection `agent`, which nobody makes for them: there templates speak unless somebody sets it up.
"""

import sys
from pathlib import Path

from baton.services.companions import Companion, token_file

NAME = "model-server"
CONN_ID = "customer_agent"
MODEL = "smollm2-135m.gguf"


def companions(home: Path) -> list[Companion]:
    """The model server."""
    token = token_file(home, NAME)
    command = [
        sys.executable, "-m", "baton_demo.customer_experience.language_model", "--model", MODEL, "--port", "{port}", "--token-file", str(token),
    ]  # fmt: skip
    model = {"model": f"openai-chat:{Path(MODEL).stem}"}
    return [Companion(NAME, command, token, CONN_ID, "pydanticai", "/v1", model, files=(MODEL,))]
