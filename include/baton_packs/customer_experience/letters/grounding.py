"""Grounding: a reply says only what its sources say. Every word counts: "pay Bob or we sue you" has no long one."""

import json
import re
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import yaml

from baton_packs.customer_experience import HERE
from baton_packs.customer_experience.letters import letters

FILE = HERE / "prompts" / "plain_words.yaml"
_WORD = re.compile(r"[^\W\d_]+")
_STEM, _ENDING = 4, 4  # letters that words share at least; an ending is one letter of so many at most


@cache
def plain_words() -> dict[str, list[str]]:
    """Language -> words that every reply may use, `FILE` read."""
    found: dict[str, dict[str, str]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {language: sorted(set(" ".join(kinds.values()).casefold().split())) for language, kinds in found.items()}


def of_language(words: Mapping[str, Collection[str]], language: object) -> Collection[str]:
    """The words of a language; of that in which letters are written to everybody else, if there are none."""
    return words.get(str(language), words[letters.DEFAULT])


def strange_words(text: str, sources: Any, plain: Collection[str]) -> list[str]:
    """Words of a text that its sources do not have, in order, each once.

    A word may have another ending than in the sources (`answers` for `answer`). A language's plain words are no other's:
    German "die" is an article.

    Args:
        sources: JSON, whose words the text may use.
        plain: words that it may use besides, in small letters.
    """
    known = set(words_of(json.dumps(sources, ensure_ascii=False)))
    stems = {stem for word in known for stem in _stems(word)}
    strange = [word for word in dict.fromkeys(words_of(text)) if word not in plain and word not in known]
    return [word for word in strange if not stems.intersection(_stems(word))]


def words_of(text: str) -> list[str]:
    """The words of a text in small letters."""
    return [word.casefold() for word in _WORD.findall(text)]


def _stems(word: str) -> list[str]:
    """A word without its ending, and with it; none of a short one, which has to stand there as it is."""
    return [word[:end] for end in range(max(_STEM, len(word) - len(word) // _ENDING), len(word) + 1)]
