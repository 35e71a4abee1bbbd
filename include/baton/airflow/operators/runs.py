"""Run configuration: partition, model choice, dry run, as a DAG run was asked for them. Nothing reads `logical_date`."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from airflow.sdk import Context, Param
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from baton.errors import BatonError
from baton.names import DRIFT

_log = logging.getLogger(__name__)
KEY_PATTERN = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}(:\d{2}(:\d{2}(\.\d{6})?)?)?)?Z?$"  # see `read_key`


def flow_params(models: list[str], files: bool = False) -> dict[str, Param]:
    """The trigger form of a flow: partition range, files, model choice, dry run; defaults are valid for schedules.

    An optional text is null by default: the UI takes an empty string in a plain text field for a missing one.
    """
    versions = ", ".join(f"`{model}=3`" for model in models)
    choices = f"`recorded`, `champion`, or versions with commas between ({versions})" if models else "`recorded`"
    named = {
        "files": Param(
            None, type=["null", "string"], title="Files", section="Partitions", format="multiline",
            description_md="Documents below the landing folder, one path per line: the run takes these and no others, "
            "as a partition of its own; leave the partitions empty. Empty: what was delivered.",
        ),
    }  # fmt: skip
    return {
        "partition_from": Param(
            None, type=["null", "string"], pattern=KEY_PATTERN, title="First partition", section="Partitions",
            description_md="UTC start of the first interval, `2026-11-20T09:00:00`, or short `2026-11-20T09`, `2026-11-20`. "
            "Empty: the partition key of the run, or else the last complete interval.",
        ),
        "partition_to": Param(
            None, type=["null", "string"], pattern=KEY_PATTERN, title="Last partition", section="Partitions",
            description_md="Inclusive. With both fields set, one run per partition is started.",
        ),
        **(named if files else {}),
        "model": Param(
            "recorded", type="string", title="Model", section="Models",
            pattern=r"^(recorded|champion|[a-z0-9_]+=\d+(,[a-z0-9_]+=\d+)*)$", examples=["recorded", "champion"],
            description_md=f"{choices}. *recorded* repeats a partition with the versions it used before (else "
            "today's champion); *champion* supersedes it with today's champion. A version that was never promoted takes a dry run.",
        ),
        "dry_run": Param(
            False, type="boolean", title="Dry run", section="Models",
            description_md="Compute everything, change no published table, quarantine or case.",
        ),
    }  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What one run was asked to do, form values checked.

    Attributes:
        partition: what the run is about; it names the slots of its stages.
        model: the form's choice of versions.
        files, since, until: see `StageJob`.
    """

    partition: str
    model: str = "recorded"
    dry_run: bool = False
    files: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None


class RunKey(Protocol):
    """How a kind of DAG names its runs, and reads their forms."""

    partitioned: ClassVar[bool]  # events of its tasks name the partition

    def asked(self, context: Context, earlier: str | None) -> Asked:
        """What the run was asked; `earlier` is the partition that a stage before settled on, None in the first one."""


@dataclass(frozen=True)
class OfFlow:
    """A run of a flow is about a partition of so much time.

    An event of it names the partition itself: a run that took it from the form has no partition key, and a monitor is
    not woken by an event without one. A run that was given a range starts one run per partition and then skips itself.
    """

    length: str = "1h"
    partitioned: ClassVar[bool] = True

    def asked(self, context: Context, earlier: str | None) -> Asked:
        """See `RunKey`."""
        params = context.get("params") or {}
        partition = earlier or partition_of(context, self.length)
        model, dry_run = str(params.get("model") or "recorded"), bool(params.get("dry_run"))
        # for the first source; a further one follows its partition
        files = tuple(_named(params)) if earlier is None else ()
        return Asked(partition, model, dry_run, files)


@dataclass(frozen=True)
class OfTraining:
    """A training is named by the last labelled partition that it knows."""

    model: str
    partitioned: ClassVar[bool] = False

    def asked(self, context: Context, earlier: str | None) -> Asked:
        """See `RunKey`."""
        params = context.get("params") or {}
        since, until = _key(params.get("since")), _key(params.get("until"))
        if earlier is None:  # the run's first stage
            from baton.lifecycle.assemble import as_of, record_start

            run = context["dag_run"]
            by = starter(context, self.model)
            _require("modify", self.model, by)
            record_start(self.model, run.run_id, by or "")
            earlier = as_of(self.model, until)
        return Asked(earlier, since=since, until=until)


