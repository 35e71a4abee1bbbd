"""What a tool's answer must look like: the declared fields, each of its type; anything else is a failure of the tool."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from baton.data.fit import flaw

LONGEST = 10_000  # characters of a text
MOST = 1_000  # entries of a list
_WHOLE = 2**63  # what a column of 64 bits holds


class NotAsDeclared(ValueError):
    """An answer is not what `tools.yaml` says; the message names the field, never a value."""


def read(body: bytes, declared: Mapping[str, str]) -> dict[str, Any]:
    """The declared fields of an answer's JSON object; what it says besides is left out.

    Raises:
        NotAsDeclared: it is no JSON object, or a field is missing or of another type.
    """
    try:
        found = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise NotAsDeclared("the answer is no JSON") from error
    return checked(found, declared)


def checked(found: Any, declared: Mapping[str, str]) -> dict[str, Any]:
    """The declared fields of an answer. Raises NotAsDeclared: one is missing or of another type."""
    if not isinstance(found, dict):
        raise NotAsDeclared(f"the answer is {_kind(found)}, not an object")
    kept: dict[str, Any] = {}
    for name, type_ in declared.items():
        if name not in found:
            raise NotAsDeclared(f"the answer has no field `{name}`")
        value, plain = found[name], type_.removesuffix("?")
        if value is None and type_.endswith("?"):
            kept[name] = None
            continue
        if not _FITS[plain](value):
            raise NotAsDeclared(f"field `{name}` of the answer should be {plain}, it is {_kind(value)}")
        kept[name] = float(value) if plain == "number" else value
    return kept


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _text(value: Any) -> bool:
    return isinstance(value, str) and flaw(value, LONGEST) is None


def _integer(value: Any) -> bool:
    return type(value) is int and -_WHOLE <= value < _WHOLE


def _number(value: Any) -> bool:
    return _integer(value) or (isinstance(value, float) and math.isfinite(value))


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _list(value: Any) -> bool:
    plain = (_text, _number, _flag)
    return isinstance(value, list) and len(value) <= MOST and all(any(fits(one) for fits in plain) for one in value)


_FITS: dict[str, Callable[[Any], bool]] = {
    "text": _text, "integer": _integer, "number": _number, "flag": _flag, "list": _list,
}  # fmt: skip


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names: dict[type, str] = {
        str: "text",
        int: "integer",
        float: "number",
        bool: "flag",
        list: "list",
        dict: "an object",
    }
    odd = {
        str: " with characters that are none, or too long",
        list: " of other things, or too long",
        float: " without end",
    }
    kind = type(value)
    return names.get(kind, kind.__name__) + (odd.get(kind, "") if _odd(value) else "")


def _odd(value: Any) -> bool:
    """Of the right kind, yet not acceptable."""
    return (
        (isinstance(value, str) and not _text(value))
        or (isinstance(value, list) and not _list(value))
        or (isinstance(value, float) and not math.isfinite(value))
    )
