"""Run configuration: partition, model choice, dry run, as a DAG run was asked for them. Nothing reads `logical_date`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Context

KEY_PATTERN = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{6})?$"


def flow_params(models: list[str], files: bool = False) -> dict[str, Param]:
    """The trigger form of a flow: partition range, files, model choice, dry run; defaults are valid for schedules.

    An optional text is null by default: the UI takes an empty string in a plain text field for a missing one.
    """
    versions = ", ".join(f"`{model}=3`" for model in models)
    choices = f"`recorded`, `champion`, or a version ({versions})" if models else "`recorded`"
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
            description_md="UTC start of the first interval, `2026-11-20T09:00:00`. Empty: the partition key of "
            "the run, or else the last complete interval.",
        ),
        "partition_to": Param(
            None, type=["null", "string"], pattern=KEY_PATTERN, title="Last partition", section="Partitions",
            description_md="Inclusive. With both fields set, one run per partition is started.",
        ),
        **(named if files else {}),
        "model": Param(
            "recorded", type="string", title="Model", section="Models",
            pattern=r"^(recorded|champion|[a-z0-9_]+=\d+)$", examples=["recorded", "champion"],
            description_md=f"{choices}. *recorded* repeats a partition with the versions it used before (else "
            "today's champion); *champion* supersedes it with today's champion.",
        ),
        "dry_run": Param(
            False, type="boolean", title="Dry run", section="Models",
            description_md="Compute everything, change no published table, quarantine or case.",
        ),
    }  # fmt: skip


@dataclass(frozen=True)
class RunChoices:
    """The run's partition and form values, checked; `options` are the stage's own options."""

    partition: str
    model: str
    dry_run: bool
    options: Mapping[str, Any]


def run_choices(context: Context, options: Mapping[str, Any], earlier: str | None = None) -> RunChoices:
    """Read the run's partition and choices.

    A run that was given a range starts one run per partition and then skips itself, saying so.

    Args:
        earlier: the partition that an earlier stage of this run settled on.
    """
    params = context.get("params") or {}
    kind = options.get("kind", "flow")
    extra: dict[str, Any] = {}
    if kind == "train":
        extra = {name: params.get(name) or None for name in ("since", "until")}
        if earlier is None:  # the run's first stage
            from baton.lifecycle.assemble import record_start

            record_start(options["model"])
    if options.get("files"):
        extra["files"] = _named(params)
    partition = earlier or _slot_key(context, kind, options)
    dry_run = kind == "flow" and bool(params.get("dry_run"))  # training and promotion write to the registry
    return RunChoices(
        partition=partition, model=str(params.get("model") or "recorded"), dry_run=dry_run,
        options={**{k: v for k, v in options.items() if k not in {"kind", "step"}}, **extra},
    )  # fmt: skip


def _named(params: Mapping[str, Any]) -> list[str]:
    """Files that the form names."""
    return [line.strip() for line in str(params.get("files") or "").splitlines() if line.strip()]


def _slot_key(context: Context, kind: str, options: Mapping[str, Any]) -> str:
    """Flows have partitions; a training is named by the last labelled partition it knows, a promotion by its version."""
    if kind == "train":
        from baton.lifecycle.assemble import as_of

        return as_of(options["model"], (context.get("params") or {}).get("until") or None)
    if kind == "promote":
        from baton.lifecycle.promote import is_champion, version_to_judge

        asked = int((context.get("params") or {}).get("version") or event_extra(context).get("version") or 0)
        version = version_to_judge(options["model"], asked)
        if is_champion(options["model"], version):  # a training on unchanged rows announces the same version again
            raise AirflowSkipException(f"{options['model']} version {version} is champion already: nothing to judge")
        return f"version-{version}"
    return partition_of(context, options.get("step", "1h"))


def event_extra(context: Context) -> dict[str, Any]:
    """The `extra` of the newest asset event that started this run; empty for other runs."""
    newest: Any = None
    for events in (context.get("triggering_asset_events") or {}).values():
        for event in events:
            if newest is None or event.timestamp > newest.timestamp:
                newest = event
    return dict(newest.extra or {}) if newest is not None else {}


def partition_of(context: Context, step: str) -> str:
    """The partition key of the run; of a manual run its form's `partition_from`, or the last complete interval."""
    from baton.data.partitions import last_complete, own_key, parse_key

    key = getattr(context["dag_run"], "partition_key", None)
    if key:
        parse_key(key)
        return key
    params = context.get("params") or {}
    first, last = params.get("partition_from") or "", params.get("partition_to") or ""
    if _named(params):
        if first or last:
            raise AirflowFailException("files are a partition of their own: leave first and last partition empty")
        return own_key(context["dag_run"].run_after)  # the same however often the run is cleared
    if first and last and first != last:
        started = _start_range(context, first, last, step)
        raise AirflowSkipException(f"started {len(started)} runs, one per partition: {started[0]} to {started[-1]}")
    key = first or last or last_complete(step)
    parse_key(key)
    return key


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
