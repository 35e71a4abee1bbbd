"""An agent's run over HTTP: fallback connections, tools, a task that is killed; each answer comes from where it is said to."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel, Field

from baton.agents.asking import Answer, Caller
from baton.agents.calls import Limits
from baton.agents.case import AgentQuestion
from baton.agents.spec import AgentSpec
from baton.agents.tools import Tool
from baton.airflow.connections.lookup import AirflowConnections
from baton.data.datasets import read
from baton.record import warehouse
from baton.stages.connections import NoModel
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import Slot, StageOutput, run_stage
from baton_packs.customer_experience import HERE

SERVER: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("model_server.py")))
KEY = SERVER["KEY"]
GOOD = {"text": "Dear [NAME_1]."}
PRICES = {"input": 1.0, "output": 10.0}


class Reply(BaseModel):
    text: str = Field(max_length=60)


def _cases(people: pd.DataFrame) -> list[AgentQuestion]:
    return [
        AgentQuestion(f"k{i}", {"number": i}, {"message": name}, personal={"NAME": [name]})
        for i, name in people["name"].items()
    ]


def orders(case: AgentQuestion, year: int) -> dict[str, int]:
    """Orders of the customer in a year."""
    return {"orders": 7, "year": year}


PROMPT = HERE / "prompts" / "customer_reply.md"  # any of a pack will do
SPEC = AgentSpec("clerk", PROMPT, Reply, _cases, lambda case, reply: reply, lambda case: Reply(text="as it is"))
LOOKS_UP = AgentSpec("looks_up", PROMPT, Reply, _cases, lambda case, reply: reply, lambda case: Reply(text="-"),
                     tools=(Tool("orders", orders, reads=("orders",)),))  # fmt: skip
CASE = AgentQuestion("a", {}, {"message": "Ann Lee"}, personal={"NAME": ["Ann Lee"]})


@pytest.fixture(autouse=True)
def migrated(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """A first one, and the fallback."""
    with SERVER["running"]() as first, SERVER["running"]() as second:
        first.always = second.always = GOOD
        extra = {"model": "openai-chat:big", "fallback_conn_ids": ["agent_backup", " "], "prices": PRICES}
        connection(monkeypatch, "AGENT", first.url, extra)
        connection(monkeypatch, "AGENT_BACKUP", second.url, {"model": "openai-chat:small"}, "sk-backup-secret-key")
        yield first, second


def connection(monkeypatch: pytest.MonkeyPatch, name: str, url: str, extra: dict[str, Any], key: str = KEY) -> None:
    given = {"conn_type": "pydanticai", "host": url, "password": key, "extra": extra}
    monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(given))


def ask(spec: AgentSpec = SPEC, **limits: Any) -> Answer:
    return Caller(spec, AirflowConnections().model("agent"), Limits(**limits)).ask(CASE)


def job(people: list[str], agent: str = "SPEC") -> StageJob:
    frame = pd.DataFrame({"name": people})
    slot = Slot("care", "receive", "2026-11-20T00:00:00")
    given = run_stage(
        slot,
        lambda inputs: StageOutput(frame),
        inputs={},
        params={"people": people},
        models={},
        code="test",
        run_id="test",
    )
    return StageJob(
        "customer_experience",
        "care",
        "advise",
        slot.partition,
        "baton.steps.advise:advise",
        inputs={"people": given.ref},
        options={"agent": f"{__name__}:{agent}", "conn_id": "agent"},
        run_id="test",
        connections=AirflowConnections(),
    )


@pytest.mark.parametrize("trouble", [500, 429, 401, "drop", "hang", "page"])
def test_a_fallback_answers_for_the_first_and_the_result_says_so(servers: tuple[Any, Any], trouble: Any) -> None:
    first, second = servers
    first.always = trouble
    answer = ask(timeout=3.0)
    assert answer.output == Reply(text="Dear Ann Lee."), answer.reason
    assert answer.model == "small, the fallback agent_backup"
    assert (len(second.requests), second.keys) == (1, ["Bearer sk-backup-secret-key"])
    assert all(key == f"Bearer {KEY}" for key in first.keys)


def test_with_the_first_well_the_fallback_is_not_asked(servers: tuple[Any, Any]) -> None:
    answer = ask()
    assert (answer.model, len(servers[1].requests)) == ("openai-chat:big", 0)


def test_with_both_lost_the_template_stands(servers: tuple[Any, Any]) -> None:
    for server in servers:
        server.always = 503
    answer = ask()
    assert (answer.output, answer.reason) == (None, "the model server answered 503")


def test_a_run_says_who_answered_and_what_it_cost(servers: tuple[Any, Any]) -> None:
    servers[0].script = [GOOD, 500]
    result = run(job(["Ann Lee", "Bo Chu"]))
    assert read(result.ref)["model"].tolist() == ["openai-chat:big", "small, the fallback agent_backup"]
    assert result.facts["answered_by"] == {"openai-chat:big": 1, "small, the fallback agent_backup": 1}
    assert result.facts["degraded"] == ["agent clerk: 1 cases were answered by small, the fallback agent_backup"]
    assert result.facts["cost"] == pytest.approx((2 * 120 * 1.0 + 2 * 30 * 10.0) / 1e6)


def test_a_fallback_or_a_price_list_that_is_none_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for extra, message in (
        ({"fallback_conn_ids": ["nobody"]}, "connection agent cannot be used"),
        ({"prices": {"input": 1}}, "`prices` of its extra"),
    ):
        connection(monkeypatch, "AGENT", "http://127.0.0.1:1/v1", {"model": "openai-chat:big", **extra})
        with pytest.raises(NoModel, match=message):
            ask()


def test_typed_answers_and_tools_go_together(servers: tuple[Any, Any]) -> None:
    first, _ = servers
    first.script = [("orders", {"year": 2026}), {"text": "[NAME_1] has 7 orders of 2026."}]
    answer = ask(LOOKS_UP)
    assert answer.output == Reply(text="Ann Lee has 7 orders of 2026."), answer.reason
    assert answer.tool_calls == 1
    asked, told = first.requests
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["orders"]
    assert asked["response_format"]["type"] == "json_schema", "typed besides"
    assert json.loads(told["messages"][-1]["content"]) == {"orders": 7, "year": 2026}


CHILD = """
import json, sys
sys.path.insert(0, {folder!r})
from baton.airflow.connections.lookup import AirflowConnections
from baton.data.datasets import DatasetRef
from baton.stages.job import StageJob
from baton.stages.run import run
given = json.loads(sys.argv[1])
inputs = {{"people": DatasetRef.from_dict(given["ref"])}}
run(StageJob("customer_experience", "care", "advise", given["partition"], "baton.steps.advise:advise", inputs=inputs,
             options=given["options"], run_id="test", connections=AirflowConnections()))
