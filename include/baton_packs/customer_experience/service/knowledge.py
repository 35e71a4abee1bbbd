"""The knowledge of the bank's service: the routing table of intents and the answers of the knowledge base.

`content/intents.yaml` maps an intent to team, priority and whether a person must look (regulated); the files in
`content/knowledge/` hold the answers, one list per team. A mistake is an error with file, line and entry.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from baton.errors import SourceError
from baton.packs.spec_file import Problem, check, read_marked
from baton.packs.yaml_marks import Marked
from baton.specs.base import Spec
from baton_packs.customer_experience import HERE

CONTENT = HERE / "content"
Team = Literal["cards", "payments", "transfers", "top_ups", "cash_and_currency", "accounts"]


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
    marked, problems = read_marked(path)
    if problems:
        raise SourceError("\n".join(map(str, problems)))
    return marked


def read(path: Path) -> Any:
    """The plain content of a YAML file. Raises SourceError: it cannot be read or is no YAML; names file and line."""
    return _marked(path).data


def load_intents(path: Path) -> dict[str, Intent]:
    """intent -> team, regulated, priority, in the file's order.

    Raises:
        SourceError: names file, line and intent of every mistake.
    """
    marked = _marked(path)
    if not isinstance(marked.data, dict):
        raise SourceError(f"{path}:1: must map each intent to team, regulated and priority")
    found: dict[str, Intent] = {}
    problems: list[str] = []
    for name in marked.data:
        intent, wrong = check(Intent, path, marked, (name,))
        problems += _named(str(name), wrong)
        if intent is not None:
            found[str(name)] = intent
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
    problems: list[str] = []
    files = sorted(folder.glob("*.yaml"))
    for path in files:
        marked = _marked(path)
        if not isinstance(marked.data, list):
            problems.append(f"{path}:1: must be a list of entries with id, title and answer")
            continue
        for number, value in enumerate(marked.data):
            where = f"{path}:{marked.line((number,))}"
            name = value.get("id", f"entry {number + 1}") if isinstance(value, dict) else f"entry {number + 1}"
            entry, wrong = check(Entry, path, marked, (number,))
            problems += _named(name, wrong)
            if entry is None:
                continue
            wrong_here = {
                "this id is taken; ids must differ in all files": entry.id in found,
                f"intent {entry.intent!r} is not in the routing table": entry.intent not in (None, *known),
                f"{entry.intent} is answered by {answers.get(entry.intent or '')} already": entry.intent in answers,
            }
            problems += [f"{where}: {entry.id}: {what}" for what, is_so in wrong_here.items() if is_so]
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


def _named(name: str, problems: list[Problem]) -> list[str]:
    """The problems of one entry, whose name says more than its number."""
    return [str(replace(one, field=f"{name}: {one.field}" if one.field else name)) for one in problems]


@cache
def intents() -> dict[str, Intent]:
    """The pack's routing table, read once per process."""
    return load_intents(CONTENT / "intents.yaml")


@cache
def entries() -> tuple[Entry, ...]:
    """The pack's knowledge base, read once per process."""
    return load_entries(CONTENT / "knowledge", intents())
