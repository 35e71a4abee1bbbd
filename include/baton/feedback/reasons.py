"""Reasons in words for a decision that goes against somebody: the sentences that a model's spec declares, by what its score is made of.

Scoring stores contributions for the highest scores only, and sentences are made for cases only, so a partition costs what it has
cases. What is said is kept on the case: a later wording changes no reason that was given.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from baton.errors import SpecError
from baton.packs.pack import find_model
from baton.specs.tabular import ReasonSpec

MOST = 4  # sentences; more explain nothing
NONE = "none"  # code where there is no reason to give
# true of a score beyond those explained, of rules (version 0), and of a stage that explains none
_NOT_COMPUTED = "No reasons were computed for this score: only a model's highest scores of a batch have them, as many as its stage explains."
_NOTHING = "Nothing that the model sees raised this score."


def put_into_words(why: Sequence[dict[str, Any]]) -> None:
    """Add `sentences` to what was said of entities (model, reasons), where the model declares some."""
    rules = {model: declared(model) for model in {one["model"] for one in why}}
    for one in why:
        if rules[one["model"]]:
            one["sentences"] = sentences(rules[one["model"]], one["reasons"])


def declared(model: str) -> Sequence[ReasonSpec]:
    """The sentences of a model; none of one that declares none, or that no pack has."""
    try:
        return getattr(find_model(model)[1], "reasons", ())
    except SpecError:
        return ()


def sentences(rules: Sequence[ReasonSpec], contributions: Sequence[Sequence[Any]] | None) -> list[dict[str, str]]:
    """The strongest reasons that raised a score, strongest first, each code once: code and text.

    Args:
        rules: what the model declares; without any there are no sentences.
        contributions: [feature, contribution], in the model's own unit; None: they were not computed.
    """
    if not rules:
        return []
    if not contributions:
        return [{"code": NONE, "text": _NOT_COMPUTED}]
    weights: dict[tuple[str, str], float] = {}
    named: dict[tuple[str, str], list[str]] = {}
    for feature, value in sorted(contributions, key=lambda one: -float(one[1])):
        rule = next((one for one in rules if any(fnmatchcase(feature, pattern) for pattern in one.features)), None)
        key = (rule.code, rule.text) if rule is not None else (str(feature), "{features} raised the score.")
        weights[key] = weights.get(key, 0.0) + float(value)
        if value > 0:
            named.setdefault(key, []).append(str(feature))
    found = sorted((key for key in weights if weights[key] > 0), key=lambda key: -weights[key])[:MOST]
    said = [{"code": code, "text": text.replace("{features}", ", ".join(named[code, text]))} for code, text in found]
    return said or [{"code": NONE, "text": _NOTHING}]
