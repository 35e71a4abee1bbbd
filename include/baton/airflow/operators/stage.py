"""The operator that runs a Baton stage as an Airflow task, and the links it carries.

The links are class attributes, because Airflow plugins can register only global ones. The operator is
light at import: what it runs is imported inside `execute`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from baton.errors import NoData, SpecError
from baton.progress import Pace, heard_by

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import TaskInstanceKey

    from baton.airflow.operators.runs import RunKey
    from baton.stages.job import StageJob


def in_log(log: Any) -> Pace:
    """What runs long writes a line every 10 s into the task's log."""
    return Pace(lambda standing: log.info("%s", standing.sentence()), 10.0, 10.0)


class _FactLink(BaseOperatorLink):
    """A link whose address the task itself found out; empty when this task has none."""

    fact: ClassVar[str]

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        return getattr(operator, "links", {}).get(self.fact, "")


class MlflowRunLink(_FactLink):
    """To the MLflow run, or model version, that this task wrote or used."""

    name = "MLflow"
    fact = "mlflow"


class ResultPageLink(_FactLink):
    """To the Great Expectations result page of this validation."""

    name = "Validation result"
    fact = "page"


class DriftReportLink(_FactLink):
    """To the drift report of the window that this task judged."""

    name = "Drift report"
    fact = "drift"


class ReportLink(_FactLink):
    """To the report that this task wrote for people."""

    name = "Report"
    fact = "report"


