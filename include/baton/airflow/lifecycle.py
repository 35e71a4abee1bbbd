"""The lifecycle DAGs of a model, built from its spec: train, promote, monitor and, where asked for, score.

They are the same for every family. Assets connect them: a registered challenger wakes promotion, a published
batch or late labels wake the monitor; the monitor starts training when the drift policy says so.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, CronTriggerTimetable, Param, PartitionedAssetTimetable

from baton import names
from baton.airflow import flows
from baton.airflow.operators import assets
from baton.airflow.operators.approval import ModelApprovalOperator
from baton.airflow.operators.monitor import MonitorOperator
from baton.airflow.operators.runs import KEY_PATTERN, OfPromotion, OfTraining
from baton.airflow.operators.stage import StageOperator
from baton.packs.pack import Pack
from baton.settings import settings
from baton.specs.model import ModelSpec


def build(pack: Pack, spec: ModelSpec, only: str | None = None) -> dict[str, DAG]:
    """Build the DAGs of one model by DAG id; with `only`, just the one that is asked for (inside a task)."""
    builders = {names.train_of(spec.model): train, names.promote_of(spec.model): promote}
    if spec.drift is not None:
        builders[names.monitor_of(spec.model)] = monitor
    if spec.scoring is not None:
        builders[names.scoring_of(spec.model)] = score
    return {dag_id: builder(pack, spec) for dag_id, builder in builders.items() if only in (None, dag_id)}


def _dag(pack: Pack, spec: ModelSpec, dag_id: str, doc: str, **kwargs: Any) -> DAG:
    kwargs.setdefault("max_active_runs", 1)
    return DAG(  # noqa: AIR002 - every caller gives its schedule
        dag_id, start_date=flows.START, catchup=False, default_args=flows.default_args(spec.owner),
        doc_md=f"**{spec.description.strip()}**\n\n{doc}",
        tags=["kind:lifecycle", f"pack:{pack.name}", f"model:{spec.model}"], **kwargs,
    )  # fmt: skip


def train(pack: Pack, spec: ModelSpec) -> DAG:
    """Assemble, check, try the candidates side by side, register the best as challenger."""
    cron = spec.schedules.train if settings().schedules else None
    clock = CronTriggerTimetable(cron, timezone="UTC") if cron else None
    dag = _dag(
        pack, spec, names.train_of(spec.model),
        "Trains on what is labelled by now. Started by the clock, by the monitor on drift, or by hand. The best candidate "
        "is registered with signature, card and signed manifest; the alias `challenger` points at it.",
        schedule=clock, dagrun_timeout=timedelta(hours=6),
        params={"since": Param(
            None, type=["null", "string"], pattern=KEY_PATTERN, title="Judge on partitions from",
            description_md="First partition (UTC) of the regime to be judged on; empty: all. The monitor fills it in.",
        ), "until": Param(
            None, type=["null", "string"], pattern=KEY_PATTERN, title="Know nothing after",
            description_md="Last partition (UTC) that the training may know; empty: all. To repeat a past training.",
        )},
    )  # fmt: skip

    run_key, model = OfTraining(spec.model), {"model": spec.model}

    def stage(task_id: str, step: str, options: dict[str, Any], outlets: Sequence[Asset] = (), **inputs: Any) -> Any:
        return StageOperator(
            task_id=task_id, step=step, pack=pack.name, run_key=run_key, dag=dag, pool="training", queue="training", inputs=inputs,
            options=options, execution_timeout=timedelta(hours=2), outlets=outlets,
        ).output  # fmt: skip

    data = stage(names.ASSEMBLE, "baton.lifecycle.assemble:assemble", model)
    good = stage(names.CONTRACT, "baton.steps.contract:contract", {"contract": spec.training.contract}, data=data)
    needy = {one.name for one in spec.candidates if spec.needs_prepared(one)}
    prepared = {"prepared": stage(names.PREPARE, "baton.lifecycle.fit:prepare", model, data=good)} if needy else {}
    tried = {
        one.name: stage(
            names.candidate_of(one.name), "baton.lifecycle.fit:candidate", {**model, "candidate": one.name}, data=good,
            **(prepared if one.name in needy else {}),
        )
        for one in spec.candidates if one.estimator is not None
    }  # fmt: skip
    challenger = [assets.challenger(spec.model)]
    stage(names.REGISTER, "baton.lifecycle.fit:register", model, challenger, data=good, **prepared, **tried)
    return dag


def promote(pack: Pack, spec: ModelSpec) -> DAG:
    """Judge challenger against champion, ask a person, move the alias."""
    dag = _dag(
        pack, spec, names.promote_of(spec.model),
        "Judges the challenger on rows that neither version trained on: PROMOTE, HOLD or MORE_DATA, with reasons. "
        "Only a PROMOTE is put to people (here under *Required Actions*, on Baton's page Actions, or by the tag `baton.review` "
        "in MLflow); whoever started it, or the training, is none of those who agree; "
        "only this DAG moves the alias `champion`.",
        schedule=assets.challenger(spec.model), dagrun_timeout=spec.approval.timeout + timedelta(hours=1),
        params={"version": Param(0, type="integer", minimum=0, title="Version", description_md=(
            "Version to judge; 0: the one that `challenger` points at."))},
    )  # fmt: skip
    model = {"model": spec.model}
    shared: dict[str, Any] = {"pack": pack.name, "run_key": OfPromotion(spec.model), "options": model, "dag": dag}
    verdict = StageOperator(task_id=names.JUDGE, step="baton.lifecycle.promote:judge", **shared).output
    approval = ModelApprovalOperator(
        task_id=names.APPROVE, dag=dag, model=spec.model, mode=spec.approval.mode, verdict=verdict,
        subject=f"Make the challenger the champion of {spec.model}?",
        body=f"{{{{ ti.xcom_pull(task_ids='{names.JUDGE}')['facts']['summary'] }}}}",
        response_timeout=spec.approval.timeout, execution_timeout=None, retries=0,
    )  # fmt: skip
    move = StageOperator(
        task_id=names.MOVE_CHAMPION, step="baton.lifecycle.promote:move_champion",
        inputs={"verdict": verdict}, outlets=[assets.champion(spec.model)], **shared,
    )  # fmt: skip
    approval >> move  # the answer is read from its record
    return dag


def monitor(pack: Pack, spec: ModelSpec) -> DAG:
    """Judge every published partition once, in order, and decide whether to retrain."""
    assert spec.drift is not None
    watched = spec.training.recent.flow if spec.training.recent else names.scoring_of(spec.model)
    dag = _dag(
        pack, spec, names.monitor_of(spec.model),
        "Woken by published partitions and by late labels. Judges each window in order of its partition: which "
        "features drifted and by how much, how the champion does on labelled rows; emits the drift event that "
        "wakes training only when the policy says so.",
        schedule=PartitionedAssetTimetable(assets=assets.published(watched) | assets.labelled(watched)),
        dagrun_timeout=timedelta(hours=1),
    )  # fmt: skip
    MonitorOperator(task_id=names.JUDGE_WINDOWS, model=spec.model, watched=watched, dag=dag)
    return dag


def score(pack: Pack, spec: ModelSpec) -> DAG:
    """A scoring DAG of the model's own, for models that no flow uses."""
    assert spec.scoring is not None
    scoring = spec.scoring
    source = pack.sources[scoring.source]
    flow = flows.Flow(
        names.scoring_of(spec.model), pack=pack.name, cron=spec.schedules.score, models=[spec.model], owner=spec.owner,
        step=source.step_text, doc_md=f"Scores `{scoring.source}` with `{spec.model}`.",
        tags=[f"model:{spec.model}"], max_active_runs=1 if spec.starts_from_history else 4,
    )  # fmt: skip
    rows = flow.contract(flow.ingest(scoring.source), scoring.contract)
    seen = flow.history(rows, spec.model) if spec.starts_from_history else rows
    published = flow.publish_scores({spec.model: flow.score(seen, spec.model, scoring.output or "")})
    if spec.starts_from_history:  # before the run publishes, which is what wakes the monitor
        flow.publish_truth(rows, spec.model, origin=scoring.source) >> published
    return flow
