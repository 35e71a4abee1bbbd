"""What a day later nobody has found anything in: connections and five minutes of log that the models may take for harmless.

A verdict on an incident is a label of the rows that it was found in, at once (`decide.RESOLUTIONS`). From verdicts alone a model would
learn attacks and nothing else, so what no incident has to do with is published as harmless, of the lowest rank: any verdict outdoes
it. What stands beside an incident, at its time and with one of its names, is left open: nobody looked at it, and it may belong to it.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import Field

from baton.data.datasets import read
from baton.data.partitions import format_key, parse_key
from baton.specs.base import Duration, Spec
from baton.stages import StageJob, StageOutput, engine_step
from baton.stages.slots import heads_of, partitions
from baton_packs.incident_response.incidents.incident import CONNECTION_ROWS, LOG_ROWS, seconds
from baton_packs.incident_response.incidents.links import SWEEP, named

if TYPE_CHECKING:
    import pandas as pd

    from baton.stages.slots import StageResult

# stage whose rows are labelled -> their key, the target, where an incident keeps those that it was found in, the columns of names
LABELLED = {
    "once": ("metadata_uid", "is_attack", CONNECTION_ROWS, ("src_endpoint_ip", "dst_endpoint_ip", "device_hostname", "user_name")),
    "count_logs": ("count_id", "attacked", LOG_ROWS, ("device_hostname",)),
}  # fmt: skip
_READ = ["incident_id", "entities", CONNECTION_ROWS, LOG_ROWS]


class OutcomeOptions(Spec):
    """Options of `stage`."""

    flow: str = Field(description="the flow whose rows are labelled")
    partitions: int = Field(default=288, ge=1, description="partitions after this one whose incidents count: a day")
    slack: Duration = Field(
        default=timedelta(minutes=5),
        description="so long before and after an incident saw a name its rows are left open",
    )


def _found(job: StageJob[OutcomeOptions]) -> tuple[dict[str, StageResult], dict[str, StageResult]]:
    """The rows by stage, and what `correlate` said from this partition on, oldest first."""
    rows = {stage: heads_of(job.options.flow, stage, [job.partition]).get(job.partition) for stage in LABELLED}
    end = format_key(parse_key(job.partition) + timedelta(minutes=5) * (job.options.partitions + 1))
    later = partitions(job.options.flow, "correlate", before=end, newest=job.options.partitions + 1)
    return {stage: one for stage, one in rows.items() if one}, heads_of(
        job.options.flow, "correlate", [one for one in later if one >= job.partition]
    )


def _state(job: StageJob[OutcomeOptions]) -> Mapping[str, Any]:
    rows, said = _found(job)
    known = "\n".join(f"{partition} {one.ref.content_sha256}" for partition, one in sorted(said.items()))
    return {
        "rows": {stage: one.ref.content_sha256 for stage, one in rows.items()},
        "incidents": hashlib.sha256(known.encode()).hexdigest(),
    }


@engine_step(OutcomeOptions, fingerprint=_state)
def stage(job: StageJob[OutcomeOptions]) -> StageOutput:
    """Say of a partition's rows that they are harmless, where no incident has to do with them.

    Returns:
        entity_key, is_attack (0 for a connection, else null), attacked (0 for a host's five minutes, else null); facts: by stage
        rows and harmless, incidents.
    """
    import pandas as pd

    rows, said = _found(job)
    incidents = [
        row for _, one in sorted(said.items()) if one.ref.rows for row in read(one.ref)[_READ].to_dict("records")
    ]
    parts, facts = [], dict[str, Any]()
    for stage_name, (key, target, *_) in LABELLED.items():
        one = rows.get(stage_name)
        frame = read(one.ref) if one is not None else pd.DataFrame({key: []})
        kept = harmless(frame, incidents, stage_name, job.options.slack.total_seconds())
        facts[stage_name] = {"rows": len(frame), "harmless": len(kept)}
        parts.append(pd.DataFrame({"entity_key": kept, target: 0.0}))
    frame = pd.concat(parts, ignore_index=True)
    facts["incidents"] = len({row["incident_id"] for row in incidents})
    return StageOutput(frame.astype({"entity_key": object, "is_attack": "float64", "attacked": "float64"}), facts)


def harmless(frame: pd.DataFrame, incidents: Iterable[Mapping[Any, Any]], of: str, slack: float) -> list[str]:
    """Keys of the rows that no incident has to do with.

    Args:
        frame: rows of the stage `of`, with `time`.
        incidents: rows of `correlate`, all of an incident's: one that was made beside another does not hold what that has.
        slack: seconds around what an incident saw of a name.
    """
    key, _, column, names = LABELLED[of]
    if frame.empty:
        return []
    spans, own = defaultdict[str, set[tuple[float, float]]](set), set[str]()
    for row in incidents:
        own.update(one for keys in json.loads(row[column]).values() for one in keys)
        for seen in json.loads(row["entities"]):
            name = seen["name"].partition("|")[0] if seen["kind"] == SWEEP else seen["name"]
            if seen["ties"]:
                spans[name].add((seconds(seen["first"]) - slack, seconds(seen["last"]) + slack))
    keys = frame[key].astype(str)
    left = keys.isin(own).to_numpy()
    at = frame["time"].map(seconds).to_numpy()
    for name in names:
        cells = frame[name].map(named)
        for number in cells.isin(spans.keys()).to_numpy().nonzero()[0]:
            left[number] |= any(first <= at[number] <= end for first, end in spans[cells.iloc[number]])
    return keys[~left].tolist()
