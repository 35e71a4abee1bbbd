"""The lifecycle DAGs of a model, built from its spec: train, promote, monitor and, where asked for, score.

They are the same for every family. Assets connect them: a registered challenger wakes promotion, a published
batch or late labels wake the monitor; the monitor starts training when the drift policy says so.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, CronTriggerTimetable, Param, PartitionedAssetTimetable

from baton.airflow import flows
from baton.airflow.operators import assets
from baton.airflow.operators.approval import ModelApprovalOperator
from baton.airflow.operators.monitor import MonitorOperator
from baton.airflow.operators.runs import KEY_PATTERN
from baton.airflow.operators.stage import StageOperator
from baton.settings import settings

if TYPE_CHECKING:
    from baton.packs.pack import Pack
    from baton.specs.model import ModelSpec


def build(pack: Pack, spec: ModelSpec, only: str | None = None) -> dict[str, DAG]:
    """Build the DAGs of one model by DAG id; with `only`, just the one that is asked for (inside a task)."""
    builders = {f"{spec.model}_train": train, f"{spec.model}_promote": promote}
    if spec.drift is not None:
        builders[f"{spec.model}_monitor"] = monitor
    if spec.scoring is not None:
        builders[f"{spec.model}_score"] = score
    return {dag_id: builder(pack, spec) for dag_id, builder in builders.items() if only in (None, dag_id)}


def _dag(pack: Pack, spec: ModelSpec, verb: str, doc: str, **kwargs: Any) -> DAG:
    kwargs.setdefault("max_active_runs", 1)
    return DAG(  # noqa: AIR002 - every caller gives its schedule
        f"{spec.model}_{verb}", start_date=flows.START, catchup=False, default_args=flows.default_args(spec.owner),
        doc_md=f"**{spec.description.strip()}**\n\n{doc}",
        tags=["kind:lifecycle", f"pack:{pack.name}", f"model:{spec.model}"], **kwargs,
    )  # fmt: skip


def train(pack: Pack, spec: ModelSpec) -> DAG:
    """Assemble, check, try the candidates side by side, register the best as challenger."""
    cron = spec.schedules.train if settings().schedules else None
    clock = CronTriggerTimetable(cron, timezone="UTC") if cron else None
    dag = _dag(
        pack, spec, "train",
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

    def stage(task_id: str, step: str, options: dict[str, Any] | None = None, **inputs: Any) -> Any:
        extra = {"outlets": inputs.pop("outlets")} if "outlets" in inputs else {}
        return StageOperator(
            task_id=task_id, step=step, pack=pack.name, dag=dag, pool="training", inputs=inputs,
            options={"model": spec.model, "kind": "train", **(options or {})},
            execution_timeout=timedelta(hours=2), **extra,
        ).output  # fmt: skip

    data = stage("assemble", "baton.lifecycle.assemble:assemble")
    good = stage("contract", "baton.steps.contract:contract", {"contract": spec.training.contract}, data=data)
    tried = {
        candidate.name: stage(
            f"candidate__{candidate.name}", "baton.lifecycle.fit:candidate", {"candidate": candidate.name}, data=good
        )
        for candidate in spec.candidates
        if candidate.estimator is not None
    }
    stage("register", "baton.lifecycle.fit:register", data=good, outlets=[assets.challenger(spec.model)], **tried)
    return dag


def promote(pack: Pack, spec: ModelSpec) -> DAG:
    """Judge challenger against champion, ask a person, move the alias."""
    dag = _dag(
        pack, spec, "promote",
        "Judges the challenger on rows that neither version trained on: PROMOTE, HOLD or MORE_DATA, with reasons. "
        "Only a PROMOTE is put to a person (here under *Required Actions*, or by the tag `baton.review` in MLflow); "
        "only this DAG moves the alias `champion`.",
        schedule=assets.challenger(spec.model), dagrun_timeout=spec.approval.timeout + timedelta(hours=1),
        params={"version": Param(0, type="integer", minimum=0, title="Version", description_md=(
            "Version to judge; 0: the one that `challenger` points at."))},
    )  # fmt: skip
    verdict = StageOperator(
        task_id="judge", step="baton.lifecycle.promote:judge", pack=pack.name, dag=dag,
        options={"model": spec.model, "kind": "promote"},
    ).output  # fmt: skip
    approval = ModelApprovalOperator(
        task_id="approve", dag=dag, model=spec.model, mode=spec.approval.mode, verdict=verdict,
        subject=f"Make the challenger the champion of {spec.model}?",
        body="{{ ti.xcom_pull(task_ids='judge')['facts']['summary'] }}",
        response_timeout=spec.approval.timeout, execution_timeout=None, retries=0,
    )  # fmt: skip
    StageOperator(
        task_id="move_champion", step="baton.lifecycle.promote:move_champion", pack=pack.name, dag=dag,
        inputs={"verdict": verdict, "answer": approval.output}, options={"model": spec.model, "kind": "promote"},
        outlets=[assets.champion(spec.model)],
    )  # fmt: skip
    return dag


def monitor(pack: Pack, spec: ModelSpec) -> DAG:
    """Judge every published partition once, in order, and decide whether to retrain."""
    assert spec.drift is not None
    watched = spec.training.recent.flow if spec.training.recent else f"{spec.model}_score"
    dag = _dag(
        pack, spec, "monitor",
        "Woken by published partitions and by late labels. Judges each window in order of its partition: which "
        "features drifted and by how much, how the champion does on labelled rows; emits the drift event that "
        "wakes training only when the policy says so.",
        schedule=PartitionedAssetTimetable(assets=assets.published(watched) | assets.labelled(watched)),
        dagrun_timeout=timedelta(hours=1),
    )  # fmt: skip
    MonitorOperator(task_id="judge_windows", model=spec.model, watched=watched, dag=dag)
    return dag


def score(pack: Pack, spec: ModelSpec) -> DAG:
    """A scoring DAG of the model's own, for models that no flow uses."""
    assert spec.scoring is not None
    scoring = spec.scoring
    source = pack.sources[scoring.source]
    flow = flows.Flow(
        f"{spec.model}_score", pack=pack.name, cron=spec.schedules.score, models=[spec.model], owner=spec.owner,
        step=source.step_text, doc_md=f"Scores `{scoring.source}` with `{spec.model}`.",
        tags=[f"model:{spec.model}"],
    )  # fmt: skip
    rows = flow.contract(flow.ingest(scoring.source), scoring.contract)
    flow.publish_scores({spec.model: flow.score(rows, spec.model, scoring.output or "")})
    return flow
