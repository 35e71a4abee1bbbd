"""Reads one YAML file of a pack and says of every mistake where it is and what is allowed."""

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from baton.errors import SpecError
from baton.packs.yaml_marks import Loc, Marked, load_marked
from baton.specs.kinds import KINDS, Kind, ModelFile
from baton.specs.model import ESTIMATORS

M = TypeVar("M", bound=BaseModel)
_FIELD_PREFIX = re.compile(r"^(?P<path>[a-z_][\w.]*(?:/[\w./-]*)?(?:\[\d+\][\w.]*)*): (?P<message>.+)$", re.DOTALL)


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake: file, 1-based line, dotted field, what is wrong, what is allowed.

    With `note` nothing is wrong in the file: this machine lacks something that it names.
    """

    file: str
    line: int
    field: str
    message: str
    allowed: str = ""
    note: bool = False

    def __str__(self) -> str:
        allowed = f" Allowed: {self.allowed}." if self.allowed else ""
        end, kind = "" if self.message.endswith("?") else ".", "note: " if self.note else ""
        return f"{self.file}:{self.line}: {kind}{self.field + ': ' if self.field else ''}{self.message}{end}{allowed}"


@dataclass(frozen=True)
class SpecFile:
    """One file as read: the spec (None when something is wrong), the lines, the problems."""

    kind: Kind
    path: Path
    spec: Any
    marked: Marked
    problems: tuple[Problem, ...]

    def problem(self, loc: Loc, message: str, allowed: str = "") -> Problem:
        """A further problem at a field of this file."""
        return Problem(str(self.path), self.marked.line(loc), dotted(loc), message, allowed)


def read_spec(kind: Kind, path: Path) -> SpecFile:
    """Reads and validates one YAML file; everything that is wrong with it is in `problems`."""
    spec, marked, problems = read_as(KINDS[kind], path)
    own = spec.root if isinstance(spec, ModelFile) else spec
    return SpecFile(kind, path, own, marked, tuple(problems))


def read_as(model: type[M], path: Path) -> tuple[M | None, Marked, list[Problem]]:
    """Reads one YAML file as a pydantic model, None when something is wrong; with lines and problems."""
    marked, problems = read_marked(path)
    if any(problem.field == "" for problem in problems):
        return None, marked, problems
    found, more = check(model, path, marked)
    problems += more
    return None if problems else found, marked, problems


def read_marked(path: Path) -> tuple[Marked, list[Problem]]:
    """Reads a YAML file as plain data with lines; problems without a field mean that there are no data."""
    try:
        marked = load_marked(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        return Marked(), [Problem(str(path), 1, "", f"cannot be read: {error}")]
    return marked, [Problem(str(path), m.line, dotted(m.loc), m.message) for m in marked.mistakes]


def check(model: type[M], path: Path, marked: Marked, at: Loc = ()) -> tuple[M | None, list[Problem]]:
    """Validates a file's data, or what stands at one place of it, as a pydantic model.

    Returns:
        the model, None when something is wrong; the problems, their fields counted from that place.
    """
    data = _value_at(marked.data, at)
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        found = _explain(model, data, error)
        return None, [
            Problem(str(path), marked.line((*at, *loc)), dotted(loc), said, allowed) for loc, said, allowed in found
        ]


def raise_for(problems: Iterable[Problem]) -> None:
    """Raises SpecError with every problem, one a line; does nothing when there is none."""
    listed = sorted(set(problems))
    if listed:
        raise SpecError("\n".join(map(str, listed)))


def dotted(loc: Loc) -> str:
    """Writes ("gate", "slices", 0, "bins") as `gate.slices[0].bins`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".")


