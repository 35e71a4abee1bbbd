"""The stage that looks values up elsewhere: a tool of the pack's `tools.yaml`, asked over HTTP, cached, behind a breaker."""

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd
from pydantic import Field

from baton.data.datasets import read
from baton.errors import BatonError
from baton.governance import content
from baton.lookups.looking import MISSING, LookedUp
from baton.lookups.looking import look_up as look_all_up
from baton.specs.base import Spec
from baton.specs.tool import ToolSpec
from baton.stages.job import StageJob
from baton.stages.slots import StageOutput, recomputed_after
from baton.stages.step import engine_step

_TYPES: dict[str, Any] = {
    "text": "string",
    "list": "string",
    "integer": "Int64",
    "number": "Float64",
    "flag": "boolean",
}


class LookUpOptions(Spec):
    """Options of `look_up`."""

    tool: str = Field(description="name in the pack's tools.yaml")
    column: str = Field(description="whose values are looked up; an empty cell is none")
    lists: bool = Field(default=False, description="a cell is a JSON list of values")


def _state(job: StageJob[LookUpOptions]) -> dict[str, Any]:
    """The tool as declared; and a result that was degraded is not the last word: a repetition asks again."""
    return {"tool": job.load_pack().tool(job.options.tool).model_dump(mode="json"), "after": recomputed_after(job.slot)}


@engine_step(LookUpOptions, fingerprint=_state, uses=lambda job: content.table_of(job.pack, "tools"))
def look_up(job: StageJob[LookUpOptions]) -> StageOutput:
    """Look the distinct values of a column up. Inputs: `data`.

    Returns:
        one row per distinct value: value (text), the fields of the tool's answer (null where there is none; a list as
        JSON), known (False: the tool answered that it does not know the value; null: no answer), source (live, cached,
        stale, missing), age_seconds. Facts: tool, values, asked, live, cached, stale, missing, unknown, `degraded`.

    Raises:
        SpecError: the pack has no such tool.
        BatonError: no such column, a cell that is no list; or the tool is `required` and a value has no answer.
    """
    tool = job.load_pack().tool(job.options.tool)
    values = list(_values(read(job.inputs["data"]), job))
    found = look_all_up(tool, f"{job.pack}/{tool.name}", values, lambda: job.connections.http(tool.conn_id))
    missing = sum(row.source == MISSING for row in found.rows)
    if tool.required and missing:
        raise BatonError(
            f"stage {job.flow}.{job.stage}: {found.sentence(tool)}; tools.yaml says that it is required, so the flow waits: "
            "a retry asks for the rest only"
        )
    return StageOutput(_frame(tool, found.rows), found.facts(tool))


def _values(frame: pd.DataFrame, job: StageJob[LookUpOptions]) -> Iterator[str]:
    column = job.options.column
    if column not in frame:
        has = ", ".join(map(str, frame))
        raise BatonError(f"stage {job.flow}.{job.stage}: there is no column {column} to look up; there are {has}")
    for number, cell in enumerate(frame[column].tolist(), start=1):
        if job.options.lists:
            yield from _listed(cell, f"stage {job.flow}.{job.stage}, row {number}, column {column}")
        elif not pd.isna(cell) and str(cell) != "":
            yield str(cell)


def _listed(cell: Any, where: str) -> Iterator[str]:
    if not isinstance(cell, str):
        if pd.isna(cell):
            return
        raise BatonError(f"{where}: is no JSON list of values, which the option `lists` promises")
    try:
        found = json.loads(cell)
    except ValueError:
        found = None
    if not isinstance(found, list) or any(isinstance(one, list | dict) for one in found):
        raise BatonError(f"{where}: is no JSON list of values, which the option `lists` promises")
    yield from (str(one) for one in found if one is not None and one != "")


def _frame(tool: ToolSpec, rows: list[LookedUp]) -> pd.DataFrame:
    columns: dict[str, Any] = {"value": pd.array([row.value for row in rows], dtype="string")}
    for name, declared in tool.answer.items():
        plain = declared.removesuffix("?")
        cells = [None if row.answer is None else row.answer[name] for row in rows]
        if plain == "list":
            cells = [None if cell is None else json.dumps(cell, ensure_ascii=False) for cell in cells]
        columns[name] = pd.array(cells, dtype=_TYPES[plain])
    columns["known"] = pd.array([row.known for row in rows], dtype="boolean")
    columns["source"] = pd.array([row.source for row in rows], dtype="string")
    columns["age_seconds"] = pd.array([row.age for row in rows], dtype="Float64")
    return pd.DataFrame(columns)
