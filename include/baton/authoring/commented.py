"""YAML of a spec that explains itself: behind each `#` stands what a field means, or what holds without it."""

import textwrap
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from baton.specs.base import Spec, format_duration

_WIDTH = 120


def commented(model: type[BaseModel], values: Mapping[str, Any], depth: int = 0) -> str:
    """Writes a spec's fields in their order: those of `values`, the others as comments with their defaults.

    Args:
        values: by field; a mapping for a field that is a spec itself, a list of texts for lines that are written as they are.
    """
    lines: list[str] = []
    for name, field in model.model_fields.items():
        if field.description and (name in values or not field.is_required()):
            lines += _field(name, field, values, depth)
    return "\n".join(lines) + ("\n" if depth == 0 else "")


def _field(name: str, field: FieldInfo, values: Mapping[str, Any], depth: int) -> Iterator[str]:
    pad, value = "  " * depth, values.get(name)
    inner = next((kind for kind in (field.annotation, *get_args(field.annotation)) if _is_spec(kind)), None)
    if name not in values:
        yield from _line(pad, f"# {name}: {inline(field.get_default(call_default_factory=True))}", field)
    elif inner is not None and isinstance(value, Mapping):
        yield from _line(pad, f"{name}:", field)
        yield commented(inner, value, depth + 1)
    elif (
        isinstance(value, list)
        and value
        and all(isinstance(one, str) and one.startswith(("- ", "  ", "# ")) for one in value)
    ):
        yield from _line(pad, f"{name}:", field)
        yield from (f"{pad}  {line}" for line in value)
    else:
        yield from _line(pad, f"{name}: {inline(value)}", field)


def _line(pad: str, text: str, field: FieldInfo) -> Iterator[str]:
    whole = f"{pad}{text}  # {field.description}"
    if len(whole) <= _WIDTH:
        yield whole
        return
    for part in textwrap.wrap(str(field.description), _WIDTH - len(pad) - 4):
        yield f"{pad}#   {part}"  # more than one space: no field that is left out
    yield pad + text


def _is_spec(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Spec)


def inline(value: Any) -> str:
    """One value on one line, as YAML."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    elif isinstance(value, timedelta):
        value = format_duration(value)
    elif isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()
