"""Writes a spec as YAML with every field's description beside it, straight from the pydantic models."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from datetime import timedelta
from textwrap import wrap
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from baton.specs.base import format_duration

_WIDTH = 108


def commented(model: type[BaseModel], values: Mapping[str, Any], indent: int = 0) -> Iterator[str]:
    """Lines of YAML for `values`, in the model's order of fields, each with its description.

    Fields that are not in `values` and have a default are written as comments, so that a reader sees what
    else there is.
    """
    pad = " " * indent
    for name, info in model.model_fields.items():
        text = info.description or ""
        if name in values:
            yield from _field(name, values[name], info.annotation, text, indent)
        elif info.default is not PydanticUndefined and not isinstance(info.default, BaseModel):
            yield from _line(f"{pad}# {name}: {inline(_as_written(info.default))}", text, f"{pad}# ")


def inline(value: Any) -> str:
    """One value on one line, as YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("\n...\n").strip()


def _as_written(value: Any) -> Any:
    """A default as a YAML author would write it."""
    if isinstance(value, timedelta):
        return format_duration(value)
    return list(value) if isinstance(value, tuple) else value


def _field(name: str, value: Any, annotation: Any, text: str, indent: int) -> Iterator[str]:
    pad = " " * indent
    model = _model_in(annotation)
    if model is not None and isinstance(value, Mapping):
        yield from _line(f"{pad}{name}:", text, pad)
        yield from commented(model, value, indent + 2)
    elif model is not None and isinstance(value, list) and value:
        yield from _line(f"{pad}{name}:", text, pad)
        for item in value:
            yield (f"{pad}  - {inline(item)}" if len(inline(item)) < _WIDTH - indent else _block(item, indent + 2))
    elif isinstance(value, Mapping) and len(inline(value)) > _WIDTH - 30:
        yield from _line(f"{pad}{name}:", text, pad)
        for key, item in value.items():
            yield f"{pad}  {inline(key)}: {inline(item)}"
    else:
        yield from _line(f"{pad}{name}: {inline(value)}", text, pad)


def _line(code: str, text: str, pad: str) -> Iterator[str]:
    """Puts the description behind the line, or above it where that would be too long."""
    if text and len(code) + len(text) + 3 > _WIDTH:
        lead = pad if pad.endswith("# ") else f"{pad}# "
        yield from wrap(text, _WIDTH, initial_indent=lead, subsequent_indent=lead)
        yield code
    else:
        yield f"{code}  # {text}" if text else code


def _block(value: Mapping[str, Any], indent: int) -> str:
    pad = " " * indent
    lines = [f"{pad}{'- ' if n == 0 else '  '}{key}: {inline(item)}" for n, (key, item) in enumerate(value.items())]
    return "\n".join(lines)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model inside `Model | None`, `tuple[Model, ...]` or an annotation around them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, tuple) or hasattr(annotation, "__metadata__"):
        found = [_model_in(argument) for argument in get_args(annotation)]
        return next((model for model in found if model is not None), None)
    return None
