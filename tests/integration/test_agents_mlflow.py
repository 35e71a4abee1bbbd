"""Runs of agents in a real MLflow: traces with tokens, cost and the DAG run; prompts by their hash; nothing personal."""

from __future__ import annotations

import json
import runpy
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from opentelemetry.trace import get_tracer_provider
from pydantic import BaseModel, Field

from baton.agents.case import AgentQuestion
from baton.agents.spec import AgentSpec, Critic
from baton.data.datasets import read
from baton.settings import settings
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import Slot, StageOutput, run_stage
from baton.tracking.prompts import prompt_name, register
from baton.tracking.rest import Rest, credentials
from baton.tracking.traces import Span, Tracer, now
from baton_packs.customer_experience import HERE

Scripted = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "scripted_model.py"))["Scripted"]
STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "step_stage.py"))
PRICES = {"input": 1.0, "output": 10.0}
NAME, MAIL = "Wilhelmina Featherstone", "wilhelmina@private.example"


class Reply(BaseModel):
    text: str = Field(max_length=120)


def _cases(people: pd.DataFrame) -> list[AgentQuestion]:
    return [
        AgentQuestion(
            f"k{i}", {"number": i}, {"message": f"I am {name}, {MAIL}"}, personal={"NAME": [name], "MAIL": [MAIL]}
        )
        for i, name in people["name"].items()
    ]


PROMPT = HERE / "prompts" / "customer_reply.md"  # any of a pack will do
SPEC = AgentSpec(
    "scribe",
    PROMPT,
    Reply,
    _cases,
    lambda case, reply: reply,
    lambda case: Reply(text="-"),
    critic=Critic(HERE / "prompts" / "document_reply.md"),
)


@pytest.fixture
def home(workbench: Any) -> Path:
    """The running services' home instead of one for this test alone."""
    return workbench.home


def rest() -> Rest:
    url = settings().mlflow_tracking_uri
    assert url
    return Rest(url, credentials(settings().home, "service"), 5)


def advise(model: Any, partition: str, people: list[str]) -> Any:
    frame = pd.DataFrame({"name": people})
    given = run_stage(
        Slot("care", "receive", partition), lambda inputs: StageOutput(frame), inputs={}, params={"people": people}, models={},
        code="test", run_id="test",
    ).ref  # fmt: skip
    options = {"agent": f"{__name__}:SPEC"}
    return run(
        StageJob(
            "customer_experience",
            "care",
            "advise",
            partition,
            "baton.steps.advise:advise",
            inputs={"people": given},
            options=options,
            run_id="manual__7",
            connections=STAGE["Connected"](model),
        )
    )


def traces(run_id: str) -> list[dict[str, Any]]:
    experiment = rest().get("/experiments/get-by-name", experiment_name="agents/scribe")["experiment"]["experiment_id"]
    where = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}]
    found = rest().call("POST", "/api/3.0/mlflow/traces/search", locations=where, max_results=100)
    return [one for one in found["traces"] if one["tags"]["dag_run_id"] == run_id]


def test_each_case_is_a_trace_and_each_call_a_span(home: Path) -> None:
    script = [{"text": "Dear [NAME_1], see [MAIL_1]."}, {"ok": False, "remarks": ["Shorter."]}, {"text": "Dear [NAME_1]."},
              {"ok": True}, {"text": "Write to bob@evil.example."}] + [{"text": "Write to bob@evil.example."}] * 2  # fmt: skip
    model = Scripted(*script)
    model.prices = PRICES
    result = advise(model, "2026-11-20T00:00:00", [NAME, "Bo Chu"])
    facts, rows = result.facts, read(result.ref)
    assert rows["text"].tolist() == [f"Dear {NAME}.", "-"]
    assert (facts["traced"], facts["prompt_versions"]) == (2, {"agent.scribe": 1, "agent.scribe.critic": 1})
    assert rows["prompt_version"].tolist() == [1, 1]
    found = {one["tags"]["entity"]: one for one in traces("manual__7")}
    good, bad = found["k0"], found["k1"]
    assert {good["tags"][name] for name in ("flow", "stage", "partition", "cases")} == {
        "care",
        "advise",
        "2026-11-20T00:00:00",
        "2",
    }
    assert good["trace_metadata"]["mlflow.trace.session"] == "manual__7"
    assert json.loads(good["tags"]["mlflow.linkedPrompts"])[0] == {"name": "agent.scribe", "version": "1"}
    tokens = json.loads(good["trace_metadata"]["mlflow.trace.tokenUsage"])
    assert tokens["input_tokens"] == rows["input_tokens"][0] > 0
    cost = json.loads(good["trace_metadata"]["mlflow.trace.cost"])["total_cost"]
    assert cost == pytest.approx((tokens["input_tokens"] * 1.0 + tokens["output_tokens"] * 10.0) / 1e6)
    assert good["state"] == "OK"
    assert json.loads(good["response_preview"]) == {"text": "Dear [NAME_1]."}
    assert bad["state"] == "ERROR"

    import mlflow

    mlflow.set_tracking_uri(settings().mlflow_tracking_uri)
    with pytest.MonkeyPatch.context() as patch:
        user = credentials(home, "service")
        patch.setenv("MLFLOW_TRACKING_USERNAME", user.username)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", user.password)
        spans = mlflow.get_trace(good["trace_id"]).data.spans
        refused = mlflow.get_trace(bad["trace_id"]).data.spans
        prompt = mlflow.genai.load_prompt("prompts:/agent.scribe/1")
    assert [(span.name, span.span_type) for span in spans] == [
        ("scribe", "AGENT"), ("draft", "LLM"), ("critic", "LLM"), ("draft", "LLM"), ("critic", "LLM"),
    ]  # fmt: skip
    assert all(span.end_time_ns >= span.start_time_ns for span in spans)
    assert {span.outputs for span in refused[1:]} == {"withheld: personal data that nobody gave (MAIL)"}
    assert prompt.template == PROMPT.read_text()
    database = (home / "mlflow" / "mlflow.db").read_bytes() + b"".join(
        path.read_bytes() for path in (home / "mlflow").glob("mlflow.db-*")
    )
    for secret in (NAME, MAIL, "bob@evil.example", "Featherstone"):
        assert secret.encode() not in database
    assert b"[NAME_1]" in database


