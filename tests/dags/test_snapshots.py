"""A snapshot of every shipped DAG: a pull request that changes tasks, edges, options, schedules or pools shows what it changes.

`pytest tests/dags/test_snapshots.py --renew-snapshots` writes the snapshots anew; commit what it writes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.definitions.asset import BaseAsset
from airflow.sdk.definitions.xcom_arg import XComArg

from baton.airflow.operators.runs import OfFlow, OfPromotion, OfTraining

SNAPSHOTS = Path(__file__).with_name("snapshots")
RENEW = "pytest tests/dags/test_snapshots.py --renew-snapshots"
OF_REQUESTS = ("subject", "body", "response_timeout")  # what Airflow's own class of our two waiting operators takes


def test_every_dag_is_as_its_snapshot_says(dags: dict[str, Any], request: pytest.FixtureRequest) -> None:
    drawn = {f"{dag_id}.yaml": _text(snapshot(dag)) for dag_id, dag in dags.items()}
    if request.config.getoption("--renew-snapshots"):
        SNAPSHOTS.mkdir(exist_ok=True)
        for path in SNAPSHOTS.glob("*.yaml"):
            path.unlink()
        for name, text in drawn.items():
            (SNAPSHOTS / name).write_text(text, encoding="utf-8")
    kept = {path.name: path.read_text(encoding="utf-8") for path in sorted(SNAPSHOTS.glob("*.yaml"))}
    assert sorted(drawn) == sorted(kept), f"a DAG came or went; `{RENEW}` renews the snapshots"
    for name, text in drawn.items():
        assert text.splitlines() == kept[name].splitlines(), f"{name} has changed; `{RENEW}` renews it"


def test_a_snapshot_shows_what_a_reviewer_looks_for(dags: dict[str, Any]) -> None:
    flow = snapshot(dags["replenishment"])
    assert flow["schedule"]["expression"] == "0 0 * * 1"
    assert flow["tasks"]["advise"]["pool"] == "agents"
    assert flow["tasks"]["order_reviewed"]["after"] == ["order", "publish", "review"]
    assert [one["part"] for one in flow["tasks"]["simulate"]["options"]] == [0, 1]
    assert flow["tasks"]["review"]["field"] == "quantity"
    assert flow["tasks"]["history"]["inputs"] == {"data": "contract", "plan": "contract__plan"}


def snapshot(dag: Any) -> dict[str, Any]:
    """A DAG as plain values: what starts and bounds it, its form, and its tasks by id."""
    return {
        "schedule": {"kind": type(dag.schedule).__name__, **_schedule(dag.timetable)},
        "max_active_runs": dag.max_active_runs,
        "run_timeout": str(dag.dagrun_timeout),
        "deadline": [str(alert.name) for alert in dag.deadline or []],
        "owner": dag.owner,
        "tags": sorted(dag.tags),
        "params": {name: _param(dag.params, name) for name in dag.params},
        "tasks": {task.task_id: _task(task) for task in dag.tasks},
    }


def _schedule(timetable: Any) -> dict[str, Any]:
    kind = type(timetable)  # one without a clock has no fields
    fields = {name: getattr(timetable, name) for name in (attrs.fields_dict(kind) if attrs.has(kind) else ())}
    return {name: _plain(value) for name, value in fields.items() if name != "default_partition_mapper"}


def _param(params: Any, name: str) -> dict[str, Any]:
    found = params.get_param(name)
    return {"default": found.value, **{key: found.schema[key] for key in sorted(found.schema)}}


def _task(task: Any) -> dict[str, Any]:
    made = task.operator_class if task.is_mapped else type(task)
    given = {**task.partial_kwargs, **task.expand_input.value} if task.is_mapped else vars(task)
    own = [name for kind in made.__mro__ if kind.__module__.startswith("baton.") for name in _arguments(kind)]
    own = [name for name in own if name not in ("group", "slot_of") or task.is_mapped]
    return {
        "operator": made.__name__,
        "after": sorted(task.upstream_task_ids),
        **{name: _plain(given[name]) for name in (*dict.fromkeys(own), *OF_REQUESTS) if name in given},
        "mapped": bool(task.is_mapped),
        "pool": task.pool,
        "queue": task.queue,
        "trigger_rule": str(task.trigger_rule.value),
        "retries": task.retries,
        "timeout": str(task.execution_timeout),
        "outlets": [_plain(outlet) for outlet in task.outlets],
    }


def _arguments(kind: type) -> list[str]:
    return [name for name, one in inspect.signature(kind).parameters.items() if one.kind is one.KEYWORD_ONLY]


def _plain(value: Any) -> Any:
    """JSON values as they are; a result by its task, an asset by its name."""
    if isinstance(value, XComArg):
        return ", ".join(sorted(operator.task_id for operator, _ in value.iter_references()))
    if isinstance(value, Asset | AssetAlias):
        return value.name
    if isinstance(value, BaseAsset):
        return {type(value).__name__: [_plain(one) for one in value.objects]}  # type: ignore[attr-defined]
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, timedelta | OfFlow | OfTraining | OfPromotion):
        return str(value)
    assert isinstance(value, str | int | float | bool | None), f"say how {type(value)} is to be shown: {value!r}"
    return value


def _text(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=120)
