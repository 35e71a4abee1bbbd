"""Every stage of every DAG has the options that its step declares; nothing is left to be found out in a run."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.definitions.xcom_arg import XComArg

from baton import progress
from baton.actions import changes
from baton.airflow.flows import Flow
from baton.airflow.lifecycle import build
from baton.airflow.operators import stage
from baton.airflow.operators.permits import PermitsOperator
from baton.airflow.operators.stage import StageOperator
from baton.data.datasets import DatasetRef
from baton.errors import BatonError, NotAgreed, SpecError
from baton.packs.pack import load_pack
from baton.specs.forecast import ForecastSpec
from baton.stages.job import StageJob
from baton.stages.slots import Slot, StageOutput, run_stage
from baton.stages.step import Keywords, Step, resolve, with_options


def given(task: Any) -> list[dict[str, Any]]:
    """The options of a task, or those of each task that it is mapped to."""
    if not isinstance(task, MappedOperator):
        return [task.options]
    return list(task.expand_input.value.get("options") or [task.partial_kwargs["options"] or {}])


def stages(dag: DAG) -> list[Any]:
    return [task for task in dag.tasks if isinstance(task, StageOperator) or task.task_type == "StageOperator"]


def test_options_fit_what_the_steps_declare(dags: dict[str, DAG]) -> None:
    checked = 0
    for dag_id, dag in dags.items():
        for task in stages(dag):
            step = task.partial_kwargs["step"] if isinstance(task, MappedOperator) else task.step
            found = resolve(step)
            kind = found.options if isinstance(found, Step) else Keywords
            for options in given(task):
                plain = {name: None if isinstance(value, XComArg) else value for name, value in options.items()}
                with_options(StageJob("p", dag_id, task.task_id, "x", step, options=plain), kind)
                checked += 1
    assert checked > 100


def test_every_input_of_a_shipped_stage_is_the_result_of_a_stage(dags: dict[str, DAG]) -> None:
    """Anything else fails the run; what only comes before stands in no input."""
    checked = 0
    for dag in dags.values():
        for task in stages(dag):
            inputs = task.partial_kwargs["inputs"] if isinstance(task, MappedOperator) else task.inputs
            for name, value in inputs.items():
                if value is None:
                    continue
                made = value.operator
                if isinstance(made, PermitsOperator):  # it gives back the result of the stage before it
                    made = made.after.operator
                kind = made.operator_class if isinstance(made, MappedOperator) else type(made)
                # the wait for permits hands on the result of the stage before it
                assert issubclass(kind, StageOperator | PermitsOperator), (
                    f"{dag.dag_id}.{task.task_id}: input {name} is {made.task_id}"
                )
                checked += 1
    assert checked > 100


def test_a_misspelt_option_is_an_error_when_the_file_is_parsed() -> None:
    def flow() -> Flow:
        return Flow("misspelt", pack="supply_chain", cron=None, owner="tests", doc_md="")

    with (
        flow() as one,
        pytest.raises(SpecError, match=r"stage send, baton.steps.deliver:deliver: no option `conn`.*`conn_id`"),
    ):
        one.deliver("send", after=None, effect="mail", conn="outgoing")
    with pytest.raises(SpecError, match=r"no option `max_cals`.*`max_calls`"), flow() as one:
        one.advise("draft", "baton_packs.supply_chain.advice:INVENTORY", limits={"max_cals": 1})
    with pytest.raises(SpecError, match=r"no option `anwser`.*`answer`"), flow() as one:
        one.stage("order", "baton_packs.supply_chain.steps:place", {"anwser": {}})
    with pytest.raises(SpecError, match=r"no option `prts`.*`parts`"), flow() as one:
        one.mapped("simulate", "baton_packs.supply_chain.steps:simulate", [{"part": 0, "prts": 2}])


def test_the_first_stage_knows_the_models_that_a_later_one_has_a_fallback_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "laddered_rules.py").write_text(
        "def late(data, limit=3):\n    return data\n\n\ndef odd(orders):\n    return orders\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with Flow("laddered", pack="financial_crime", cron=None, owner="tests", doc_md="", models=["a", "b"]) as one:
        first = one.ingest("transactions")
        rows = one.contract(first, "transactions")
        with pytest.raises(SpecError, match="no frame or parameter `data`"):
            one.score(rows, "b", fallback="laddered_rules:odd")
        one.score(rows, "a", fallback="laddered_rules:late")
        one.score(rows, "b")
    assert (first.operator.uses_models, list(first.operator.fallbacks)) == (["a", "b"], ["a"])
    assert list(rows.operator.fallbacks) == []


def test_a_cluster_works_on_stages_whose_rows_depend_on_no_others() -> None:
    decide = "baton_packs.financial_crime.steps:combine"
    with Flow("clustered", pack="financial_crime", cron=None, owner="tests", doc_md="", models=["card_fraud"]) as one:
        rows = one.ingest("transactions")
        scores = one.score(rows, "card_fraud", engine="spark", conn_id="ours")
        frames = {"transactions": rows, "card_fraud": scores, "transaction_anomaly": scores}
        decided = one.stage("decide", decide, {"engine": "spark"}, **frames)
        with pytest.raises(
            SpecError, match=r"stage score__transaction_anomaly: no engine `sprak`.*There are local, spark"
        ):
            one.score(rows, "transaction_anomaly", engine="sprak")
        with pytest.raises(SpecError, match="engine: spark needs a function that is marked `@row_local`"):
            one.stage("open", "baton_packs.supply_chain.steps:open_orders", {"engine": "spark"}, stock=rows)
    with (
        Flow("forecasting", pack="supply_chain", cron=None, owner="tests", doc_md="", models=["demand"]) as one,
        pytest.raises(
            SpecError, match=r"demand is no model of a family whose rows are scored alone \(anomaly, classification"
        ),
    ):
        one.score(one.ingest("sales"), "demand", engine="spark")
    assert scores.operator.options == {"model": "card_fraud", "engine": "spark", "conn_id": "ours"}
    assert decided.operator.options == {"engine": "spark"}


def test_a_look_up_is_a_stage_with_the_options_of_its_step() -> None:
    with Flow("asking", pack="financial_crime", cron=None, owner="tests", doc_md="") as one:
        found = one.look_up("places", "postcodes", one.ingest("transactions"), "postcode", lists=True)
    task = found.operator
    assert (task.step, task.options) == (
        "baton.steps.look_up:look_up",
        {"tool": "postcodes", "column": "postcode", "lists": True},
    )
    assert sorted(task.upstream_task_ids) == ["ingest"]


def test_what_concerns_the_task_is_no_input(dags: dict[str, DAG]) -> None:
    with Flow("told", pack="supply_chain", cron=None, owner="tests", doc_md="") as one:
        first = one.stage(
            "first", "baton_packs.supply_chain.steps:propose", uses_models=["demand"], output_contract="x"
        )
        parts = one.mapped(
            "parts", "baton_packs.supply_chain.steps:simulate", [{"part": 0, "parts": 1}], output_contract="y"
        )
    assert (first.operator.uses_models, first.operator.output_contract, first.operator.inputs) == (["demand"], "x", {})
    assert parts.operator.partial_kwargs["output_contract"] == "y"
    said = r"stage first: input `part` is 1, no result of a stage; is it an option\?"
    with (
        Flow("wrong", pack="supply_chain", cron=None, owner="tests", doc_md="") as one,
        pytest.raises(SpecError, match=said),
    ):
        one.stage("first", "baton_packs.supply_chain.steps:propose", part=1)


def test_every_dag_survives_serialisation(dags: dict[str, DAG]) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    for dag_id, dag in dags.items():
        assert DagSerialization.from_dict(DagSerialization.to_dict(dag)).dag_id == dag_id


def test_a_scoring_dag_of_a_forecast_starts_from_the_history() -> None:
    pack = load_pack("supply_chain")
    document = pack.models["demand"].model_dump() | {
        "training": {**pack.models["demand"].training.model_dump(), "recent": {"flow": "demand_score"}},
        "scoring": {"source": "sales", "contract": "sales", "output": "forecasts"},
    }
    dag = build(pack, ForecastSpec.model_validate(document), only="demand_score")["demand_score"]
    assert {task.task_id: sorted(task.upstream_task_ids) for task in stages(dag)} == {
        "ingest": [], "contract": ["ingest"], "history": ["contract"], "score__demand": ["history"],
        "publish_truth": ["contract"], "publish": ["publish_truth", "score__demand"],
    }  # fmt: skip
    assert dag.max_active_runs == 1  # a partition starts from the one before


def test_a_long_stage_says_in_its_log_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    log = SimpleNamespace(info=lambda words, *values: said.append(words % values), warning=print)
    ref = SimpleNamespace(rows=2, to_dict=dict)

    def run(job: Any) -> Any:
        assert list(progress.told(["a", "b"], "scores", "rows")) == ["a", "b"]
        return SimpleNamespace(facts={}, ref=ref, cached=False, commit_id=1)

    monkeypatch.setattr("baton.stages.run.run", run)
    asked = SimpleNamespace(partition="p", files=(), since=None, until=None, dry_run=False, model="recorded")
    named = SimpleNamespace(asked=lambda context, earlier: asked, partitioned=True)
    monkeypatch.setattr(StageOperator, "log", log)
    monkeypatch.setattr(stage, "Pace", lambda say, after, every: progress.Pace(say, after - 10, every - 10))
    operator = StageOperator(task_id="s", step="a:b", pack="p", run_key=named, dag=DAG("d", schedule=None))
    operator.execute({"dag_run": SimpleNamespace(run_id="r"), "ti": SimpleNamespace(map_index=-1)})
    assert [line.partition(" (")[0] for line in said][:3] == [
        "scores: 0 of 2 rows",
        "scores: 1 of 2 rows",
        "scores: 2 of 2 rows",
    ]


def test_stages_whose_rows_depend_on_no_others_are_shared_by_tasks(dags: dict[str, DAG]) -> None:
    shared = {
        f"{dag_id}.{task.task_id}": task.expand_input.value["group"].operator.task_id
        for dag_id, dag in dags.items() for task in stages(dag)
        if isinstance(task, MappedOperator) and "group" in task.expand_input.value
    }  # fmt: skip
    assert shared["transaction_monitoring.score__card_fraud"] == "contract"
    assert shared["transaction_monitoring.decide"] == "contract"
    assert shared["customer_experience.score__message_intent"] == "contract"
    assert shared["incident_response.score__network_intrusion"] == "once"
    assert shared["incident_response.score__log_anomaly"] == "count_logs"
    assert not [name for name in shared if name.startswith("replenishment")]
    pools = {dag.get_task(name.partition(".")[2]).pool for name in shared for dag in [dags[name.partition(".")[0]]]}
    assert pools == {"scoring"}


def test_what_is_mapped_over_options_is_not_shared_again() -> None:
    with Flow("twice", pack="financial_crime", cron=None, owner="tests", doc_md="") as one:
        rows = one.ingest("transactions")
        simulate = "baton_packs.supply_chain.steps:simulate"
        inputs = {"proposals": rows, "forecast": rows, "stock": rows}
        parts = one.mapped("parts", simulate, [{"part": 0, "parts": 1}], **inputs)
        alone = one.score(parts, "card_fraud")
        shared = one.score(rows, "transaction_anomaly")
        combine = "baton_packs.financial_crime.steps:combine"
        again = one.stage("again", combine, transactions=shared, card_fraud=alone, transaction_anomaly=shared)
        never = one.stage("never", combine, transactions=shared, card_fraud=parts, transaction_anomaly=shared)
    assert [one.operator.is_mapped for one in (alone, shared, again, never)] == [False, True, True, False]
    assert again.operator.expand_input.value["group"].operator.task_id == "score__card_fraud"


def test_a_contract_has_the_parts_of_a_large_batch_judged_before_it() -> None:
    with Flow("large", pack="financial_crime", cron=None, owner="tests", doc_md="") as one:
        rows = one.ingest("transactions")
        good = one.contract(rows, "transactions", shared=True)
        with pytest.raises(SpecError, match="stage contract, shared: its batch must be what one task made"):
            one.contract(one.get_task("judge_parts").output, "transactions", shared=True)
    judging = one.get_task("judge_parts")
    assert judging.expand_input.value["group"].operator.task_id == "ingest"
    assert judging.partial_kwargs["slot_of"] == good.operator.task_id == "contract"
    assert good.operator.upstream_task_ids == {"ingest", "judge_parts"}
    assert good.operator.trigger_rule == "none_failed_min_one_success"


def test_a_large_file_is_read_by_tasks_that_everything_waits_for() -> None:
    with Flow("large", pack="financial_crime", cron=None, owner="tests", doc_md="") as one:
        rows = one.ingest("transactions", shared=True)
        one.contract(rows, "transactions", shared=True)
        one.ingest("labels", also=rows)
    reading = one.get_task("read_pieces")
    assert reading.expand_input.value["group"].operator.task_id == reading.partial_kwargs["slot_of"] == "ingest"
    for task_id in ("judge_parts", "contract", "ingest__labels"):
        task = one.get_task(task_id)
        assert {"ingest", "read_pieces"} <= task.upstream_task_ids
        assert task.trigger_rule == "none_failed_min_one_success", "it is skipped where one task reads all"
    with Flow("small", pack="financial_crime", cron=None, owner="tests", doc_md="") as one:
        behind = one.contract(one.ingest("transactions", shared=True), "transactions").operator
    assert (behind.upstream_task_ids, behind.trigger_rule) == ({"ingest", "read_pieces"}, "none_failed_min_one_success")


def test_nothing_takes_the_rows_of_a_large_file_before_they_are_read() -> None:
    with Flow("large", pack="financial_crime", cron=None, owner="tests", doc_md="") as one:
        rows = one.ingest("transactions", shared=True)
        found = one.look_up("places", "postcodes", rows, "postcode").operator
        assert {"ingest", "read_pieces"} <= found.upstream_task_ids
        assert (found.trigger_rule, found.needs_all) == ("none_failed_min_one_success", True)
        for take in (lambda: one.branch("way", rows, {}), lambda: one.review(rows), lambda: one.permits("wait", rows)):
            with pytest.raises(SpecError, match="which tasks read; put its contract between"):
                take()


def test_what_was_announced_is_what_was_made_by_now(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(rows: int, **facts: Any) -> Any:
        ref = DatasetRef(f"u{rows}", rows, "", "", "p")
        return SimpleNamespace(
            ref=ref, facts={"source": "orders", "source_sha256": "a", "uri": "else"} | facts, commit_id=1
        )

    slot = {"flow": "f", "stage": "ingest"}
    announced = [
        {"announced": slot, "facts": {"source": "orders", "source_sha256": "a", "uri": "here", "rows_in": 9}, "models": {}, "partition": "p",
         "group": {"number": number, "edges": [0, 5, 9]}} for number in (0, 1)
    ]  # fmt: skip
    monkeypatch.setattr("baton.stages.slots.head", lambda _: made(8))
    monkeypatch.setattr("baton.stages.slots.heads_of_groups", lambda _, many: [made(5), made(3)][:many])
    found = stage.whole_result(announced)
    assert (found["ref"]["uri"], found["group"]["edges"]) == ("u8", [0, 5, 8]), (
        "a row of a person who was erased is gone"
    )
    monkeypatch.setattr("baton.stages.slots.head", lambda _: made(9, source_sha256="b"))
    with pytest.raises(BatonError, match="has the result of another delivery: clear the task ingest"):
        stage.whole_result(announced)
    monkeypatch.setattr("baton.stages.slots.head", lambda _: None)
    with pytest.raises(BatonError, match="has no result"):
        stage.whole_result(announced)


def test_what_tasks_share_is_one_result_again() -> None:
    whole = {"ref": {"uri": "a"}, "facts": {}, "models": {}, "partition": "p"}
    parts = [{**whole, "group": {"number": number, "edges": [0, 5, 9]}} for number in (0, 1)]
    assert stage.whole_result(parts)["ref"] == whole["ref"]
    assert stage.whole_result(None) is None
    options = [{**whole, "ref": {"uri": uri}} for uri in "ab"]
    assert stage.whole_result([*options, None]) == options
    made = [
        {**one, "group": {**one["group"], "flow": "f", "stage": "score", "pack": "", "contract": ""}} for one in parts
    ]
    of_before = {**made[1], "group": {**made[1]["group"], "edges": [0, 3, 9]}}
    with pytest.raises(BatonError, match="stage score: 1 of the tasks that share its rows have no result"):
        stage.whole_result([made[0], of_before])


def test_what_tasks_share_is_judged_by_the_contract_that_people_agreed_to(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task that takes the results judges them together, in another process than those that made them, and later."""
    shop = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "step_stage.py"))
    with shop["warehouse_and_pack"](home, monkeypatch) as pack:
        hour, frame = shop["HOURS"][0], pd.DataFrame({"order_id": [1], "amount": [10.0]})
        made = []
        for number in (0, 1):
            output = StageOutput(frame.assign(order_id=number))
            ref = run_stage(Slot("shop_flow", "score", hour, number), lambda inputs, output=output: output, inputs={},
                            params={"n": number}, models={}, code="test", run_id="test").ref  # fmt: skip
            group = {
                "number": number,
                "edges": [0, 1, 2],
                "flow": "shop_flow",
                "stage": "score",
                "pack": "shop",
                "contract": "orders",
            }
            made.append(
                {
                    "ref": ref.to_dict(),
                    "facts": {},
                    "models": {},
                    "partition": hour,
                    "commit": 1,
                    "cached": False,
                    "group": group,
                }
            )
        changes.require([("shop", "contract", "orders")], "test")
        path = pack / "contracts" / "orders.yaml"
        text = path.read_text()
        path.write_text(text.replace("min_value: 0", "min_value: -9"))
        with pytest.raises(NotAgreed, match=r"stage shop_flow.score uses .*request 1 about it is open"):
            stage.whole_result(made)
        path.write_text(text)
        assert stage.whole_result(made)["ref"]["rows"] == 2
