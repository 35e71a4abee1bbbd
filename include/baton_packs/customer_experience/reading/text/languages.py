"""The language of a text: one of six, or none of them."""

import re
from functools import cache
from typing import Any, NamedTuple

LANGUAGES = ("en", "de", "fr", "nl", "es", "it")
_LETTERS_TO_JUDGE = 80  # shorter texts are not called unknown
_SURE = 0.9  # so sure the other language must be
_MARGIN = 0.05  # how far below it the best of the six
_READ = 4_000  # characters


class Language(NamedTuple):
    """Attributes: code: two letters, "" if none of the six; confidence: 0..1 among the six; unknown: it is another one."""

    code: str
    confidence: float
    unknown: bool


def detect(text: str) -> Language:
    """Language of a text by its characters' statistics.

    A text is *unknown* when it is long enough to judge and either mostly not in Latin script, or another language is
    nearly certain. A short text gets its likeliest language with its confidence, or "" without letters.
    """
    head = text[:_READ]
    words = re.findall(r"[^\W\d_]+", head)
    letters = "".join(words)
    if not letters:
        return Language("", 0.0, False)
    latin = sum(one < "\u0250" or "\u1e00" <= one < "\u1f00" for one in letters) / len(letters)
    judged = len(letters) >= _LETTERS_TO_JUDGE
    if latin < 0.5:
        return Language("", 0.0, judged)
    ranked: list[tuple[str, float]] = _identifier().rank(" ".join(words))
    ours = [(code, share) for code, share in ranked if code in LANGUAGES]
    code, share = ours[0]
    if judged and ranked[0][0] not in LANGUAGES and ranked[0][1] >= _SURE and share < _MARGIN:
        return Language("", 0.0, True)
    total = sum(share for _, share in ours)
    return Language(code, round(share / total, 3) if total > 0 else 0.0, False)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
