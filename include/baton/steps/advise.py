"""The stage that asks an agent about the rows that deserve it; a row that gets no accepted answer gets the template."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import Connection

from baton.agents.asking import Answer, Caller
from baton.agents.calls import FALLBACK, Limits
from baton.agents.case import AgentQuestion
from baton.agents.paid import DEGRADED, Purse, Rung, bound
from baton.agents.records import Records, open_records
from baton.agents.spec import META, AgentSpec, Critic
from baton.errors import BatonError, SpecError
from baton.governance import content
from baton.progress import told
from baton.record import ledger, warehouse
from baton.specs.budgets import CASE, ENDS, TEMPLATE
from baton.stages.connections import NoModel
from baton.stages.job import StageJob
from baton.stages.journal import Journal
from baton.stages.run import read_inputs
from baton.stages.slots import ATTEMPT, StageOutput
from baton.stages.step import engine_step, resolve
from baton.tracking.prompts import prompt_name
from baton.usage import budgets, used
from baton.usage.budgets import Hold
from baton.usage.used import NO_SLOT, Consumer


class AdviseOptions(Limits):
    """Options of `advise`."""

    agent: str = Field(min_length=1, description="dotted path `package.module:NAME` of an AgentSpec")
    conn_id: str = Field(default="agent", description="Airflow connection of the model; empty: templates only")
    params: dict[str, Any] = Field(default_factory=dict, description="keywords for the agent's `cases`")


def _state(job: StageJob[AdviseOptions]) -> dict[str, Any]:
    """Prompt, schema, code of the pack and the model's name: with all of them the same, nobody is asked twice."""
    options = job.options
    try:
        model = job.connections.model(options.conn_id).name if options.conn_id else ""
    except NoModel:
        model = ""
    return {"agent": _agent(job, options).state(), "model": model}


def _uses(job: StageJob[AdviseOptions]) -> list[content.Named]:
    """The agent's prompts, and whatever its functions may read."""
    spec = _agent(job, job.options)
    prompts = [spec.prompt, *([spec.critic.prompt] if isinstance(spec.critic, Critic) else [])]
    return [*map(content.owned, prompts), *content.read_by_code(job.pack)]


@engine_step(AdviseOptions, fingerprint=_state, uses=_uses)
def advise(job: StageJob[AdviseOptions]) -> StageOutput:
    """Ask the agent about each of its cases, in their order, within the limits and the budgets that the stage is under.

    Inputs: frames by the names that the agent's `cases` takes.

    Returns:
        one row per case: `entity_key`, the fields of the agent's output, `source` (agent, template, or case: a template that a budget
        wants a person to see), `reason` (why
        it is the template, or of another model; empty for an accepted answer of the connection's model), `model` (empty where none was asked), `prompt_sha`,
        `prompt_version` (in MLflow's registry; 0: not registered), `rounds` (drafts written), `input_tokens`, `output_tokens`, `seconds`. Facts: cases, asked, accepted, refused, templates, requests, tokens,
        seconds, `reasons` (counted) and `degraded` sentences. A committed result is never asked for again while inputs,
        options, prompt, code and model are the same: not even one made of templates.

    Raises:
        SpecError: an option is missing or unknown, or the agent is none.
        BatonError: what the agent's own functions raise: their frames are not what they need.
    """
    options = job.options
    spec = _agent(job, options)
    cases = spec.cases(**read_inputs(job.inputs), **spec.rules(), **options.params)
    caller, why = _caller(job, spec, options, options.conn_id, len(cases)) if cases else (None, "")
    purse, hold = _purse(job, spec, caller, len(cases)) if caller is not None else (Purse(None, rest=why), None)
    try:
        answers = [purse.ask(case) for case in told(cases, "agent asked", "cases")]
    finally:
        purse.close()
    records = caller.records if caller is not None else Records()
    facts = _facts(spec, answers, caller.model.name if caller is not None else "") | records.facts()
    if (dollars := purse.cost()) is not None:
        facts["cost"] = round(dollars, 6)
    if sentences := [*_degraded(spec, answers, options), *_not_kept(spec, caller)]:
        facts["degraded"] = sentences
    short = sum(answer.reason.startswith(DEGRADED) for answer in answers)
    if short:
        facts["over_budget"] = short
    if hold is not None and hold.waits:
        facts["raises_wait"] = hold.waits
    last = hold.short.spec.ladder[-1] if hold is not None and hold.short is not None else TEMPLATE
    frame = _frame(spec, cases, answers, records.prompts.get(prompt_name(spec.name), 0), last)

    def on_commit(conn: Connection, commit_id: int) -> None:
        used.record(conn, commit_id, _consumer(job), purse.uses(), hold.at if hold else "")
        if hold is not None:
            hold.settle(conn)
        if short and hold is not None and hold.short is not None:
            said = {"stage": job.stage, "budget": hold.short.key, "cases": short, "asked": hold.plan}
            ledger.append(conn, budgets.DEGRADED, f"{job.flow}/{job.partition}", said)
        # not before: a commit that fails is tried again, and asks for nothing that it has heard
        if caller is not None and caller.journal is not None:
            warehouse.after_commit(conn, caller.journal.clear)

    return StageOutput(frame, facts, on_commit)