def did_you_mean(word: object, allowed: Iterable[str]) -> str:
    """Returns `, did you mean `x`?` for the closest allowed word, else an empty text.

    A dotted path is also compared by its last part, so that a class is found under any module.
    """
    words = list(allowed)
    close = difflib.get_close_matches(str(word), words, n=1, cutoff=0.6)
    if not close:
        tails = {w.rsplit(".", 1)[-1]: w for w in words}
        tail = str(word).rsplit(".", 1)[-1]
        close = [tails[t] for t in difflib.get_close_matches(tail, tails, n=1, cutoff=0.7)]
    return f", did you mean `{close[0]}`?" if close else ""


def _explain(model: type[BaseModel], data: Any, error: ValidationError) -> Iterator[tuple[Loc, str, str]]:
    """Place in `data`, what is wrong there, what is allowed."""
    by_field: dict[Loc, list[tuple[str, str]]] = {}
    for item in error.errors(include_url=False):
        loc = _written_loc(item["loc"], data, item["type"])
        if item["type"] == "too_short" and len(_value_at(data, loc) or ()) >= item["ctx"]["min_length"]:
            continue  # only because its items are wrong, and these are reported themselves
        tag = str(item.get("ctx", {}).get("discriminator", "")).strip("'")
        if item["type"] == "union_tag_not_found":  # a misspelt tag is named where it stands
            value = _value_at(data, loc)
            for wrong in difflib.get_close_matches(tag, [str(key) for key in value or ()], n=1, cutoff=0.7):
                tagged = {**value, tag: next(iter(_tags(model, loc, value)))}
                fields = list(_schema_at(model, loc, tagged).get("properties", {}))
                yield (*loc, wrong), f"unknown field{did_you_mean(wrong, [tag])}", ", ".join(fields)
        if item["type"].startswith("union_tag_"):
            loc = (*loc, tag)
        message = _plain(str(item.get("ctx", {}).get("error", item["msg"])))
        if item["type"] in ("value_error", "assertion_error"):
            prefix = _FIELD_PREFIX.match(message)
            if prefix is not None:
                loc = (*loc, *_split(prefix["path"]))
                message = prefix["message"]
        node = _schema_at(model, loc, data)
        by_field.setdefault(loc, []).append(_sentence(item, loc, message, node, model, data))
    for loc, sentences in by_field.items():
        message = " or ".join(dict.fromkeys(text for text, _ in sentences))
        allowed = " or ".join(dict.fromkeys(text for _, text in sentences if text))
        yield loc, message, allowed


def _sentence(
    item: Any, loc: Loc, message: str, node: dict[str, Any], model: type[BaseModel], data: Any
) -> tuple[str, str]:
    """What is wrong with one field, and what would be right."""
    match item["type"]:
        case "missing":
            return "is missing", _describe(node)
        case "extra_forbidden":
            fields = list(_schema_at(model, loc[:-1], data).get("properties", {}))
            return f"unknown field{did_you_mean(loc[-1], fields)}", ", ".join(fields)
        case "value_error" | "assertion_error":
            if "allow-list" in message:
                message += did_you_mean(_value_at(data, loc), ESTIMATORS)
            return message, _describe(node)
        case "literal_error" | "union_tag_invalid" | "union_tag_not_found":
            choices = _choices(node)
            value = _value_at(data, loc)
            message = "is missing" if value is None else f"`{value}` is not allowed{did_you_mean(value, choices)}"
            return message, ", ".join(choices)
        case "invalid_key":
            return "every key must be text (yes, no, on, off and numbers need quotes)", ""
    value = _value_at(data, loc)
    hint = ""
    if isinstance(value, bool) and item["type"] == "string_type":
        hint = " (YAML reads yes, no, on, off as true or false: put it in quotes)"
    elif value is None:
        hint = " (nothing is written there)"
    return f"is {_short(value)}{hint}, {message}", _describe(node)


def _plain(message: str) -> str:
    """Pydantic's sentence in the words of a YAML author."""
    message = message.replace("Input should be", "should be").replace("String should", "should")
    message = re.sub(r"a valid (tuple|list)", "a list", message)
    message = re.sub(r"a valid dictionary( or instance of \w+)?", "a block of fields", message)
    return message.rstrip(".")


