"""The packaged model behind its server: health for anybody, answers for whoever has the token, typed by its schema."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import httpx
import pytest
from pydantic import BaseModel, Field

from baton.agents.asking import Caller
from baton.agents.calls import Limits
from baton.agents.case import AgentQuestion
from baton.agents.spec import AgentSpec
from baton.airflow.connections.lookup import AirflowConnections
from baton.errors import ServiceError
from baton.packs.packaged import FILES
from baton.services import language_model as model_server
from baton.services.companions import companions
from baton.settings import Settings

MODEL, TOKEN = "smollm2-135m.gguf", "local-test-token"


class Reply(BaseModel):
    text: str = Field(max_length=120)
    tone: Literal["calm", "warm"]
    cites: list[Annotated[str, Field(max_length=20)]] = Field(max_length=2)


@pytest.fixture(scope="module")
def started(packaged_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("model")
    (home / "data" / "packaged").mkdir(parents=True)
    (home / "data" / "packaged" / MODEL).symlink_to(packaged_files / MODEL)
    (home / "token").write_text(TOKEN)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "baton.services.language_model", "--model", MODEL, "--port", str(port),
               "--token-file", str(home / "token")]  # fmt: skip
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, env={**os.environ, "BATON_HOME": str(home)}, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not _well(url):
            assert process.poll() is None, (home / "log").read_text()
            assert time.monotonic() < deadline, "the server did not come up within 60 s"
            time.sleep(0.2)
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, "it ends when it is told to"
        assert "Ann" not in (home / "log").read_text(), "texts of requests are not logged"
    finally:
        process.kill()
        process.wait()


def _well(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_only_health_is_for_everybody(started: str) -> None:
    with httpx.Client(trust_env=False, base_url=started) as client:
        assert client.get("/health").status_code == 200
        for path in ("/v1/models", "/props", "/slots"):
            assert client.get(path).status_code == 401
        models = client.get("/v1/models", headers={"authorization": f"Bearer {TOKEN}"}).json()
    assert [model["id"] for model in models["data"]] == ["smollm2-135m"]


def test_an_agent_gets_a_typed_answer_through_an_airflow_connection(
    started: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prompt = tmp_path / "prompt.md"
    prompt.write_text("You answer a customer in one short sentence. Cite the entry. Answer in JSON.")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    connection = {"conn_type": "pydanticai", "host": f"{started}/v1", "password": TOKEN,
                  "extra": {"model": "openai-chat:smollm2-135m"}}  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_CUSTOMER_AGENT", json.dumps(connection))
    spec: Any = AgentSpec("local", prompt, Reply, list, lambda case, reply: reply, lambda case: Reply.model_construct())
    case = AgentQuestion("a", {"entry": "top-up", "answer": "Top-ups take a minute."}, {"message": "I am Ann. Where is my top-up?"},
                personal={"NAME": ["Ann"]})  # fmt: skip
    answer = Caller(spec, AirflowConnections().model("customer_agent"), Limits(max_tokens=200, timeout=60)).ask(case)
    assert answer.kind in ("accepted", "refused"), (
        answer.reason
    )  # of its wording nobody can be sure, of its form one can
    assert answer.input_tokens > 20 < answer.output_tokens + 20
    assert answer.requests == 1


def test_what_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="token file is empty"):
        model_server.serve(MODEL, 1, "")
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"GGUF no model")
    monkeypatch.setattr(model_server, "packaged", lambda name: wrong)
    with pytest.raises(ServiceError, match=r"wrong\.gguf on 127\.0\.0\.1"):
        model_server.serve(MODEL, 1, "token")


def test_the_pack_brings_it_and_it_starts_only_where_its_model_is(
    packaged_files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from baton_demo.customer_experience.companions import CONN_ID
    from baton_demo.customer_experience.companions import companions as brought

    (found,) = brought(tmp_path)
    assert (found.conn_id, found.on(8123)[-3], found.files) == (CONN_ID, "8123", (MODEL,))
    assert MODEL in FILES
    assert found.connection(8123) == {
        "conn_type": "pydanticai", "host": "http://127.0.0.1:8123/v1", "port": None, "schema": None,
        "password": found.token_file.read_text(), "extra": '{"model": "openai-chat:smollm2-135m"}',
    }  # fmt: skip
    assert found.token_file.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr("baton.services.companions.packs", lambda: ["one"])
    monkeypatch.setattr("baton.packs.demos.part", lambda pack, name: SimpleNamespace(companions=lambda home: [found]))
    home = Settings(home=tmp_path)
    assert companions(home) == []
    assert f"{found.name} is not started: {MODEL} was not fetched" in caplog.text
    home.data_dir.joinpath("packaged").mkdir(parents=True)
    home.data_dir.joinpath("packaged", MODEL).symlink_to(packaged_files / MODEL)
    assert companions(home) == [found]