def _agent(job: StageJob[AdviseOptions], options: AdviseOptions) -> AgentSpec:
    found: Any = resolve(options.agent)
    if not isinstance(found, AgentSpec):
        raise SpecError(
            f"stage {job.flow}.{job.stage}: option agent: {options.agent} is a {type(found).__name__}, not an AgentSpec"
        )
    return found


def _consumer(job: StageJob[AdviseOptions]) -> Consumer:
    fence = NO_SLOT if job.dry_run else ATTEMPT.get()
    return Consumer(job.pack, job.flow, job.stage, job.partition, job.slot.map_index, fence)


def _purse(job: StageJob[AdviseOptions], spec: AgentSpec, first: Caller, cases: int) -> tuple[Purse, Hold | None]:
    """Who is asked about how many cases; what is reserved for that, where there is a budget."""
    options = job.options
    under = budgets.of_stage(_consumer(job))
    if not under:
        return Purse(first, [Rung(first, cases)]), None
    callers = {options.conn_id: first}
    for conn_id in dict.fromkeys(name for one in under for name in one.spec.ladder if name not in ENDS):
        other, _ = _caller(job, spec, options, conn_id, 0, first.records)
        if other is not None:
            callers.setdefault(conn_id, other)
    bounds = {conn_id: bound(spec, options, one.model.prices) for conn_id, one in callers.items()}
    wanted = min(cases, options.max_calls)
    hold = budgets.reserve(_consumer(job), options.conn_id, bounds, wanted, options.timeout, job.dry_run)
    why = f"{DEGRADED} ({hold.short.name})" if hold.short is not None else ""
    rest = f"{why}, for a person" if hold.short is not None and hold.short.spec.ladder[-1] == CASE else why
    rungs = [Rung(callers[conn_id], many, why if conn_id != options.conn_id else "") for conn_id, many in hold.plan]
    return Purse(first, rungs, hold, rest or first.limit), hold


def _caller(
    job: StageJob[AdviseOptions],
    spec: AgentSpec,
    options: AdviseOptions,
    conn_id: str,
    cases: int,
    records: Records | None = None,
) -> tuple[Caller | None, str]:
    """Whom to ask, or why nobody is."""
    if not conn_id:
        return None, "no model is asked"
    try:
        model = job.connections.model(conn_id)
        # a dry run commits nothing that would end its journal
        journal = None if job.dry_run else Journal(job.slot.folder, {"agent": spec.state(), "model": model.name})
        kept = replace(records, prices=model.prices) if records else open_records(spec, job, cases, model.prices)
        return Caller(spec, model, options, kept, journal), ""
    except NoModel as error:
        return None, f"no model: {error}"