def _written_loc(loc: tuple[Any, ...], data: Any, error_type: str) -> Loc:
    """Drops what pydantic puts into a location besides the user's own keys (names of union members)."""
    kept: list[str | int] = []
    at = data
    for position, part in enumerate(loc):
        if (isinstance(at, dict) and part in at) or (isinstance(at, list) and isinstance(part, int) and part < len(at)):
            at = at[part]
        elif not (position == len(loc) - 1 and error_type == "missing"):
            continue
        kept.append(part)
    return tuple(kept)


def _split(path: str) -> Loc:
    return tuple(int(part) if part.isdigit() else part for part in re.findall(r"\w+", path))


def _value_at(data: Any, loc: Loc) -> Any:
    for part in loc:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _short(value: object) -> str:
    text = repr(value)
    return f"`{text}`" if len(text) <= 60 else f"`{text[:57]}...`"


def _tags(model: type[BaseModel], loc: Loc, data: Any) -> list[str]:
    """The kinds of source, or the families of models."""
    properties = _schema_at(model, loc, {}).get("properties", {})
    return [tag for node in properties.values() for tag in _choices(node)]


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _schema_at(model: type[BaseModel], loc: Loc, data: Any) -> dict[str, Any]:
    """The JSON Schema of one field; empty when the field is not described."""
    root = _schema(model)
    node = _resolve(root, root, data)
    for part in loc:
        data = _value_at(data, (part,))
        if isinstance(part, int):
            child = node.get("items", {})
        else:
            by_pattern: Any = next(iter(node.get("patternProperties", {}).values()), {})
            child = node.get("properties", {}).get(part, node.get("additionalProperties") or by_pattern)
        if not isinstance(child, dict):
            return {}
        node = _resolve(root, child, data)
    return node


def _resolve(root: dict[str, Any], node: dict[str, Any], data: Any) -> dict[str, Any]:
    """Follows references and picks the member of a union that the data looks like."""
    merged = dict(node)
    if "$ref" in node:
        target = root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        merged = {**_resolve(root, target, data), **{k: v for k, v in node.items() if k != "$ref"}}
    members = [m for m in node.get("anyOf", []) if m.get("type") != "null"]
    if "oneOf" in node:  # one schema per kind of source, per family of models
        kinds, by = node["discriminator"]["mapping"], node["discriminator"]["propertyName"]
        kind = data.get(by) if isinstance(data, dict) else None
        if kind not in kinds:
            return {"properties": {by: {"enum": list(kinds)}}}
        members = [{"$ref": kinds[kind]}]
    if len(members) == 1:
        own = {k: v for k, v in node.items() if k not in ("anyOf", "oneOf")}
        merged = {**_resolve(root, members[0], data), **own}
    return merged


def _choices(node: dict[str, Any]) -> list[str]:
    if "const" in node:
        return [str(node["const"])]
    if "enum" in node:
        return [str(value) for value in node["enum"] if value is not None]
    return [choice for member in node.get("anyOf", []) for choice in _choices(member)]


def _describe(node: dict[str, Any]) -> str:
    """What a field may hold, in words made from its schema, and what it means."""
    members = node.get("anyOf", [node])
    names = {"object": "a block of fields", "array": "a list", "integer": "a whole number", "number": "a number"}
    names |= {"string": "text", "boolean": "true or false", "null": "null"}
    kinds = ", ".join(", ".join(_choices(m)) or names.get(m.get("type", ""), "") for m in members)
    limits = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    parts = [kinds, " and ".join(f"{sign} {node[key]:g}" for key, sign in limits.items() if key in node)]
    if "examples" in node:
        parts.append("such as " + ", ".join(f'"{e}"' for e in node["examples"]))
    elif "pattern" in node:
        parts.append(f"matching {node['pattern']}")
    meaning = f"({node['description']})" if "description" in node else ""
    return " ".join(part for part in [*parts, meaning] if part)
