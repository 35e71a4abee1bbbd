"""From a parsed Sigma rule to SQL over the events, with columns instead of fields and the log source as a condition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.exceptions import SigmaError
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import AddConditionTransformation, FieldMappingTransformation
from sigma.rule import SigmaDetection, SigmaRule
from sigma.types import SigmaFieldReference

from baton.packs.spec_file import did_you_mean
from baton_packs.incident_response.detection.backend import FULLTEXT, EventsBackend, matches_absence
from baton_packs.incident_response.detection.sigma_files import Document, place, plain
from baton_packs.incident_response.detection.taxonomy import ABSENT, LOG_SOURCES, LogSource, names_of


def condition_of(document: Document) -> tuple[str, tuple[str, ...]]:
    """The rule's SQL and the columns it looks at; empty where it has a mistake."""
    rule = document.rule
    source = rule.logsource
    key = (source.category, source.product, source.service)
    known = LOG_SOURCES.get(key)
    if known is None:
        document.problem(
            ("logsource",), f"no events of the log source {names_of(key)}", "; ".join(map(names_of, LOG_SOURCES))
        )
        return "", ()
    mapping: dict[str, str] = {}
    for name in dict.fromkeys(_fields(rule)):
        column = known.column(name)
        if column is None:
            message = f"no field `{name}` in the log source {names_of(key)}{did_you_mean(name, known.names())}"
            document.problem(document.find(name), message, ", ".join(known.names()))
        else:
            mapping[name] = column
    if document.problems:
        return "", ()
    try:
        queries = EventsBackend(_pipeline(known, mapping)).convert_rule(rule)
        trees = [condition.parsed for condition in rule.detection.parsed_condition]
    except (SigmaError, TypeError, NotImplementedError, ValueError) as error:
        document.problem(place(document, error), plain(error))
        return "", ()
    if not any(True in _outcomes(tree) for tree in trees):
        missing = [name for name, column in mapping.items() if str(column).startswith(ABSENT)]
        document.problem(
            document.find(missing[0]), f"can never match: the events do not carry {', '.join(missing)}",
            "a rule that some other field can match",
        )  # fmt: skip
        return "", ()
    for name, stands_for in mapping.items():
        if str(stands_for).startswith(ABSENT):
            document.problem(document.find(name), f"the events do not carry `{name}`: it never compares", note=True)
    columns = {str(column) for column in mapping.values() if not str(column).startswith(ABSENT)}
    columns |= {FULLTEXT} if any(_is_word(leaf) for tree in trees for leaf in _leaves(tree)) else set()
    return " OR ".join(f"({query})" for query in queries), tuple(sorted(columns))


def _pipeline(source: LogSource, mapping: dict[str, str]) -> ProcessingPipeline:
    named: dict[str | None, str | list[str]] = {}
    named.update(mapping.items())
    items = [ProcessingItem(FieldMappingTransformation(named))]
    if source.where:  # a name with `_` in front is none of `them`
        items.append(ProcessingItem(AddConditionTransformation(dict(source.where), name="_log_source")))
    return ProcessingPipeline(items=items)


def _fields(rule: SigmaRule) -> Iterator[str]:
    """Fields that a rule's detections name, those that it compares with included."""

    def of(detection: SigmaDetection) -> Iterator[str]:
        for item in detection.detection_items:
            if isinstance(item, SigmaDetection):
                yield from of(item)
                continue
            if item.field:
                yield item.field
            yield from (value.field for value in item.value if isinstance(value, SigmaFieldReference))

    for detection in rule.detection.detections.values():
        yield from of(detection)


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, ConditionAND | ConditionOR | ConditionNOT):
        for arg in tree.args:
            yield from _leaves(arg)
    elif tree is not None:
        yield tree


def _is_word(leaf: Any) -> bool:
    return isinstance(leaf, ConditionValueExpression)


def _outcomes(tree: Any) -> set[bool]:
    """What a condition can come to, given that some fields are never there."""
    if isinstance(tree, ConditionNOT):
        return {not one for one in _outcomes(tree.args[0])}
    if isinstance(tree, ConditionAND | ConditionOR):
        parts = [_outcomes(arg) for arg in tree.args]
        wins = isinstance(tree, ConditionOR)  # one is enough
        found = {wins} if any(wins in part for part in parts) else set()
        return found | ({not wins} if all((not wins) in part for part in parts) else set())
    if isinstance(tree, ConditionFieldEqualsValueExpression) and tree.field.startswith(ABSENT):
        return {matches_absence(tree.value)}
    return {True, False}
