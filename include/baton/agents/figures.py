"""Checks of an agent's text: numbers that nobody gave, more than plain sentences, going round in circles."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

_SCALES = {"k": 1e3, "thousand": 1e3, "m": 1e6, "million": 1e6, "bn": 1e9, "billion": 1e9}
_SCALES |= {"hundred": 1e2, "dozen": 12.0}
_NUMBER = re.compile(
    r"(?P<number>\d+(?:,\d{3})*(?:\.\d+)?)(?P<power>e[+-]?\d+)?"
    r"(?:\s?(?P<percent>%|per\s?cent\b)|[\s-]?(?P<scale>k|thousand|m|million|bn|billion|hundred|dozen)\b)?",
    re.IGNORECASE,
)
_TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDS: dict[str, float] = {
    **{word: 2 + i for i, word in enumerate(("two", "three", "four", "five", "six", "seven", "eight", "nine"))},
    **{word: 10 + i for i, word in enumerate(_TEENS)},
    **{word: 20 + 10 * i for i, word in enumerate(_TENS)},
    **{word: scale for word, scale in _SCALES.items() if len(word) > 2},
}
_WORD = re.compile(rf"\b(?:{'|'.join(_WORDS)})s?\b", re.IGNORECASE)
# from twenty on, as German and Dutch write them into one word and French into several; smaller ones are common words too
_OTHER_LANGUAGES = re.compile(
    r"\b(?:\w*(?:zwanzig|drei(?:ß|ss)ig|(?:vier|fünf|fuenf|sech|sieb|acht|neun)zig|hundert|tausend|milliarde)\w*|millionen"
    r"|\w*(?:twintig|dertig|veertig|vijftig|zestig|zeventig|tachtig|negentig|honderd|duizend|miljoen|miljard)\w*"
    r"|vingts?|trente|quarante|cinquante|soixante|(?:deux|trois|quatre|cinq|six|sept|huit|neuf)[ -]cents?|mille|milliards?)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?=.*[^\W\d])[\w.-]{1,40}")
_NOT_PLAIN = re.compile(
    r"[<>`\[\]{}|\\]|://|\bwww\.|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def foreign_numbers(text: str, facts: Mapping[str, Any], names: Iterable[str] = ()) -> list[str]:
    """Numbers of a text that do not occur in the facts, as they are written there.

    A fact may be repeated with fewer decimals (34.2 % as 34 %); a percentage is not the same as the number. Number words
    from two on count as numbers ("one" is a pronoun too); German, French and Dutch ones from twenty on, unless the facts
    have the same word. Every digit of Unicode is a digit.

    Args:
        names: texts of data; one that is a plain identifier (`dept_07`) may be repeated, digits and all. A sentence is
            none, so that a number planted in a name does not become a fact by it.
    """
    given = [(value, percent) for _, value, _, percent in _numbers(json.dumps(facts, ensure_ascii=False))]
    text = unicodedata.normalize("NFKC", text)
    for name in names:
        if _NAME.fullmatch(name):
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", " ", text)
    found = _numbers(text)
    wrong = [
        token
        for token, value, decimals, percent in found
        if not any(share == percent and abs(round(fact, decimals) - value) < 1e-9 for fact, share in given)
    ]
    rest = _NUMBER.sub(" ", text)
    words = [match.group() for match in _WORD.finditer(rest)]
    wrong += [word for word in words if (_WORDS[word.lower().removesuffix("s")], False) not in given]
    said = {word.lower() for word in _OTHER_LANGUAGES.findall(json.dumps(facts, ensure_ascii=False))}
    return wrong + [word for word in _OTHER_LANGUAGES.findall(rest) if word.lower() not in said]


def _numbers(text: str) -> list[tuple[str, float, int, bool]]:
    """(as written, value, decimals shown, is it a percentage) of each number; fractions and other signs count too."""
    found = []
    for match in _NUMBER.finditer(unicodedata.normalize("NFKC", text)):
        plain = match["number"].replace(",", "")
        value = float(plain + (match["power"] or ""))
        decimals = len(plain.partition(".")[2])
        if scale := match["scale"]:
            value, decimals = value * _SCALES[scale.lower()], 9
        found.append((match.group(), value, 9 if match["power"] else decimals, match["percent"] is not None))
    return found


def not_plain(text: str) -> str | None:
    """The first thing that makes a text more than plain sentences: mark-up, an address, an invisible character."""
    found = _NOT_PLAIN.search(text)
    return None if found is None else found.group() if found.group().isprintable() else f"U+{ord(found.group()):04X}"


def repeats_itself(text: str) -> bool:
    """Do the same four words stand there three times, as a small model writes that has lost its way?"""
    words = text.lower().split()
    fours = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    return max(fours.values(), default=0) >= 3


def quotes(text: str, source: str, words: int = 10) -> bool:
    """Does a text repeat so many words of another in a row, whatever stands between them?"""
    ours, theirs = (re.findall(r"\w+", each.lower()) for each in (text, source))
    known = {tuple(theirs[i : i + words]) for i in range(len(theirs) - words + 1)}
    return any(tuple(ours[i : i + words]) in known for i in range(len(ours) - words + 1))