"""


def test_a_task_that_is_killed_asks_only_for_the_rest(servers: tuple[Any, Any], home: Path) -> None:
    first, _ = servers
    wanted = job([f"Person{chr(65 + i)} Smith" for i in range(10)])
    given = {"ref": wanted.inputs["people"].to_dict(), "partition": wanted.partition,
             "options": {**wanted.options, "agent": f"{Path(__file__).stem}:SPEC"}}  # fmt: skip
    command = [sys.executable, "-c", CHILD.format(folder=str(Path(__file__).parent)), json.dumps(given)]
    environment = {**os.environ, "BATON_HOME": str(home)}
    child: list[subprocess.Popen[bytes]] = []

    def seven_then_kill(body: dict[str, Any]) -> Any:
        if len(first.requests) == 8:
            os.kill(child[0].pid, signal.SIGKILL)
            return "drop"
        return GOOD

    first.always = seven_then_kill
    child.append(subprocess.Popen(command, env=environment))
    assert child[0].wait(60) == -signal.SIGKILL
    assert len(first.requests) == 8
    kept = list((home / "store").rglob("journal/*.json"))
    assert len(kept) == 7
    assert not any("Smith" in path.read_text() for path in kept)
    assert subprocess.run(command, env=environment, timeout=60).returncode == 0
    assert len(first.requests) == 8 + 3
    assert not list((home / "store").rglob("journal/*.json"))
    result = run(wanted)
    assert (len(first.requests), result.facts["accepted"]) == (8 + 3 + 10, 10), "the agent has another name here"