def _template(spec: AgentSpec, case: AgentQuestion) -> BaseModel:
    try:
        return spec.template(case)
    except ValidationError as error:  # its own text would quote the case in a task's log
        first = error.errors()[0]
        raise BatonError(
            f"agent {spec.name}: the template of case {case.key} breaks the output's schema: field "
            f"{'.'.join(map(str, first['loc']))}: {first['type']}; make it fit for any value of the case"
        ) from None


def _frame(spec: AgentSpec, cases: list[AgentQuestion], answers: list[Answer], version: int, last: str) -> pd.DataFrame:
    sha = spec.prompt_sha
    rows = []
    for case, answer in zip(cases, answers, strict=True):
        output = answer.output if answer.output is not None else _template(spec, case)
        reason = f"{answer.reason}: {answer.detail}" if answer.detail else answer.reason
        without = last if answer.reason.startswith(DEGRADED) else TEMPLATE
        rows.append(
            {
                "entity_key": case.key, **_columns(output), "source": without if answer.output is None else "agent",
                "reason": reason, "model": answer.model, "prompt_sha": sha, "prompt_version": version,
                "rounds": answer.rounds, "input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens,
                "seconds": round(answer.seconds, 3),
            }
        )  # fmt: skip
    frame = pd.DataFrame(rows, columns=["entity_key", *spec.output.model_fields, *META[1:]])
    counts = dict.fromkeys(("prompt_version", "rounds", "input_tokens", "output_tokens"), "int64")
    return frame.astype(dict.fromkeys(META, "string") | counts | {"seconds": "float64"})


def _columns(output: BaseModel) -> dict[str, Any]:
    """An output as cells: what is no text or number, as JSON."""
    return {
        name: value if value is None or isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)
        for name, value in output.model_dump(mode="json").items()
    }


def _facts(spec: AgentSpec, answers: list[Answer], model: str) -> dict[str, Any]:
    kinds = Counter(answer.kind for answer in answers)
    return {
        "agent": spec.name, "model": model, "prompt_sha": spec.prompt_sha, "cases": len(answers),
        "asked": len(answers) - kinds["skipped"], "accepted": kinds["accepted"], "refused": kinds["refused"],
        "templates": len(answers) - kinds["accepted"], "requests": sum(answer.requests for answer in answers),
        "calls": sum(answer.calls for answer in answers), "replayed": sum(answer.replayed for answer in answers),
        "tool_calls": sum(answer.tool_calls for answer in answers),
        "answered_by": dict(Counter(answer.model for answer in answers if answer.output is not None)),
        "redrafts": sum(max(0, answer.rounds - 1) for answer in answers),
        "input_tokens": sum(answer.input_tokens for answer in answers),
        "output_tokens": sum(answer.output_tokens for answer in answers),
        "seconds": round(sum(answer.seconds for answer in answers), 3),
        "reasons": dict(Counter(answer.reason for answer in answers if answer.output is None)),
    }  # fmt: skip


def _not_kept(spec: AgentSpec, caller: Caller | None) -> list[str]:
    """What was not traced or kept, of a run that asked somebody; which answers came from a fallback is no loss."""
    if caller is None:
        return []
    kept = [f"agent {spec.name}: {caller.journal.problem}"] if caller.journal and caller.journal.problem else []
    return [*caller.records.degraded(spec.name), *kept]


def _degraded(spec: AgentSpec, answers: list[Answer], options: AdviseOptions) -> list[str]:
    """How many texts are templates and why, and which came from a fallback; nothing where no model was wanted."""
    if not options.conn_id:
        return []
    why: Mapping[str, int] = Counter(answer.reason for answer in answers if answer.output is None)
    reasons = "; ".join(f"{reason} ({count})" for reason, count in why.items())
    said = [f"agent {spec.name}: {sum(why.values())} of {len(answers)} answers are templates: {reasons}"] if why else []
    others = Counter(answer.model for answer in answers if FALLBACK in answer.model)
    others |= Counter(f"{a.model}: {a.reason}" for a in answers if a.output is not None and a.reason)
    return said + [f"agent {spec.name}: {count} cases were answered by {model}" for model, count in others.items()]
