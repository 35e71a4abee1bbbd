"""Texts of the simulated mails: a pattern from the wording files with its slots filled, and what stands in it."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from baton_demo.customer_experience.documents.people import Writer, grouped

_SLOT = re.compile(r"\{(\w+)\}")
_QUOTES = {  # what a message of a type tends to answer
    "complaint": ("reminder", "invoice", "order"),
    "enquiry": ("invoice", "reminder", "order", "contract"),
    "order": ("enquiry",),
    "reminder": ("invoice", "complaint"),
}
QUOTED = 0.3  # share of messages that quote an earlier one
TYPO = 0.25  # share of private messages with typing errors


@dataclass
class Letter:
    """A written text and what is known of it.

    Attributes:
        used: names of the slots that stand in subject or text; personal: (kind, value) of a person named in it.
    """

    intent: str
    reply: int
    subject: str
    text: str
    used: set[str]
    personal: list[tuple[str, str]] = field(default_factory=list)


@cache
def wording(name: str) -> Mapping[str, Any]:
    """A file of the folder `wording`."""
    path = Path(__file__).parents[1] / "wording" / f"{name}.yaml"
    words: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return words


def fill(text: str, values: Mapping[str, str], used: set[str]) -> str:
    """The text with its slots filled; adds their names to `used`."""
    used.update(_SLOT.findall(text))
    return _SLOT.sub(lambda slot: values[slot.group(1)], text)


def letter(rng: random.Random, kind: str, book: str, values: Mapping[str, str], writer: Writer, company: str) -> Letter:
    """A message of a kind.

    Args:
        kind: a key of the wording file, such as `complaint`; book: name of the wording file.
        values: of all slots; writer: who signs; company: printed below the name, "" for a private person.
    """
    words, used = wording(book), set[str]()
    intent, reply, subject, core = rng.choice(words[kind])
    parts = [core]
    if rng.random() < 0.55:
        parts.insert(rng.choice((0, 1)), rng.choice(words["fillers"]))
    if not company and rng.random() < TYPO:
        parts = [_mistyped(rng, part) for part in parts]
    body = fill(" ".join(_capital(part) for part in parts), values, used)
    greeting = rng.choice(words["greetings"])
    lines = [greeting, "", body, "", rng.choice(words["closings"]), *_signature(rng, writer, company, used)]
    if kind in _QUOTES and rng.random() < QUOTED:
        earlier = rng.choice(words[rng.choice(_QUOTES[kind])])
        quoted = fill(_capital(earlier[3]), values, used)
        lines += ["", fill(words["quote"], values, used), *(f"> {line}" for line in _wrapped(quoted))]
        subject = f"Re: {earlier[2]}" if rng.random() < 0.5 else subject
    text = "\n".join(lines).strip() + "\n"
    subject = fill(subject, values, used)
    return Letter(intent, reply, subject, text, used, _named(writer, values, used, subject + "\n" + text))


def section(book: str, kind: str, values: Mapping[str, str], used: set[str]) -> list[str]:
    """Paragraphs of a contract or an order."""
    return [fill(text, values, used) for text in wording("sections")[book][kind]]


def _capital(text: str) -> str:
    """Patterns begin in lower case, since in German and French they go on after the greeting; English ones do not."""
    return text[:1].upper() + text[1:]


def _signature(rng: random.Random, writer: Writer, company: str, used: set[str]) -> list[str]:
    lines = [writer.name]
    if company:
        used.add("issuer")
        lines.append(company)
    for chance, line in ((0.45, writer.phone), (0.25, writer.mail), (0.2, writer.address)):
        if rng.random() < chance:
            lines.append(line)
    return lines


def _named(writer: Writer, values: Mapping[str, str], used: set[str], text: str) -> list[tuple[str, str]]:
    """Which of the writer's data stand in the text, and who is quoted."""
    facts = (("name", writer.name), ("mail", writer.mail), ("phone", writer.phone), ("address", writer.address),
             ("account", grouped(writer.account)), ("customer_number", writer.number))  # fmt: skip
    quoted = [("name", values["quoted"])] if "quoted" in used else []
    return [(kind, value) for kind, value in facts if value in text] + quoted


def _mistyped(rng: random.Random, text: str) -> str:
    """Two neighbouring letters swapped, or one left out, in one word that is no slot."""
    places = [m for m in re.finditer(r"\{\w+\}|[^\W\d_]{5,}", text) if not m.group().startswith("{")]
    if not places:
        return text
    place = rng.choice(places)
    at = rng.randrange(place.start() + 1, place.end() - 2)
    middle = text[at + 1] + text[at] if rng.random() < 0.6 else text[at]
    return text[:at] + middle + text[at + 2 :]


def _wrapped(text: str, width: int = 72) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
