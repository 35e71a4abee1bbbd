"""Contracts: what a hand-over of rows promises, in the vocabulary of Great Expectations."""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from baton.specs.base import Column, Name, Seq, Share, Spec, parse_duration

PLACEHOLDERS = ("{start}", "{end}")  # of the rows' partition: the first moment in it, the first behind it
_MOMENT = re.compile(r"^\{(?P<name>start|end)(?:(?P<sign>[+-])(?P<span>(?:[1-9]\d*[smhdw])+))?\}$")
_RANGE = re.compile(r"^(?P<head>[^{}]*)\{(?P<first>\d+)\.\.(?P<last>\d+)\}(?P<tail>[^{}]*)$")


Key = Annotated[
    tuple[Column, ...],
    BeforeValidator(
        lambda value: (value,) if isinstance(value, str) else tuple(value) if value.__class__ is list else value
    ),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class ColumnSpec(Spec):
    """One column: its type, whether it may be empty, and how personal it is."""

    type: Literal["int", "float", "str", "bool", "timestamp"] = Field(
        description="what cells are converted to; one that does not convert is quarantined (rule `type`)"
    )
    nullable: bool = Field(default=False, description="whether the cell may be empty")
    pii: Literal["none", "quasi", "direct"] | None = Field(
        default=None,
        description="personal data: none, quasi (identifies together with others), direct (shown to people who may decide "
        "and to nobody else). Where nothing is said it counts as none, but a pack of evidence shows its numbers only",
    )
    description: str = Field(default="", description="what the column means, with its unit")
    spans: Column | None = Field(
        default=None,
        description="for decisions: the cell is a JSON list of {field, value, start, end, confidence}, and start and end "
        "are places in this column of the source row; the decision card shows each value where it stands",
    )
    shows: Literal["timeline", "graph"] | None = Field(
        default=None,
        description="for decisions: the decision card draws the cell. timeline: a JSON list of {at, text} and perhaps state "
        "(good, warn, bad) and ids (of actions' evidence that it explains); graph: a JSON object of nodes {id, kind} and perhaps label, state, and edges [from, to, text]",
    )

    @model_validator(mode="after")
    def _drawn_are_text(self) -> Self:
        for name in ("spans", "shows"):
            if getattr(self, name) is not None and self.type != "str":
                raise ValueError(f"{name}: what the decision card draws is JSON, so the column's type is str")
        return self


class RuleMeta(Spec):
    """How people see an expectation."""

    rule: Name = Field(description="short name of the rule in quarantine and in the ledger")
    advice: str = Field(default="", description="what a person should do with a row that breaks it")


class ExpectationSpec(Spec):
    """One expectation of Great Expectations, with the weight of breaking it."""

    type: str = Field(pattern=r"^expect_[a-z0-9_]+$", description="name of the expectation as GX writes it")
    kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="its arguments, as GX names them; {start} and {end} stand for those of the rows' partition, {start-1d} "
        "for a day earlier",
    )
    severity: Literal["critical", "warning", "info"] = Field(
        description="critical stops the run, warning quarantines the rows it names, info is only recorded"
    )
    meta: RuleMeta = Field(description="the rule's short name and the advice shown with it")

    @property
    def of_partition(self) -> bool:
        """Whether it can be judged only where the rows are those of a partition."""
        return any(is_moment(value) for value in self.kwargs.values())


def is_moment(value: object) -> bool:
    """Whether an argument stands for a moment of the rows' partition: `{start}`, `{end}`, `{start-1d}`, `{end+5m}`."""
    return isinstance(value, str) and _MOMENT.match(value) is not None


def moment(value: str, start: datetime, end: datetime) -> datetime:
    """The moment that such an argument stands for.

    Args:
        start, end: of the rows' partition.

    Raises:
        ValueError: it is none (`is_moment`).
    """
    match = _MOMENT.match(value)
    if match is None:
        raise ValueError(f"`{value}` is no moment of a partition; write {{start}}, {{end}} or {{start-1d}}")
    span = parse_duration(match["span"]) if match["span"] else timedelta(0)
    return (start if match["name"] == "start" else end) + (-span if match["sign"] == "-" else span)


def _expand_ranges(value: Any) -> Any:
    """Writes `v{1..28}: {...}` out as 28 columns, so that wide tables stay readable."""
    if not isinstance(value, dict):
        return value
    columns: dict[Any, Any] = {}
    for name, body in value.items():
        for column in expand_range(name) if isinstance(name, str) else [name]:
            if column in columns:
                raise ValueError(f"column `{column}` is described twice (by `{name}` and before)")
            columns[column] = body
    return columns


def expand_range(name: str) -> list[str]:
    """Expands one range in a column name: `v{1..3}` is v1, v2, v3; other names stay as they are.

    Raises:
        ValueError: the range runs backwards or names more than 10,000 columns.
    """
    match = _RANGE.match(name)
    if match is None:
        return [name]
    first, last = int(match["first"]), int(match["last"])
    if not first <= last < first + 10_000:
        raise ValueError(f"`{name}`: a range counts upwards and names at most 10,000 columns")
    return [f"{match['head']}{number}{match['tail']}" for number in range(first, last + 1)]


class ContractSpec(Spec):
    """One hand-over: the columns, the rules, and how much may go wrong before the run stops."""

    contract: Name = Field(description="name of the contract, the same as the file's")
    version: int = Field(ge=1, description="raise it with every change; verdicts record it")
    owner: str = Field(min_length=1, description="who answers for it: a person or a team")
    description: str = Field(min_length=1, description="what is handed over, by whom, to whom")
    key: Key = Field(
        min_length=1,
        description="the column that identifies a row in quarantine, cases and trace; several: [series, period]",
    )
    columns: Annotated[dict[Column, ColumnSpec], BeforeValidator(_expand_ranges)] = Field(
        min_length=1,
        description="every column by name; `v{1..28}` describes 28 at once. A missing column stops the run "
        "(`sparse` says which does not), one that is not listed is dropped and recorded",
    )
    sparse: bool = Field(
        default=False,
        description="rows name only the cells that they have, as JSON objects do: a `nullable` column that no row has is empty, "
        "which the verdict says; any other still stops the run",
    )
    tolerated: Share = Field(
        default=0.05, description="share of rows that may be quarantined; above it the whole partition is broken"
    )
    expectations: Seq[ExpectationSpec] = Field(default=(), description="the rules, checked in one validation")

    @model_validator(mode="after")
    def _key_is_a_column(self) -> Self:
        for column in self.key:
            if column not in self.columns:
                raise ValueError(f"key: `{column}` is not among the columns")
            if self.personal([column]):
                raise ValueError(f"key: `{column}` is pii: direct, and keys stand in addresses, logs and the ledger")
        return self

    def personal(self, columns: Iterable[str]) -> bool:
        """Whether one of these columns is direct personal data."""
        return any(name in self.columns and self.columns[name].pii == "direct" for name in columns)

    @field_validator("expectations")
    @classmethod
    def _rules_differ(cls, value: tuple[ExpectationSpec, ...]) -> tuple[ExpectationSpec, ...]:
        seen: set[str] = set()
        for expectation in value:
            if expectation.meta.rule in seen:
                raise ValueError(f"two expectations share the rule name `{expectation.meta.rule}`")
            seen.add(expectation.meta.rule)
        return value