def test_a_trace_starts_no_thread_and_sets_nothing_global(home: Path) -> None:
    """A task may fork after it, and Airflow's own traces go elsewhere."""
    experiment = rest().post("/experiments/create", name="agents/threads")["experiment_id"]
    url = settings().mlflow_tracking_uri
    assert url
    before, provider = set(threading.enumerate()), get_tracer_provider()
    tracer = Tracer(url, credentials(home, "service"), experiment, {"flow": "care"}, "manual__8")
    odd = {"numbers": [1, 2.5, float("nan"), None, True], "text": "ü"}
    tracer.case(Span("scribe", "AGENT", now(), 0, odd, None), [Span("draft", "LLM", now(), now(), "?", odd)], {})
    assert (tracer.written, tracer.lost, tracer.problem) == (1, 0, "")
    assert set(threading.enumerate()) <= before
    assert get_tracer_provider() is provider


def test_a_text_is_registered_once(home: Path) -> None:
    experiment = rest().post("/experiments/create", name="agents/other")["experiment_id"]
    name = prompt_name("other")
    assert [register(rest(), name, text, experiment) for text in ("one", "two", "one", "two")] == [1, 2, 1, 2]
    found = rest().get("/registered-models/get", name=name)["registered_model"]
    assert {tag["key"] for tag in found["tags"]} >= {"mlflow.prompt.is_prompt"}


def test_a_server_that_is_lost_stops_no_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baton.agents.records.Rest", lambda url, user, patience: Rest(url, user, 0.2))
    monkeypatch.setenv("BATON_MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    settings.cache_clear()
    facts = advise(Scripted(*[{"text": "Dear."}, {"ok": True}] * 2), "2026-11-21T00:00:00", ["Ann", "Bo"]).facts
    assert (facts["accepted"], facts["traced"], facts["prompt_versions"]) == (2, 0, {})
    assert facts["degraded"][0].startswith("agent scribe: nothing is traced and no prompt registered: MLflow")


def test_a_server_that_is_lost_midway_is_not_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from baton.agents import records

    opened = records.open_records

    def broken(*arguments: Any) -> Any:
        found = opened(*arguments)
        found.tracer = Tracer("http://127.0.0.1:1", credentials(settings().home, "service"), "0", {}, "lost")
        return found

    monkeypatch.setattr("baton.steps.advise.open_records", broken)
    facts = advise(Scripted(*[{"text": "Dear."}, {"ok": True}] * 2), "2026-11-22T00:00:00", ["Ann", "Bo"]).facts
    assert (facts["accepted"], facts["traced"]) == (2, 0)
    assert facts["degraded"] == ["agent scribe: 2 cases are not traced: MLflow cannot be reached (ConnectError)"]


def test_who_has_no_critic_registers_one_prompt(home: Path) -> None:
    from baton.agents.records import open_records

    job = StageJob("customer_experience", "care", "advise", "p", "x:y")
    assert open_records(replace(SPEC, critic=None), job, 1, {}).prompts == {"agent.scribe": 1}


def test_an_erased_case_leaves_no_trace(home: Path) -> None:
    from baton.retention.person import erase

    model = Scripted(*[{"text": "Dear [NAME_1]."}, {"ok": True}] * 2)
    result = advise(model, "2026-11-23T00:00:00", ["Ann", "Bo"])
    about = [one for one in every_trace() if one["tags"]["entity"] == "k0"]
    assert len(about) == erase(["k0"], "care", "asked", "ada").rows["traces in MLflow"] > 0
    done = erase(["k0"], "care", "asked", "ada", dry_run=False)
    assert (done.rows["traces in MLflow"], done.left) == (len(about), [])
    assert {one["tags"]["entity"] for one in every_trace()} == {"k1"}
    assert result.facts["traced"] == 2


def every_trace() -> list[dict[str, Any]]:
    experiment = rest().get("/experiments/get-by-name", experiment_name="agents/scribe")["experiment"]["experiment_id"]
    where = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}]
    return list(rest().call("POST", "/api/3.0/mlflow/traces/search", locations=where, max_results=100)["traces"])
