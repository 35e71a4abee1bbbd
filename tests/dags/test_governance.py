"""What every shipped DAG must have: owner, docs, tags of the closed set, retries, timeouts, pools, deadlines, valid forms."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator

from baton.airflow.flows import Flow

TAGS = {"kind:flow", "kind:lifecycle", "kind:action", "impact:tier1", "impact:tier2"}
NAMESPACES = ("pack:", "model:")
POOLS = {"default_pool", "training", "scoring", "agents"}


def test_owner_docs_and_tags(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert dag.owner not in {"", "airflow"}, dag.dag_id
        assert len(dag.doc_md or "") > 150, dag.dag_id
        assert all(tag in TAGS or tag.startswith(NAMESPACES) for tag in dag.tags), (dag.dag_id, dag.tags)
        assert any(tag.startswith("kind:") for tag in dag.tags), dag.dag_id


def test_runs_are_bounded(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert dag.catchup is False, dag.dag_id
        assert dag.dagrun_timeout is not None, dag.dag_id
        longest = {"ReviewOperator": "response_timeout", "PermitsOperator": "longest"}
        waits = [getattr(task, longest[task.task_type]) for task in dag.tasks if task.task_type in longest]
        assert 1 <= dag.max_active_runs <= (100 if waits else 4), dag.dag_id
        assert all(wait < dag.dagrun_timeout for wait in waits), dag.dag_id
        if "kind:flow" in dag.tags:
            assert dag.deadline, dag.dag_id


def test_clear_can_read_the_deadline_of_a_run(dags: dict[str, Any]) -> None:
    """`/clear` moves the deadline by what is stored as the alert's interval, and takes it for seconds."""
    from airflow.serialization.decoders import decode_deadline_alert
    from airflow.serialization.encoders import encode_deadline_alert

    for dag in dags.values():
        for alert in dag.deadline or []:
            stored = json.loads(json.dumps(encode_deadline_alert(alert)))
            assert timedelta(seconds=stored["interval"]) >= timedelta(minutes=30), dag.dag_id
            assert decode_deadline_alert(stored).interval == timedelta(seconds=stored["interval"])


def test_monitors_judge_one_run_at_a_time(dags: dict[str, Any]) -> None:
    assert dags["card_fraud_monitor"].max_active_runs == 1


def test_tasks_retry_with_back_off_and_time_out(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        for task in dag.tasks:
            if task.task_type in ("ModelApprovalOperator", "ReviewOperator"):  # waits for a person, by its own clock
                assert task.response_timeout is not None
                continue
            if task.task_type == "PermitsOperator":  # the same, but it may be tried again: it only looks
                assert task.longest is not None
                assert task.execution_timeout is None
                continue
            assert task.retries >= 1, task
            assert task.retry_exponential_backoff, task
            assert task.execution_timeout is not None, task
            assert task.on_failure_callback, task
            assert task.pool in POOLS, task


def test_no_task_goes_before_others_because_its_flow_is_long(dags: dict[str, Any]) -> None:
    ranks = {
        (task.priority_weight, str(task.weight_rule).rpartition(".")[2]) for dag in dags.values() for task in dag.tasks
    }
    assert ranks == {(1, "absolute")}
    with Flow("urgent", pack="financial_crime", cron=None, owner="o", doc_md="", priority=7) as flow:
        EmptyOperator(task_id="one")
    assert flow.get_task("one").priority_weight == 7


def test_forms_have_valid_defaults(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        dag.params.validate()
    form = dags["transaction_monitoring"].params
    assert set(form) == {"partition_from", "partition_to", "model", "dry_run"}


def test_flow_has_six_stages_two_tasks_that_share_some_and_one_monitor_task(dags: dict[str, Any]) -> None:
    flow = dags["transaction_monitoring"]
    assert sorted(flow.task_ids) == [
        "contract", "decide", "ingest", "judge_parts", "publish", "read_pieces", "score__card_fraud", "score__transaction_anomaly",
    ]  # fmt: skip
    assert len(dags["card_fraud_monitor"].tasks) == 1
    scores = {flow.get_task("score__card_fraud"), flow.get_task("score__transaction_anomaly")}
    assert all(task.upstream_task_ids == {"contract"} for task in scores)


def test_the_answer_is_looked_for_with_what_people_confirmed(dags: dict[str, Any]) -> None:
    from baton_packs.customer_experience.service.retrieval import EXAMPLES

    flow = dags["customer_experience"]
    assert sorted(flow.task_ids) == [
        "compose", "confirmed__message_intent", "contract", "decide", "draft", "ingest", "publish", "replies", "reply",
        "retrieve", "score__message_intent", "score__message_sentiment", "send",
    ]  # fmt: skip
    assert flow.get_task("retrieve").upstream_task_ids == {
        "contract", "score__message_intent", "confirmed__message_intent",
    }  # fmt: skip
    assert set(flow.get_task("retrieve").inputs) == {"messages", "intents", "history"}
    assert flow.get_task("confirmed__message_intent").options["each"] == EXAMPLES
