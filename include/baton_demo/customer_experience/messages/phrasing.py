"""Sentences from patterns: `(a|b|)` is one of several wordings, `{slot}` is filled in; and how people mistype them."""

import random
import re
from collections.abc import Callable, Mapping
from functools import cache

Slots = Mapping[str, Callable[[random.Random], str]]

_PART = re.compile(r"\(([^()]*)\)|\{(\w+)\}")


@cache
def parts(pattern: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """A pattern as steps: ("text", (text,)), ("choice", wordings) or ("slot", (name,)).

    Raises:
        ValueError: a bracket is open or closed without its partner, or choices are nested.
    """
    found: list[tuple[str, tuple[str, ...]]] = []
    end = 0
    for match in _PART.finditer(pattern):
        found.append(("text", (pattern[end : match.start()],)))
        choice, slot = match.groups()
        found.append(("slot", (slot,)) if slot else ("choice", tuple(choice.split("|"))))
        end = match.end()
    found.append(("text", (pattern[end:],)))
    rest = "".join(values[0] for kind, values in found if kind == "text")
    if set(rest) & set("(){}|"):
        raise ValueError(f"bracket without its partner, or one choice inside another, in {pattern!r}")
    return tuple(found)


def slots_of(pattern: str) -> set[str]:
    """Names of the slots of a pattern, those inside choices too."""
    return set(re.findall(r"\{(\w+)\}", pattern))


def say(pattern: str, slots: Slots, rng: random.Random) -> str:
    """One sentence of the pattern; runs of blanks that an empty wording leaves become one."""
    words = []
    for kind, values in parts(pattern):
        if kind == "choice":
            words.append(values[int(rng.random() * len(values))])
        else:
            words.append(f"{{{values[0]}}}" if kind == "slot" else values[0])
    text = re.sub(r"\{(\w+)\}", lambda match: slots[match[1]](rng), "".join(words))
    text = re.sub(r"(?<=\S) {2,}", " ", text).strip(" ")
    text = re.sub(r" +([?,.!])", r"\1", text)
    return text[:1].upper() + text[1:]


def mistyped(text: str, rng: random.Random) -> str:
    """The text with one letter of a longer word dropped, doubled or swapped with the next; as it is if there is none."""
    places = list(re.finditer(r"[A-Za-z]{4,}", text))
    if not places:
        return text
    word = places[int(rng.random() * len(places))]
    at = word.start() + 1 + int(rng.random() * (len(word[0]) - 2))
    first, second = text[at], text[at + 1]
    new = ("", first + first + second, second + first)[kind] if (kind := int(rng.random() * 3)) else second
    return text[:at] + new + text[at + 2 :]


def careless(text: str, rng: random.Random) -> str:
    """The text as many type it: small letters, no mark at the end, apostrophes left out, letters mistyped."""
    if rng.random() < 0.22:
        text = text.lower()
    if rng.random() < 0.2:
        text = text.rstrip("?.!")
    if rng.random() < 0.15:
        text = text.replace("'", "")
    while rng.random() < 0.14:
        text = mistyped(text, rng)
    return text
