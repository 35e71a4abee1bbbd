"""A packaged language model behind an OpenAI-compatible interface on 127.0.0.1.

    python -m baton_demo.customer_experience.language_model --model smollm2-135m.gguf --port 8091 --token-file token

/health answers 200 to anybody when the model is loaded; every other address needs `Authorization: Bearer <token>`. One
request at a time on one thread: it is a stand-in for a machine without a model server, beside a scheduler and its tasks.
A server of its own process can hang or die without taking a task along.
"""

import argparse
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from baton.errors import ServiceError
from baton.packs.packaged import packaged
from baton_demo.json_service import HOST

CONTEXT = 4_096  # tokens, question and answer together


def alias(model: str) -> str:
    """What a packaged model is called in requests."""
    return Path(model).stem


def serve(model: str, port: int, token: str) -> Any:
    """Start the server; it runs until the returned object is gone.

    Args:
        model: name of a packaged file (`baton.packs.packaged`), whose hash is checked before it is opened.
        port: to listen on.
        token: bearer token of every request but /health.

    Raises:
        SourceError: the file was not fetched, or is another one than was checked.
        ServiceError: there is no token, or the server does not start.
    """
    if not token:
        raise ServiceError("model server: the token file is empty; delete it and start `baton up` again")
    path = packaged(model)
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {alias(model)}
    params.hostnames, params.port, params.api_keys = [HOST], port, [token]
    params.n_ctx, params.n_parallel = CONTEXT, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 2  # one for /health beside a long answer
    params.cache_ram_mib = 0  # no prompts are kept in memory beyond the one in work
    params.ui = params.endpoint_slots = False
    params.verbosity = 1  # errors; no text of a request
    try:
        return xllamacpp.Server(params)
    except Exception as error:
        raise ServiceError(f"model server: {path.name} on {HOST}:{port} does not start: {error}") from error


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m baton_demo.customer_experience.language_model", description="Serve a packaged model."
    )
    parser.add_argument("--model", required=True, help="name of a packaged file, for example smollm2-135m.gguf")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    given = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    server = serve(given.model, given.port, given.token_file.read_text(encoding="utf-8").strip())
    sys.stdout.write(f"{alias(given.model)} at {server.listening_address}\n")
    sys.stdout.flush()
    stopped.wait()


if __name__ == "__main__":
    main()
