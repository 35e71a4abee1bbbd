"""Sigma rules as the pack runs them: SQL conditions and correlations, every mistake with file and line.

A file holds one rule, or several behind `---`. A rule of a log source that the events hold drops in as it is published. What cannot
work is a mistake, never a rule that silently finds nothing: an unknown log source or field, a modifier or correlation that is not
supported, a rule that could only match by fields which the events do not carry. Where such a field is but one way of several, it
is noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationCondition, SigmaCorrelationRule, SigmaCorrelationType
from sigma.exceptions import SigmaRuleNotFoundError
from sigma.rule import SigmaRule

from baton.packs.spec_file import Problem, did_you_mean, raise_for
from baton.packs.yaml_marks import Loc
from baton_packs.incident_response.detection.conditions import condition_of
from baton_packs.incident_response.detection.engine import sql_mistake
from baton_packs.incident_response.detection.sigma_files import LEVELS, SigmaDocument, documents_of, rule_files
from baton_packs.incident_response.detection.taxonomy import ABSENT, LOG_SOURCES, LOOK_BACK, Attack, attack_of

CONFIDENCE = {"stable": 0.9, "test": 0.7, "experimental": 0.5}
"""How sure a rule of that status is, 0..1."""
CORRELATIONS = (
    SigmaCorrelationType.EVENT_COUNT,
    SigmaCorrelationType.VALUE_COUNT,
    SigmaCorrelationType.TEMPORAL,
    SigmaCorrelationType.TEMPORAL_ORDERED,
)


@dataclass(frozen=True)
class CompiledRule:
    """One rule as it runs.

    Attributes:
        rule_id: its UUID as text.
        severity_id: 1 informational .. 5 critical.
        confidence: 0..1.
        harmless: what else may cause it, as its author says.
        alone: whether a match is an alert; a rule that only a correlation counts makes none.
        where: SQL over the events; empty for a correlation.
        columns: columns that the SQL looks at, for the reasons.
        correlation: set for a correlation.
    """

    rule_id: str
    title: str
    severity_id: int
    confidence: float
    attack: Attack
    harmless: tuple[str, ...]
    alone: bool = True
    where: str = ""
    columns: tuple[str, ...] = ()
    correlation: Correlation | None = None


@dataclass(frozen=True)
class Correlation:
    """What a correlation counts.

    Attributes:
        kind: event_count, value_count, temporal or temporal_ordered.
        rules: ids of the rules that it counts.
        group: columns whose values must be the same.
        seconds: length of its window.
        op, count: how many make a match; of temporal ones all rules unless said otherwise.
        column: what value_count counts; else empty.
    """

    kind: str
    rules: tuple[str, ...]
    group: tuple[str, ...]
    seconds: int
    op: str
    count: float
    column: str = ""


def reach(rules: Sequence[CompiledRule]) -> dict[str, int]:
    """Seconds for which correlations need a rule's matches after they happened, by its id, also through others that they count.

    What completes an order is not needed any more when it happened. Args: rules: what a correlation counts before it.
    """
    made: dict[str, int] = {}
    for rule in reversed(rules):
        if (one := rule.correlation) is None:
            continue
        for number, counted in enumerate(one.rules):
            last = one.kind == "temporal_ordered" and number == len(one.rules) - 1
            made[counted] = max(made.get(counted, 0), made.get(rule.rule_id, 0) + (0 if last else one.seconds))
    return made


def load_rules(folder: Path) -> tuple[CompiledRule, ...]:
    """All rules of a folder, those that a correlation counts before it; read again only when a file is another.

    Raises:
        SpecError: lists every mistake with file, line, what is wrong and what is allowed.
    """
    return _load(folder, tuple((str(path), path.stat().st_mtime_ns) for path in rule_files(folder)))


@lru_cache(maxsize=4)
def _load(folder: Path, _stamps: tuple[tuple[str, int], ...]) -> tuple[CompiledRule, ...]:
    rules, problems = read_rules(rule_files(folder))
    raise_for(problem for problem in problems if not problem.note)
    return tuple(rules)


def read_rules(paths: list[Path]) -> tuple[list[CompiledRule], list[Problem]]:
    """Reads rules; those without a mistake, and what is wrong with the others."""
    documents = documents_of(paths)
    sound = [document for document in documents if document.rule is not None]
    collection = SigmaCollection([document.rule for document in sound], resolve_references=False)
    correlations = [one for one in sound if isinstance(one.rule, SigmaCorrelationRule)]
    counted = {rule for document in correlations for rule in _resolve(document, collection)}
    made = _singles([one for one in sound if isinstance(one.rule, SigmaRule)], counted)
    waiting = [one for one in correlations if not one.problems]
    while waiting:  # a correlation may count correlations
        ready = [one for one in waiting if all(id(ref.rule) in made for ref in one.rule.rules)]
        for document in ready:
            found = _correlation(document, made)
            if found is not None:
                made[id(document.rule)] = _rule(document, id(document.rule) not in counted, correlation=found)
        if not ready:
            for document in waiting:
                document.problem(("correlation", "rules"), "counts a rule that has a mistake, or itself")
            break
        waiting = [one for one in waiting if one not in ready]
    seconds, back = reach(list(made.values())), LOOK_BACK * 300
    for document in correlations:
        rule = made.get(id(document.rule))
        if rule is not None and rule.correlation and rule.correlation.seconds + seconds.get(rule.rule_id, 0) > back:
            why = f"reaches further back than the {back // 60} minutes that detection looks, with what counts it"
            document.problem(("correlation", "timespan"), why, f"{back // 60}m altogether")
            del made[id(document.rule)]
    problems = [problem for document in documents for problem in document.problems]
    return list(made.values()), sorted(set(problems))


def _singles(documents: list[SigmaDocument], counted: set[int]) -> dict[int, CompiledRule]:
    """The rules that are no correlations, by the identity of pySigma's; `counted` make no alerts of their own."""
    made: dict[int, CompiledRule] = {}
    for document in documents:
        where, columns = condition_of(document)
        if where:
            made[id(document.rule)] = _rule(document, id(document.rule) not in counted, where=where, columns=columns)
    if sql_mistake(" OR ".join(rule.where for rule in made.values())):  # one look at all of them
        for document in documents:
            if id(document.rule) in made and (why := sql_mistake(made[id(document.rule)].where)):
                document.problem(("detection",), why)
                del made[id(document.rule)]
    return made