@dataclass(frozen=True)
class OfPromotion:
    """A promotion is named by the version that it judges; it is not partitioned, and a key would not wake it."""

    model: str
    partitioned: ClassVar[bool] = False

    def asked(self, context: Context, earlier: str | None) -> Asked:
        """See `RunKey`."""
        from baton.lifecycle.promote import is_champion, version_to_judge

        if earlier is not None:
            return Asked(earlier)
        _require("activate", self.model, starter(context, self.model))
        asked = int((context.get("params") or {}).get("version") or event_extra(context).get("version") or 0)
        version = version_to_judge(self.model, asked)
        if is_champion(self.model, version):  # a training on unchanged rows announces the same version again
            raise AirflowSkipException(f"{self.model} version {version} is champion already: nothing to judge")
        return Asked(f"version-{version}")


def starter(context: Context, model: str) -> str | None:
    """Who started a run of the model's, by what they log in with; None: the clock, a task's event or the monitor did.

    Empty where somebody did of whom Airflow keeps no name: whoever sends an asset's event to its API. Airflow hands the name of whoever
    started a monitor down to the training that the monitor starts; they did not ask for it. An id can be typed, hence the other two.
    """
    from baton.lifecycle.monitor import was_asked

    if any(map(_of_person, _waking_events(context))):
        return ""
    run = context["dag_run"]
    by_task, request = run.run_type == "operator_triggered", run.run_id.removeprefix(DRIFT)
    if by_task and request != run.run_id and was_asked(model, request):
        return None
    return run.triggering_user_name


def _require(duty: Literal["modify", "activate"], model: str, by: str | None) -> None:
    """Refuse whoever started the run by hand without the duty; see `starter`."""
    from baton.governance.duties import Who, require
    from baton.record.warehouse import read

    if by is None:
        return
    try:
        with read() as conn:
            said = require(conn, f"model:{model}", duty, Who(by))
    except BatonError as refusal:
        raise AirflowFailException(f"run not allowed: {refusal}") from refusal
    if said:
        _log.warning("%s", said)


def _named(params: Mapping[str, Any]) -> list[str]:
    """Files that the form names."""
    return [line.strip() for line in str(params.get("files") or "").splitlines() if line.strip()]


def waking_runs(context: Context) -> set[str]:
    """Runs whose asset events started this one."""
    return {str(one.source_run_id) for one in _waking_events(context) if getattr(one, "source_run_id", None)}


def _waking_events(context: Context) -> list[Any]:
    return [one for many in (context.get("triggering_asset_events") or {}).values() for one in many]


def _of_person(event: Any) -> bool:
    """Whether somebody sent it to Airflow's API, which then says so in it whatever they wrote; no task did."""
    return bool((getattr(event, "extra", None) or {}).get("from_rest_api"))


def event_extra(context: Context) -> dict[str, Any]:
    """The `extra` of the newest of the tasks' asset events that started this run; empty for other runs."""
    of_tasks = [one for one in _waking_events(context) if not _of_person(one)]
    return dict(max(of_tasks, key=lambda one: one.timestamp).extra or {}) if of_tasks else {}


def partition_of(context: Context, step: str) -> str:
    """The partition key of the run; of a manual run its form's `partition_from`, or the last complete interval."""
    from baton.data.partitions import last_complete, own_key

    if key := _key(getattr(context["dag_run"], "partition_key", None)):
        return key
    params = context.get("params") or {}
    first, last = _key(params.get("partition_from")), _key(params.get("partition_to"))
    if _named(params):
        if first or last:
            raise AirflowFailException("files are a partition of their own: leave first and last partition empty")
        return own_key(context["dag_run"].run_after)  # the same however often the run is cleared
    if first and last and first != last:
        started = _start_range(context, first, last, step)
        raise AirflowSkipException(f"started {len(started)} runs, one per partition: {started[0]} to {started[-1]}")
    return first or last or last_complete(step)


def _key(text: str | None) -> str | None:
    """A partition that somebody typed, in the one spelling; None: nothing was typed."""
    from baton.data.partitions import read_key
    from baton.errors import SourceError

    try:
        return read_key(text) if text else None
    except SourceError as error:
        raise AirflowFailException(str(error)) from error  # a retry would meet the same text


def _start_range(context: Context, first: str, last: str, step: str) -> list[str]:
    """Start one run of this DAG per partition of the range, with the same choices."""
    from airflow.sdk.execution_time.comms import TriggerDagRun
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    from baton.data.partitions import key_range

    dag_run, keys = context["dag_run"], key_range(first, last, step)
    conf = {k: v for k, v in (context.get("params") or {}).items() if not k.startswith("partition_")}
    for key in keys:
        # the form's field carries the key: the supervisor of Airflow 3.3.2 drops the message's `partition_key`
        SUPERVISOR_COMMS.send(TriggerDagRun(
            dag_id=dag_run.dag_id, run_id=f"range__{dag_run.run_id}__{key}", conf={**conf, "partition_from": key},
        ))  # fmt: skip
    return keys
