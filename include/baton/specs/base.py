"""The base of every YAML model: strictness, names, durations, cron lines.

Specs are strict (a string is never taken for a number), frozen and refuse unknown keys, so a misspelt key
fails before anything runs. Each field carries a description: it becomes the JSON Schema that editors show and
the comments that `baton new` writes.
"""

import re
from datetime import timedelta
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

T = TypeVar("T")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:\d+[smhdw])+")


class Spec(BaseModel):
    """Base of all YAML models: strict, immutable, unknown keys refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", validate_default=True)


def named_by_key(value: Any, what: str) -> Any:
    """Gives each entry of a file its key as `name`; what is no mapping is left to the types.

    Raises:
        ValueError: an entry has another name of its own.
    """
    if not isinstance(value, dict):
        return value
    named: dict[Any, Any] = {}
    for name, body in value.items():
        if isinstance(body, dict):
            if body.get("name", name) != name:
                raise ValueError(f"{name}: a {what} is named by its key; remove `name`")
            body = {**body, "name": name}
        named[name] = body
    return named


def parse_duration(text: object) -> timedelta:
    """Turns "30m", "24h", "7d", "2w" or a sum such as "1d12h" into a timedelta.

    Raises:
        ValueError: the text is something else, or the duration is zero.
    """
    if isinstance(text, timedelta):
        return text
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        raise ValueError('should be a number with a unit s, m, h, d or w, such as "30m", "24h", "1d12h"')
    seconds = sum(int(part[:-1]) * _UNITS[part[-1]] for part in re.findall(r"\d+[smhdw]", text))
    if seconds == 0:
        raise ValueError("a duration must be longer than zero")
    return timedelta(seconds=seconds)


def format_duration(value: timedelta) -> str:
    """Writes a duration as the YAML does, in its largest whole unit: 48 hours is "2d", 90 minutes "90m"."""
    seconds = int(value.total_seconds())
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def _cron(text: str) -> str:
    from croniter import croniter  # only specs with a schedule pay for it

    if not croniter.is_valid(text):
        raise ValueError('should be a cron line of five fields or a preset, such as "0 3 * * 1" or "@hourly"')
    return text


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+[smhdw])+$", "examples": ["30m", "24h", "7d"]}),
]
Cron = Annotated[str, AfterValidator(_cron), Field(examples=["0 3 * * 1", "@hourly"])]
# YAML gives lists, a frozen spec holds tuples
Seq = Annotated[tuple[T, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]  # also a file name, a DAG id, a registry name
Column = Annotated[str, Field(min_length=1, max_length=128)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
InnerShare = Annotated[float, Field(gt=0.0, lt=1.0)]