def _resolve(document: SigmaDocument, collection: SigmaCollection) -> set[int]:
    """Finds the rules that a correlation counts; returns those that make no alert of their own because of it."""
    rule = document.rule
    for position, reference in enumerate(rule.rules):
        try:
            reference.resolve(collection)
        except SigmaRuleNotFoundError:
            known = [str(one.name or one.id) for one in collection.rules]
            message = f"no rule `{reference.reference}`{did_you_mean(reference.reference, known)}"
            document.problem(("correlation", "rules", position), message, ", ".join(known))
    return set() if document.problems or rule.generate else {id(reference.rule) for reference in rule.rules}


def _correlation(document: SigmaDocument, made: dict[int, CompiledRule]) -> Correlation | None:
    rule, at = document.rule, "correlation"
    if rule.type not in CORRELATIONS:
        allowed = ", ".join(one.name.lower() for one in CORRELATIONS)
        document.problem((at, "type"), f"{rule.type.name.lower()} is not supported", allowed)
    if len(rule.aliases):
        document.problem((at, "aliases"), "is not supported", "rules that name the field alike")
    condition = rule.condition
    if condition is not None and not isinstance(condition, SigmaCorrelationCondition):
        document.problem(
            (at, "condition"), "a condition in words is not supported", "gt, gte, lt, lte, eq or neq with a number"
        )
        return None
    if document.problems:
        return None
    temporal = rule.type.name.lower().startswith("temporal")
    stated = condition if condition is not None and not (temporal and condition.count == len(rule.rules)) else None
    if temporal and stated is not None:
        document.problem(
            (at, "condition"), "a count of a temporal correlation is not supported", "no condition: all rules"
        )
        return None
    group = [_column(document, name, ("correlation", "group-by")) for name in rule.group_by or ()]
    counted = condition.fieldref if condition is not None else None
    if isinstance(counted, list):
        document.problem((at, "condition"), "several fields are not supported", "one field")
        return None
    column = _column(document, counted, (at, "condition", "field")) if counted else ""
    if document.problems:
        return None
    ids = tuple(made[id(reference.rule)].rule_id for reference in rule.rules)
    op, count = (condition.op.name.lower(), condition.count) if condition else ("gte", len(ids))
    names = tuple(name for name in group if name)
    return Correlation(rule.type.name.lower(), ids, names, int(rule.timespan.seconds), op, count, column or "")


def _column(document: SigmaDocument, name: str, loc: Loc) -> str | None:
    """The column of a field that a correlation groups or counts by: the same in all log sources."""
    columns = {column for source in LOG_SOURCES.values() if (column := source.column(name))}
    real = sorted(column for column in columns if not column.startswith(ABSENT))
    if len(real) != 1:
        document.problem(loc, f"no field `{name}` of the events", "User, src_ip, dst_ip, Computer, or a column's name")
        return None
    return real[0]


def _rule(document: SigmaDocument, alone: bool, **more: Any) -> CompiledRule:
    rule = document.rule
    status = rule.status.name.lower() if rule.status else ""
    return CompiledRule(
        rule_id=str(rule.id), title=str(rule.title), severity_id=LEVELS[rule.level.name.lower()],
        confidence=CONFIDENCE.get(status, 0.5), attack=attack_of([str(tag) for tag in rule.tags]),
        harmless=tuple(one for one in map(str, rule.falsepositives or ()) if one.lower() not in ("unknown", "none")),
        alone=alone, **more,
    )  # fmt: skip
