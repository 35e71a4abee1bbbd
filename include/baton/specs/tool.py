"""Tools: what a flow may look up elsewhere, from `tools.yaml` of a pack: address, form of the answer, limits, breaker."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, RootModel, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from baton.specs.base import Name, Share, Spec, named_by_key

AnswerType = Literal[
    "text", "integer", "number", "flag", "list", "text?", "integer?", "number?", "flag?", "list?"
]  # fmt: skip
RESERVED = ("value", "known", "source", "age_seconds")  # columns of a look-up's result besides the answer's


def _asks_for_a_value(path: str) -> str:
    if path.count("{value}") != 1 or re.sub(r"\{value\}", "", path).strip("/") == "":
        raise ValueError(
            "should be a path below the connection's address that holds {value} once, such as assets/{value}"
        )
    if "{" in path.replace("{value}", "") or "://" in path:
        raise ValueError("should hold no other placeholder than {value}, and no address: that is the connection's")
    return path


class BreakerSpec(Spec):
    """When a tool is no longer asked, and when it is tried again."""

    failures: int = Field(default=5, ge=1, le=100, description="so many failures in a row open the breaker")
    share: Share = Field(default=0.5, description="so large a share of the last `of` answers opens it as well")
    of: int = Field(default=20, ge=5, le=1000, description="answers that `share` is of")
    pause_seconds: float = Field(
        default=30.0, gt=0, le=86_400, description="open so long before one question tries again; doubled each time"
    )
    longest_pause_seconds: float = Field(default=900.0, gt=0, le=86_400, description="and never longer than that")


class ToolSpec(Spec):
    """Something that knows more about a value: asked by `GET path`, its answer a JSON object."""

    name: SkipJsonSchema[str] = Field(default="", description="set from the key in tools.yaml, never written there")
    description: str = Field(min_length=1, description="what it knows, and who runs it")
    conn_id: str = Field(min_length=1, description="Airflow HTTP connection: host, headers, log-in")
    path: Annotated[str, AfterValidator(_asks_for_a_value)] = Field(
        description="below the connection's address, with {value}, such as assets/{value}"
    )
    answer: dict[Name, AnswerType] = Field(
        min_length=1,
        description="fields of the answer that are kept, and their types; `text?` may be null. An answer without one of "
        "them, or of another type, is a failure of the tool",
    )
    pii: bool = Field(default=False, description="the values are personal: the cache knows them by their digest only")
    required: bool = Field(
        default=False, description="a value without any answer stops the flow; else its row says `missing`"
    )
    ttl_seconds: int = Field(default=3600, ge=0, description="an answer of that age is asked for anew")
    keep_seconds: int = Field(
        default=30 * 86_400,
        ge=60,
        description="an answer of that age goes from the cache: it stands in for none any more",
    )
    per_second: float = Field(
        default=50.0, gt=0, le=10_000, description="questions per second, at most, of all tasks of a machine"
    )
    at_once: int = Field(
        default=8, ge=1, le=64, description="questions that one task has open at the same time, at most"
    )
    timeout_seconds: float = Field(default=5.0, gt=0, le=120, description="for one answer")
    budget_seconds: float = Field(
        default=60.0, gt=0, le=600, description="for all questions of a stage; what is left is taken from the cache"
    )
    breaker: BreakerSpec = Field(default_factory=BreakerSpec, description="when it is left in peace")

    @field_validator("answer")
    @classmethod
    def _no_column_twice(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name in RESERVED:
                raise ValueError(f"{name}: is a column of every look-up's result ({', '.join(RESERVED)})")
        return value

    @model_validator(mode="after")
    def _kept_while_good(self) -> Self:
        if self.keep_seconds < self.ttl_seconds:
            raise ValueError("keep_seconds: an answer cannot go before it is old (ttl_seconds)")
        return self


class ToolsSpec(RootModel[dict[Name, ToolSpec]]):
    """The file tools.yaml: every tool of the pack by name."""

    @model_validator(mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return named_by_key(value, "tool")