def _results(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Results of earlier stages by name; of one that is mapped over options as `name.0`, `name.1`, ... without skipped ones.

    Raises:
        SpecError: an input is something else; nothing is left out without a word.
    """
    for name, value in inputs.items():
        value = whole_result(value)
        if isinstance(value, Mapping):
            parts = {name: value}
        else:
            parts = {f"{name}.{number}": part for number, part in enumerate(part for part in value or () if part)}
        for part_name, part in parts.items():
            if not isinstance(part, Mapping) or "ref" not in part:
                raise SpecError(f"input `{part_name}` is no result of a stage but {part!r:.200}; is it an option?")
            yield part_name, part


def whole_result(value: Any) -> Any:
    """One result of what a stage whose rows are shared returned, or of what the tasks that shared them did; else the value itself.

    Raises:
        BatonError: a task of those has no result.
    """
    if value is None or isinstance(value, Mapping):
        return value
    parts = [
        part for part in value[:] if part
    ]  # a slice: of a mapped task Airflow asks for each result by itself otherwise
    if not parts or not all(isinstance(part, Mapping) and "group" in part for part in parts):
        return parts
    first, edges = parts[0], list(parts[0]["group"]["edges"])
    if "announced" in first:
        return _since_made(first)
    if "stage" not in first["group"] or len(edges) == 2:
        return first

    from baton.actions import changes
    from baton.contracts.outputs import require_whole
    from baton.data.datasets import DatasetRef
    from baton.errors import BatonError
    from baton.packs.pack import load_pack
    from baton.stages import groups
    from baton.stages.job import DRY
    from baton.stages.run import joined_by
    from baton.stages.slots import Slot

    # Airflow keeps what tasks returned that a repeated run, with fewer of them, has no more
    parts = [part for part in parts if list(part["group"]["edges"]) == edges]
    missing = len(edges) - 1 - len(parts)
    if missing:
        raise BatonError(f"stage {first['group']['stage']}: {missing} of the tasks that share its rows have no result")
    slot = Slot(first["group"]["flow"], first["group"]["stage"], first["partition"])
    refs = [DatasetRef.from_dict(part["ref"]) for part in parts]
    dry, step = slot.flow.endswith(DRY), first["group"].get("step")  # none in what was returned before an update

    def judge(results: Sequence[DatasetRef]) -> None:
        if contract := first["group"]["contract"]:
            pack, user = first["group"]["pack"], f"stage {slot.flow}.{slot.stage}"
            agreed = changes.Agreed() if dry else changes.require([(pack, "contract", contract)], user, slot.flow)
            require_whole(load_pack(pack).contract(contract), f"{slot.flow}/{slot.stage}", results)
            agreed.require_unchanged(user)

    join = joined_by(step, dry) if step else groups.alike
    made = groups.whole(slot, refs, [part["facts"] for part in parts], first["models"], judge, join, late=True)
    return {**first, "ref": made.ref.to_dict(), "facts": made.facts, "commit": made.commit_id, "cached": made.cached}


def _since_made(announced: Mapping[str, Any]) -> Mapping[str, Any]:
    """The result of a stage that announced what tasks do for it, now that they are through.

    Raises:
        BatonError: it is not there, or of another delivery.
    """
    from baton.errors import BatonError
    from baton.stages.slots import Slot, head, heads_of_groups

    slot = Slot(**announced["announced"], partition=announced["partition"])
    facts, found = announced["facts"], head(slot)
    # the same bytes may have come to another address since, and rows of people who were erased are gone
    if found is None or any(found.facts.get(name) != facts[name] for name in ("source", "source_sha256")):
        there = "has no result" if found is None else "has the result of another delivery"
        raise BatonError(f"{slot} {there}: clear the task {slot.stage}, which has its rows read again")
    parts = heads_of_groups(slot, len(announced["group"]["edges"]) - 1)
    group = {**announced["group"], "edges": [0, *accumulate(one.ref.rows for one in parts)]}
    known = {"ref": found.ref.to_dict(), "facts": {**facts, **found.facts}, "commit": found.commit_id, "group": group}
    return {**announced, **known}


class StageOperator(BaseOperator):
    """Run one stage on one partition.

    What other tasks share the rows of (it is expanded over `group`) returns a list: its result once for each of them, with the
    rows that the task has. A batch of one part has one.

    Args:
        step: dotted path `package.module:function`.
        pack: whose contracts, sources and models apply.
        inputs: results of earlier stages by the name the step knows them by.
        options: parameters of the step; JSON only.
        run_key: how the DAG names its runs.
        output_contract: contract of the stage's own output.
        uses_models: set on the first stage of a flow: the models whose versions it fixes for the run.
        group: of a task that shares its stage's rows with others: an entry of such a list.
        needs_all: what has no result for one of its inputs is skipped, though the trigger rule lets it run.
        slot_of: of a task that does some of another one's work: its id; what is made is committed in slots of groups of that stage,
            and for a batch of one part there is nothing to do.

    Attributes:
        fallbacks: models of `uses_models` whose scoring has a fallback; verbs behind the first stage add to the flow's list.
    """

    template_fields: Sequence[str] = ("inputs", "options")
    operator_extra_links = (MlflowRunLink(), ResultPageLink(), ReportLink())
    ui_color = "#eef3fb"

    def __init__(
        self, *, step: str, pack: str, run_key: RunKey, inputs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None, output_contract: str = "", uses_models: Sequence[str] = (),
        group: Mapping[str, Any] | None = None, slot_of: str = "", needs_all: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.run_key = run_key
        self.output_contract = output_contract
        self.step = step
        self.pack = pack
        self.inputs = dict(inputs or {})
        self.options = dict(options or {})
        self.uses_models = list(uses_models)
        self.group = group
        self.slot_of = slot_of
        self.needs_all = needs_all
        self.fallbacks: Sequence[str] = ()

    def execute(self, context: Context) -> dict[str, Any] | list[dict[str, Any]]:
        """Run the stage; the XCom is small: the dataset's reference, its facts and the model versions in use."""
        from baton.errors import ContractBroken, NotAgreed, RegistryRefused
        from baton.settings import scoring_slots
        from baton.stages import groups
        from baton.stages.run import run
        from baton.steps import contract as checking

        self.links: dict[str, str] = {}
        try:
            job, degraded = self._job(context)
            for sentence in degraded:
                self.log.warning("Degraded: %s", sentence)
            left = self.inputs or "announced" in (self.group or ())  # to it by the task whose work it does some of
            if self.slot_of and (job.group is None or job.group.of < 2 or not left):
                raise NoData(f"for {self.slot_of} to do in parts: one task does all of it")
            with heard_by(in_log(self.log)):
                if announced := self._announce(job, degraded):
                    return announced
                result = run(job)
            facts = {**result.facts, **({"degraded": degraded} if degraded else {})}
            self._link(facts)
            self._emit(context, facts, job.partition)
            self.log.info("%s %s rows=%s cached=%s %s", job.slot, job.step, result.ref.rows, result.cached, facts)
            checking.require_good_rows(facts)
        except NoData as error:
            raise AirflowSkipException(f"skipped: no data: {error}") from error
        except (ContractBroken, NotAgreed, RegistryRefused, SpecError) as error:
            raise AirflowFailException(str(error)) from error  # a retry would meet the same rows, files or YAML
        # a StaleAttempt is retried: by then the owner of the slot has committed, and its result is returned
        made = {
            "ref": result.ref.to_dict(), "facts": facts, "models": dict(job.models), "commit": result.commit_id,
            "cached": result.cached, "partition": job.partition,
        }  # fmt: skip
        if job.group is not None:
            return made | {
                "group": {
                    "number": job.group.number,
                    "edges": job.group.edges,
                    "flow": job.slot.flow,
                    "stage": job.stage,
                    "step": job.step,
                    "pack": job.pack,
                    "contract": job.output_contract,
                }
            }
        if next(self.iter_mapped_dependants(), None) is None:
            return made
        shares = groups.split(result.ref, 2 * scoring_slots())
        self._spare(lambda slot_of: len(shares) == 1 or slot_of == self.task_id)
        return [made | {"group": {"number": one.number, "edges": one.edges}} for one in shares]

    def _announce(self, job: StageJob[Any], degraded: list[str]) -> list[dict[str, Any]]:
        """Leave the stage's work to the tasks that are there for it, where there is enough for them; else nothing."""
        from baton.settings import scoring_slots
        from baton.stages import groups
        from baton.stages.run import announce

        found = announce(job) if self.task_id in self._worked_for() else None
        shares = groups.portions(found.ends, 2 * scoring_slots()) if found is not None else []
        if found is None or len(shares) < 2:
            return []
        facts = {**found.facts, **({"degraded": degraded} if degraded else {})}
        self.log.info("%s: %s tasks read %s rows", job.slot, len(shares), found.ends[-1])
        made = {"announced": {"flow": job.slot.flow, "stage": job.stage}, "told": found.told, "facts": facts,
                "models": dict(job.models), "partition": job.partition}  # fmt: skip
        return [made | {"group": {"number": one.number, "edges": one.edges}} for one in shares]

    def _worked_for(self) -> dict[str, str]:
        """For which tasks those that are mapped over this one's result work, each by its id."""
        behind: list[Any] = list(self.iter_mapped_dependants())
        found = {getattr(one, "partial_kwargs", {}).get("slot_of", ""): one.task_id for one in behind}
        return {slot_of: task_id for slot_of, task_id in found.items() if slot_of}

    def _spare(self, idle: Callable[[str], bool]) -> None:
        """Have Airflow skip at once what has nothing to do; outside a worker it skips itself."""
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.comms import SkipDownstreamTasks

        tasks: list[Any] = [task_id for slot_of, task_id in self._worked_for().items() if idle(slot_of)]
        comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
        if tasks and comms is not None:
            comms.send(msg=SkipDownstreamTasks(tasks=tasks))

    def _job(self, context: Context) -> tuple[StageJob[Any], list[str]]:
        from baton.airflow.connections.lookup import AirflowConnections
        from baton.data.datasets import DatasetRef
        from baton.stages.groups import Portion
        from baton.stages.job import StageJob
        from baton.steps.ingest import choose_models

        results = dict(_results(self.inputs))
        there = {name.partition(".")[0] for name in results}
        if self.needs_all and (none := [name for name in self.inputs if name not in there]):
            raise NoData(f"of the input {', '.join(none)}")
        said = self.group and self.group["group"]
        made = [
            one["group"]["edges"] for one in results.values() if "announced" in one
        ]  # of the rows that there are by now
        group = Portion(said["number"], tuple(made[0] if made else said["edges"])) if said else None
        models: dict[str, int] = {}
        earlier: str | None = None  # the first stage fixes partition and versions; the others follow it
        mine = self.group if self.group and not self.inputs else {}  # what a stage announced, whose work this is
        for value in [*results.values(), *([mine] if mine else [])]:
            models.update(value.get("models", {}))
            earlier = value["partition"]
        asked = self.run_key.asked(context, earlier)
        degraded: list[str] = []
        supersede = False
        if self.uses_models:
            models, degraded, supersede = choose_models(
                self.dag_id,
                asked.partition,
                self.uses_models,
                asked.model,
                dry_run=asked.dry_run,
                fallbacks=self.fallbacks,
            )
        return StageJob(
            pack=self.pack, flow=self.dag_id, stage=self.slot_of or self.task_id, partition=asked.partition, step=self.step,
            inputs={name: DatasetRef.from_dict(value["ref"]) for name, value in results.items()},
            options={**self.options, **mine.get("told", {})}, output_contract=self.output_contract, models=models, run_id=context["dag_run"].run_id,
            files=asked.files, since=asked.since, until=asked.until,
            map_index=context["ti"].map_index if context["ti"].map_index is not None else -1, group=group,
            dry_run=asked.dry_run, supersede_models=supersede, connections=AirflowConnections(),
        ), degraded  # fmt: skip

    def _emit(self, context: Context, facts: Mapping[str, Any], partition: str) -> None:
        """Tell the DAGs that wait for this task's asset what happened; small JSON."""
        for asset in self.outlets:
            event = context["outlet_events"][asset]
            event.extra = {k: facts[k] for k in ("model", "version", "since", "published") if facts.get(k) is not None}
            if self.run_key.partitioned:
                event.add_partitions(partition)

    def _link(self, facts: Mapping[str, Any]) -> None:
        """Addresses behind log-in: pages are served by Baton's own console inside Airflow."""
        if page := facts.get("page"):
            self.links["page"] = f"/baton/pages/{page}"
        if report := facts.get("report"):
            self.links["report"] = f"/baton/pages/{report}"
        if address := facts.get("mlflow"):
            self.links["mlflow"] = address
