"""Flows: wiring only. `Flow` is an Airflow DAG with Baton's defaults and a verb per kind of stage."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, CronPartitionTimetable, PartitionedAtRuntime, TriggerRule, XComArg
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from baton import names
from baton.airflow.notify import Notify, deadline_missed
from baton.airflow.operators.assets import labelled, published
from baton.airflow.operators.branch import BranchOperator
from baton.airflow.operators.permits import PermitsOperator
from baton.airflow.operators.review import ReviewOperator
from baton.airflow.operators.runs import OfFlow, flow_params
from baton.airflow.operators.stage import StageOperator
from baton.authoring import wiring
from baton.errors import SpecError
from baton.families import ROW_LOCAL
from baton.packs.pack import find_model
from baton.settings import settings

SOME = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS  # trigger rule of what goes on although a branch was not taken
_LENIENT = {"trigger_rule": SOME, "needs_all": True}  # what waits for tasks that are skipped where one does their work
START = datetime(2026, 1, 1, tzinfo=UTC)
_NO_ROWS = (BranchOperator, ReviewOperator)  # tasks whose result is no dataset
_ADVISE, _DELIVER = "baton.steps.advise:advise", "baton.steps.deliver:deliver"
_LOOK_UP = "baton.steps.look_up:look_up"


def default_args(owner: str, priority: int = 1) -> dict[str, Any]:
    """Retries with back-off, a timeout, a notification, one rank for all tasks: on every task of Baton."""
    return {
        "owner": owner,
        "priority_weight": priority,
        "weight_rule": "absolute",  # by Airflow's own rule a long flow's tasks go before a short one's, whatever they are worth
        "retries": 3,
        "retry_delay": timedelta(seconds=2),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=2),
        "execution_timeout": timedelta(minutes=15),
        "on_failure_callback": Notify("task failed"),
    }


def clocked(cron: str | None, late: int = 1) -> Any:
    """The timetable of a flow: the partition `late` before each tick; without a clock the trigger names the partition."""
    if cron is None or not settings().schedules:
        return PartitionedAtRuntime()
    return CronPartitionTimetable(cron, timezone="UTC", run_offset=-late)


def deadline(minutes: float) -> DeadlineAlert:
    """Alert when a run is not through so many minutes after it was queued.

    The interval is given in seconds: Airflow 3.3.2 stores a `timedelta` in a form that its *Clear* cannot read back.
    """
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=60 * minutes,  # type: ignore[arg-type]
        callback=AsyncCallback(deadline_missed, kwargs={"minutes": minutes}),
        name=f"through within {minutes:g} minutes",
    )


def _all_results(task_id: str, inputs: dict[str, Any]) -> None:
    for name, value in inputs.items():
        if value is None or (isinstance(value, XComArg) and not isinstance(_made_by(value), _NO_ROWS)):
            continue
        said = repr(value) if _made_by(value) is None else f"what task {_made_by(value).task_id} returns"
        raise SpecError(f"stage {task_id}: input `{name}` is {said}, no result of a stage; is it an option?")


def _shared_by(inputs: list[Any]) -> Any:
    """The input whose parts tasks share: one that a single task made if there is one, since only its list is renewed whole when
    a run is repeated. None where one is made by something else, or by a stage that is mapped over options.
    """
    alone = [value for value in inputs if isinstance(_made_by(value), StageOperator)]
    shared = [
        value for value in inputs if "group" in getattr(getattr(_made_by(value), "expand_input", None), "value", ())
    ]
    return next(iter(alone + shared), None) if len(alone) + len(shared) == len(inputs) else None


def _made_by(value: Any) -> Any:
    return getattr(value, "operator", None)


def _scores_rows(model: str) -> bool:
    """Whether several tasks may share the rows that a model scores: by its family; of a model that is not there lint speaks."""
    with suppress(SpecError):
        return find_model(model)[1].family in ROW_LOCAL
    return False


class Flow(DAG):
    """A business process on partitions.

    Stages whose rows depend on no other rows (`score` of tables and texts, pure functions marked `@row_local`) are mapped: a batch
    of many parts is shared by several tasks, one of one part is one task.

    Args:
        dag_id: snake_case name of the flow.
        pack: the pack whose sources, contracts and models it uses.
        cron: when a partition is complete; the run's partition is the interval before.
        models: models whose versions the first stage fixes for the run.
        owner: the team that answers for it.
        step: length of a partition, such as `1h`.
        priority: where tasks wait for a slot, those of a flow with a higher one go first; trainings and flows that say nothing have 1.
        late: how many intervals after its end a partition is read; 1: as soon as it is complete.
        deadline_minutes: alert when a run takes longer.
        run_timeout: a run that is not through by then is ended; longer than the longest wait for a person.
        files: the trigger form takes names of files for the first stage, whose source is a folder.
        doc_md: the runbook.
    """

    def __init__(
        self, dag_id: str, *, pack: str, cron: str | None, owner: str, doc_md: str | None, models: Sequence[str] = (),
        step: str = "1h", late: int = 1, deadline_minutes: float = 30, tags: Sequence[str] = (), max_active_runs: int = 4, priority: int = 1,
        files: bool = False, run_timeout: timedelta = timedelta(hours=6), **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            dag_id,
            schedule=clocked(cron, late),
            start_date=START, catchup=False, max_active_runs=max_active_runs, default_args=default_args(owner, priority),
            dagrun_timeout=run_timeout, deadline=deadline(deadline_minutes), doc_md=doc_md,
            params=flow_params(list(models), files), tags=["kind:flow", f"pack:{pack}", *tags], **kwargs,
        )  # fmt: skip
        self.pack, self.models, self.run_key = pack, list(models), OfFlow(step)
        self._read_by: dict[str, Any] = {}  # tasks that read the pieces of a large file for a first stage, by its id
        self._fallbacks: list[str] = []  # models: the first stage holds the list itself, `score` adds to it afterwards

    def stage(
        self, task_id: str, step: str, options: dict[str, Any] | None = None, *, outlets: Sequence[Asset] = (),
        output_contract: str = "", pool: str = "", trigger_rule: str = "", uses_models: Sequence[str] = (), **inputs: Any,
    ) -> Any:  # fmt: skip
        """A stage by dotted path. Returns what later stages take.

        Args:
            options: of the step; of a pure function `{"params": {...}}`.
            output_contract: the stage's own output is checked against it.
            uses_models: of a flow's first stage: models whose versions it fixes.
            inputs: results of earlier stages, and the answer of a `review`, by the names that the step knows them by.

        Raises:
            SpecError: the step does not exist, takes no such option (or, a pure function, no such frame), or an input is
                no result of a stage; names what it takes.
        """
        answers = {name: value for name, value in inputs.items() if isinstance(_made_by(value), ReviewOperator)}
        options = wiring.with_answers(step, options or {}, answers)
        inputs = {name: value for name, value in inputs.items() if name not in answers}
        wiring.check(task_id, step, options, inputs)
        task = {"outlets": list(outlets), "output_contract": output_contract, "uses_models": uses_models}
        given = {"pool": pool} if pool else {}
        alone = bool(outlets or uses_models)  # what is said or fixed once
        return self._stage(
            task_id, step, options, inputs, row_local=not alone and wiring.is_row_local(step), trigger_rule=trigger_rule, **task, **given
        )  # fmt: skip

    def _stage(
        self, task_id: str, step: str, options: dict[str, Any] | None, inputs: dict[str, Any], row_local: bool = False,
        trigger_rule: str = "", **task: Any,
    ) -> Any:  # fmt: skip
        _all_results(task_id, inputs)
        reading = self._reading(inputs)
        task |= {"trigger_rule": trigger_rule} if trigger_rule else _LENIENT if reading else {}
        here = (options or {}).get("engine", "local") == "local"  # a cluster shares the rows out itself
        over: Any = _shared_by(list(inputs.values())) if row_local and here else None
        if over is not None:
            shared = StageOperator.partial(
                task_id=task_id, step=step, pack=self.pack, run_key=self.run_key, options=options, inputs=inputs, dag=self,
                **{"pool": "scoring", **task},
            )  # fmt: skip
            mapped = shared.expand(group=over)
            reading >> mapped
            return mapped.output
        made = StageOperator(
            task_id=task_id, step=step, pack=self.pack, run_key=self.run_key, options=options, inputs=inputs, dag=self, **task
        )  # fmt: skip
        made.fallbacks = self._fallbacks if made.uses_models else ()
        reading >> made
        return made.output

    def mapped(
        self, task_id: str, step: str, options: Sequence[dict[str, Any]], pool: str = "scoring", output_contract: str = "",
        **inputs: Any,
    ) -> Any:  # fmt: skip
        """The same stage once per entry of `options`, side by side; a later stage takes the parts as one frame."""
        for one in options:
            wiring.check(task_id, step, one, inputs)
        _all_results(task_id, inputs)
        reading = self._reading(inputs)
        partly = StageOperator.partial(
            task_id=task_id, step=step, pack=self.pack, run_key=self.run_key, inputs=inputs, dag=self, pool=pool,
            output_contract=output_contract, **(_LENIENT if reading else {}),
        )  # fmt: skip
        made = partly.expand(options=list(options))
        reading >> made
        return made.output

    def branch(self, task_id: str, result: Any, ways: dict[str, str]) -> Any:
        """Go on only where a stage's facts say so: task id -> fact. The tasks named must be set behind it with `>>`."""
        self._refuse_unread(task_id, result)
        return BranchOperator(task_id=task_id, result=result, ways=ways, dag=self)

    def earlier(self, stage: str, columns: Sequence[str], after: Any, partitions: int = 100) -> Any:
        """What a stage of this flow made of the partitions before."""
        options = {"stage": stage, "columns": list(columns), "partitions": partitions}
        return self._stage(names.earlier_of(stage), "baton.steps.earlier:rows", options, {"after": after})

    def confirmed(self, model: str, columns: Sequence[str], each: int, after: Any) -> Any:
        """Earlier rows whose truth people confirmed, as the model learns from them: the newest `each` of every class."""
        options = {"model": model, "columns": list(columns), "each": each}
        return self._stage(names.confirmed_of(model), "baton.steps.confirmed:rows", options, {"after": after})

    def review(self, decisions: Any, task_id: str = "review", **settings: Any) -> Any:
        """Wait for a person where a decision's route asks for one. A later stage takes the answer by name: `answer=word`.

        It is a dict: answer (approved | rejected | timeout | none), changes (entity key -> the value that the person gave,
        of fields whose form was sent), actor. `none`: there was nothing to ask.
        """
        self._refuse_unread(task_id, decisions)
        return ReviewOperator(task_id=task_id, decisions=decisions, dag=self, **settings).output

    def advise(
        self, task_id: str, agent: str, conn_id: str = "agent", limits: dict[str, Any] | None = None,
        trigger_rule: str = "", **inputs: Any,
    ) -> Any:  # fmt: skip
        """Ask an agent of the pack about the rows that deserve it; without a model its template answers."""
        options = {"agent": agent, "conn_id": conn_id, **(limits or {})}
        wiring.check(task_id, _ADVISE, options)
        return self._stage(task_id, _ADVISE, options, inputs, pool="agents", trigger_rule=trigger_rule)

    def deliver(self, task_id: str, after: Any, **options: Any) -> Any:
        """Carry out what an earlier stage put into the outbox, each effect once."""
        wiring.check(task_id, _DELIVER, options)
        return self._stage(task_id, _DELIVER, options, {"after": after})

    def permits(self, task_id: str, after: Any, longest: timedelta = timedelta(days=3)) -> Any:
        """Wait, without a worker, until nobody is asked any more about what this partition placed; at once if nobody is.

        Returns:
            the result of `after`, for a `deliver` behind it.
        """
        _all_results(task_id, {"after": after})
        self._refuse_unread(task_id, after)
        return PermitsOperator(task_id=task_id, after=after, longest=longest, retries=3, dag=self).output

    def look_up(
        self, task_id: str, tool: str, data: Any, column: str, lists: bool = False, trigger_rule: str = ""
    ) -> Any:
        """What a tool of the pack knows of a column's distinct values: one row each, with where the answer is from.

        Args:
            tool: name in the pack's tools.yaml.
            lists: the column's cells are JSON lists of values.
        """
        options = {"tool": tool, "column": column, "lists": lists}
        wiring.check(task_id, _LOOK_UP, options)
        return self._stage(task_id, _LOOK_UP, options, {"data": data}, trigger_rule=trigger_rule)

    def ingest(self, source: str, also: Any = None, shared: bool = False) -> Any:
        """Read the partition from a source of the pack, and fix the model versions of this run.

        Args:
            also: the first source, where this is a further one: it follows that one's partition and versions.
            shared: where files may be large: tasks of their own (`read_pieces`) read the row groups of a large Parquet file;
                what comes of it is the same. They are skipped for anything else.
        """
        step, options = "baton.steps.ingest:ingest", {"source": source}
        task_id, first = (names.INGEST, {}) if also is None else (names.ingest_of(source), {"first": also})
        made = self._stage(task_id, step, options, first, uses_models=self.models if also is None else ())
        if shared:
            reading = names.read_pieces_of(task_id)
            self._read_by[task_id] = self._some_of(
                task_id, reading, "baton.steps.ingest:read_pieces", options, {}, made
            )
        return made

    def _some_of(
        self, stage: str, task_id: str, step: str, options: dict[str, Any], inputs: dict[str, Any], over: Any, **task: Any
    ) -> Any:  # fmt: skip
        """Tasks that do some of a stage's work each, one for each group of `over`."""
        one = StageOperator.partial(
            task_id=task_id, step=step, pack=self.pack, run_key=self.run_key, options=options, inputs=inputs, dag=self, pool="scoring",
            slot_of=stage, **task,
        )  # fmt: skip
        return one.expand(group=over)

    def _reading(self, inputs: dict[str, Any]) -> list[Any]:
        """The tasks that read a batch, which are skipped where one does; what takes the batch begins when they are through."""
        made_by = [getattr(_made_by(value), "task_id", "") for value in inputs.values()]
        return [self._read_by[task_id] for task_id in made_by if task_id in self._read_by]

    def _refuse_unread(self, task_id: str, value: Any) -> None:
        if self._reading({"": value}):
            raise SpecError(
                f"task {task_id}: its input is `ingest(..., shared=True)`, which tasks read; put its contract between"
            )

    def contract(self, data: Any, contract: str, shared: bool = False) -> Any:
        """Good rows go on, bad rows go to quarantine, a broken contract stops the run.

        Args:
            shared: where batches may be large: tasks of their own (`judge_parts`) judge the parts of one that has many, before
                the contract judges it as a whole; what comes of it is the same. They are skipped for a batch of one part.
        """
        task_id, options = names.contract_behind(data.operator.task_id), {"contract": contract}
        if not shared:
            return self._stage(task_id, "baton.steps.contract:contract", options, {"data": data})
        if not isinstance(_made_by(data), StageOperator):
            raise SpecError(f"stage {task_id}, shared: its batch must be what one task made, {data!r} is not")
        judging, step = names.judge_parts_of(task_id), "baton.steps.contract:judge"
        parts = self._some_of(task_id, judging, step, options, {"data": data}, data, trigger_rule=SOME)
        self._reading({"data": data}) >> parts
        # skipped is what has one part; where there are no rows the first stage is skipped, too
        made = self._stage(task_id, "baton.steps.contract:contract", options, {"data": data}, trigger_rule=SOME)
        parts >> made.operator
        return made

    def history(self, data: Any, model: str, **inputs: Any) -> Any:
        """The series up to this partition, as the model sees them, and what is known of the future."""
        return self._stage(names.HISTORY, "baton.steps.history:history", {"model": model}, {"data": data, **inputs})

    def score(
        self, data: Any, model: str, output_contract: str = "scores", fallback: str = "", engine: str = "local", conn_id: str = "spark"
    ) -> Any:  # fmt: skip
        """Score with the version that this run uses.

        Args:
            fallback: dotted path of a pure function of the pack, `data` in, entity_key, score and reasons out. With it no
                model stops the flow: the champion, else the one before, else these rules, said in `degraded`; a run
                that is repeated tries the champion again. The contract of the scores must take version 0. Tasks
                that share a batch go down each for its own rows.
            engine: `spark`: a cluster scores the parts of the batch; the rows are those of a task.
            conn_id: of that engine: the connection to the cluster.
        """
        task_id, options = names.score_of(model), {"model": model}
        wiring.require_engine(f"stage {task_id}", engine)
        if engine != "local":
            options |= {"engine": engine, "conn_id": conn_id}
            if not _scores_rows(model):
                families = ", ".join(sorted(ROW_LOCAL))
                raise SpecError(
                    f"stage {task_id}, engine: {engine}: {model} is no model of a family whose rows are scored alone ({families})"
                )
        if fallback:
            wiring.check(task_id, fallback, {}, {"data": data})
            options["fallback"] = fallback
            self._fallbacks.append(model)
        return self._stage(
            task_id, "baton.steps.score:score", options, {"data": data}, row_local=_scores_rows(model),
            pool="scoring", output_contract=output_contract,
        )  # fmt: skip

    def publish(
        self, decisions: Any, scores: dict[str, Any], case_routes: Sequence[str], contract: str = "decisions",
        resolutions: dict[str, dict[str, Any]] | None = None,
    ) -> Any:  # fmt: skip
        """Publish decisions and scores, open cases, wake the monitors of the models.

        Args:
            contract: of the decisions.
            resolutions: what a case may be answered, and what is then true of which target; not needed where the
                decisions say it themselves.
        """
        options = {"case_routes": list(case_routes), "resolutions": resolutions}
        return self._stage(
            names.PUBLISH, "baton.steps.publish:publish", options, {"decisions": decisions, **scores},
            outlets=[published(self.dag_id)], output_contract=contract, trigger_rule=SOME,
        )  # fmt: skip  # a score behind a branch that was not taken is missing

    def publish_scores(self, scores: dict[str, Any]) -> Any:
        """Publish scores alone, for a flow without routes and cases; wake the monitors of the models."""
        outlets = [published(self.dag_id)]
        return self._stage(names.PUBLISH, "baton.steps.publish:publish_predictions", None, scores, outlets=outlets)

    def publish_truth(self, data: Any, model: str, origin: str) -> Any:
        """Publish what this partition's rows say about earlier forecasts; the monitor sees it when the run publishes."""
        options = {"model": model, "origin": origin}
        return self._stage("publish_truth", "baton.steps.history:publish_truth", options, {"data": data})

    def publish_labels(
        self, data: Any, about: str, entity: str, labels: Sequence[str], origin: str, rank: int = 0
    ) -> Any:
        """Publish late labels about another flow's entities, and wake the monitors of its models.

        Args:
            rank: where two origins disagree about an entity the higher one is the truth; what a person answers on a case
                has rank 1.
        """
        options = {"about": about, "entity": entity, "labels": list(labels), "origin": origin, "rank": rank}
        return self._stage(
            names.PUBLISH, "baton.steps.publish:publish_labels", options, {"data": data}, outlets=[labelled(about)]
        )
