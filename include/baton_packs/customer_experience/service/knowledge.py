"""What the bank knows about its service: the routing table of intents and the answers of the knowledge base.

`content/intents.yaml` maps an intent to team, priority and whether a person must look (regulated); the files in
`content/knowledge/` hold the answers, one list per team. A mistake is an error with file, line and entry.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from baton.errors import SourceError
from baton.packs.yaml_marks import Marked, load_marked
from baton.specs.base import Spec
from baton_packs.customer_experience import HERE

CONTENT = HERE / "content"
Team = Literal["cards", "payments", "transfers", "top_ups", "cash_and_currency", "accounts"]
TEAMS: tuple[str, ...] = get_args(Team)


class Intent(Spec):
    """How the business treats one kind of request."""

    team: Team
    regulated: bool = Field(description="a person looks before a reply leaves")
    priority: int = Field(ge=1, le=3, description="1 first, 3 last")


class Entry(Spec):
    """One answer of the knowledge base.

    Attributes:
        intent: the request it answers; None: an answer that no intent asks for.
        questions: further wordings under which it should be found.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)
    intent: str | None = None
    title: str = Field(min_length=3, max_length=120)
    answer: str = Field(min_length=20, max_length=1200)
    questions: tuple[str, ...] = Field(default=(), strict=False)


def _marked(path: Path) -> Marked:
    try:
        marked = load_marked(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read: {error}") from None
    if marked.mistakes:
        raise SourceError("\n".join(f"{path}:{one.line}: {one.message}" for one in marked.mistakes))
    return marked


def read(path: Path) -> Any:
    """The plain content of a YAML file.

    Raises:
        SourceError: it cannot be read or is no YAML; names file and line.
    """
    return _marked(path).data


def load_intents(path: Path) -> dict[str, Intent]:
    """intent -> team, regulated, priority, in the file's order.

    Raises:
        SourceError: names file, line and intent of every mistake.
    """
    marked = _marked(path)
    if not isinstance(marked.data, dict):
        raise SourceError(f"{path}:1: must map each intent to team, regulated and priority")
    found, problems = {}, []
    for name, value in marked.data.items():
        try:
            found[str(name)] = Intent.model_validate(value)
        except ValidationError as error:
            problems += _explain(path, marked, (name,), str(name), error)
    if problems:
        raise SourceError("\n".join(problems))
    return found


def load_entries(folder: Path, known: dict[str, Intent]) -> tuple[Entry, ...]:
    """All entries of a folder of YAML lists; each intent has exactly one.

    Args:
        known: the intents that may be named.

    Raises:
        SourceError: names file, line and entry of every mistake; or the intents without an answer.
    """
    found: dict[str, Entry] = {}
    answers: dict[str, str] = {}
    problems = []
    files = sorted(folder.glob("*.yaml"))
    for path in files:
        marked = _marked(path)
        if not isinstance(marked.data, list):
            problems.append(f"{path}:1: must be a list of entries with id, title and answer")
            continue
        for number, value in enumerate(marked.data):
            where = f"{path}:{marked.line((number,))}"
            name = value.get("id", f"entry {number + 1}") if isinstance(value, dict) else f"entry {number + 1}"
            try:
                entry = Entry.model_validate(value)
            except ValidationError as error:
                problems += _explain(path, marked, (number,), name, error)
                continue
            if entry.id in found:
                problems.append(f"{where}: {entry.id}: this id is taken; ids must differ in all files")
            if entry.intent is not None and entry.intent not in known:
                problems.append(f"{where}: {entry.id}: intent {entry.intent!r} is not in the routing table")
            if entry.intent in answers:
                problems.append(f"{where}: {entry.id}: {entry.intent} is answered by {answers[entry.intent]} already")
            found[entry.id] = entry
            if entry.intent is not None:
                answers[entry.intent] = entry.id
    if files and (missing := sorted(set(known) - set(answers))) and not problems:
        problems.append(f"{folder}: no entry answers {', '.join(missing)}")
    if not files:
        problems.append(f"{folder}: no YAML file in it")
    if problems:
        raise SourceError("\n".join(problems))
    return tuple(found.values())


def _explain(path: Path, marked: Marked, loc: tuple[str | int, ...], name: str, error: ValidationError) -> list[str]:
    problems = []
    for one in error.errors():
        place = (*loc, *one["loc"])
        field = ".".join(map(str, one["loc"]))
        problems.append(f"{path}:{marked.line(place)}: {name}{': ' + field if field else ''}: {one['msg']}")
    return problems


@cache
def intents() -> dict[str, Intent]:
    """The pack's routing table, read once per process."""
    return load_intents(CONTENT / "intents.yaml")


@cache
def entries() -> tuple[Entry, ...]:
    """The pack's knowledge base, read once per process."""
    return load_entries(CONTENT / "knowledge", intents())
