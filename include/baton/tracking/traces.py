"""Calls in MLflow: one trace a case, a span for each draft, judgement and tool call, all of it masked.

Spans go to the server's OTLP address, one request a case, in the server's own attributes, so that tokens, cost and session
show in its pages. OpenTelemetry makes and encodes them; its exporter would try a lost server for seconds and not say why,
MLflow's client would cost a task two seconds and 200 MB. So nothing is global and no thread is started that a fork would
lose. A trace that cannot be written is counted and never stops a run.
"""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode

from baton.errors import BatonError
from baton.settings import LOOPBACK
from baton.tracking.rest import Credentials, Rest

_SECONDS = 5.0  # a server that is slower than this is not worth waiting for


@dataclass(frozen=True)
class Span:
    """One call; times in nanoseconds since 1970.

    Attributes:
        kind: MLflow's type: AGENT, LLM or TOOL.
        inputs, outputs: JSON, masked.
        attributes: more of it; `mlflow.*` have a meaning on the server.
        failed: why there is no output; empty if there is one.
    """

    name: str
    kind: str
    started: int
    ended: int
    inputs: Any
    outputs: Any
    attributes: Mapping[str, Any] = field(default_factory=dict)
    failed: str = ""


def llm_attributes(model: str, input_tokens: int, output_tokens: int, prices: Mapping[str, float]) -> dict[str, Any]:
    """Attributes of a model's call.

    Args:
        prices: dollars for a million tokens, `input` and `output`; empty if they are not known.
    """
    total = input_tokens + output_tokens
    tokens = {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": total}
    found: dict[str, Any] = {"mlflow.llm.model": model, "mlflow.chat.tokenUsage": tokens}
    if prices:
        paid = cost(input_tokens, output_tokens, prices)
        found["mlflow.llm.cost"] = {"input_cost": paid[0], "output_cost": paid[1], "total_cost": sum(paid)}
    return found


def cost(input_tokens: int, output_tokens: int, prices: Mapping[str, float]) -> tuple[float, float]:
    """Dollars for what went in and what came out."""
    return input_tokens * prices.get("input", 0.0) / 1e6, output_tokens * prices.get("output", 0.0) / 1e6


class Tracer:
    """Writes traces of one run into one experiment, until the server fails once."""

    def __init__(self, url: str, user: Credentials, experiment_id: str, tags: Mapping[str, str], session: str) -> None:
        """Writes nothing yet.

        Args:
            tags: of every trace of the run.
            session: what groups them: the DAG run.
        """
        headers = {"x-mlflow-experiment-id": experiment_id, "content-type": "application/x-protobuf"}
        far, auth = urlsplit(url).hostname != LOOPBACK, (user.username, user.password)
        self._client = httpx.Client(base_url=url, auth=auth, timeout=_SECONDS, headers=headers, trust_env=far)
        self._tags, self._session = dict(tags), session
        self.written, self.lost, self.problem = 0, 0, ""

    def case(self, root: Span, parts: Sequence[Span], tags: Mapping[str, str]) -> None:
        """Write the trace of one case; failing is counted in `lost`, the first reason is `problem`."""
        if self.problem:
            self.lost += 1
            return
        try:
            answer = self._client.post("/v1/traces", content=self._body(root, parts, tags))
            if answer.is_success:
                self.written += 1
                return
            self.problem = f"MLflow answered {answer.status_code}"
        except httpx.HTTPError as error:
            self.problem = f"MLflow cannot be reached ({type(error).__name__})"
        self.lost += 1

    def _body(self, root: Span, parts: Sequence[Span], tags: Mapping[str, str]) -> bytes:
        extra = {f"mlflow.traceTag.{name}": value for name, value in {**self._tags, **tags}.items()}
        extra["session.id"] = self._session
        top = _recorded(root, secrets.randbits(128), None, extra)
        below = [_recorded(part, top.context.trace_id, top.context, {}) for part in parts]
        return encode_spans([top, *below]).SerializeToString()


def forget(rest: Rest, experiments: str, tags: Mapping[str, str], dry_run: bool) -> int:
    """Delete the traces that have all of `tags`, in experiments whose names begin so; return how many there are, or were.

    Raises:
        BatonError: a tag's value has both kinds of quotes, or the server refuses.
    """
    if odd := [value for value in tags.values() if "'" in value and '"' in value]:
        raise BatonError(f"MLflow cannot look for {odd[0]!r}: it has both kinds of quotes")
    asked = " AND ".join(f"tags.{name} = {value!r}" for name, value in tags.items())
    found = rest.post("/experiments/search", filter=f"name LIKE '{experiments}%'", max_results=1000)
    count = 0
    for experiment in [one["experiment_id"] for one in found.get("experiments", [])]:
        where = {"locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}]}
        page: dict[str, Any] = {}
        while True:
            answer = rest.call("POST", "/api/3.0/mlflow/traces/search", **where, **page, filter=asked, max_results=100)
            ids = [one["trace_id"] for one in answer.get("traces", [])]
            count += len(ids)
            if ids and not dry_run:
                rest.post("/traces/delete-traces", experiment_id=experiment, request_ids=ids)
            elif answer.get("next_page_token"):
                page = {"page_token": answer["next_page_token"]}
            else:
                break
    return count


def _recorded(span: Span, trace: int, parent: SpanContext | None, extra: Mapping[str, Any]) -> ReadableSpan:
    own = {"mlflow.spanType": span.kind, "mlflow.spanInputs": span.inputs, "mlflow.spanOutputs": span.outputs}
    attributes = {**own, **span.attributes, **extra}
    return ReadableSpan(
        span.name,
        SpanContext(trace, secrets.randbits(64), is_remote=False),  # not from `random`, which stages seed
        parent,
        resource=Resource({}),
        attributes={key: value for key, value in attributes.items() if value is not None},
        status=Status(StatusCode.ERROR, span.failed) if span.failed else Status(StatusCode.OK),
        start_time=span.started,
        end_time=max(span.ended, span.started),
        instrumentation_scope=InstrumentationScope("baton.agents"),
    )


def linked(prompts: Mapping[str, int]) -> str:
    """The tag by which MLflow links a trace to versions of prompts."""
    return json.dumps([{"name": name, "version": str(version)} for name, version in prompts.items()])


def now() -> int:
    """Nanoseconds since 1970."""
    return time.time_ns()
