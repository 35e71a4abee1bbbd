"""Reviews, read from tags and aliases by pure functions: the review that counts, a champion that was moved."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, cast

from baton.names import REVIEW, REVIEW_BY

REVIEW_BEFORE_GATE, REVIEW_SAYS = "baton.review_before_gate", "baton.review_says"
GATE, GATE_AT = "baton.gate", "baton.gate_at"
RESERVED = frozenset({REVIEW, REVIEW_BY, REVIEW_BEFORE_GATE, REVIEW_SAYS, GATE, GATE_AT})
ANSWERS = ("approved", "rejected")
PENDING = "pending"

MEANS = {  # a gate's decision -> what becomes of the version, and what to do
    "PROMOTE": "a person is asked whether it becomes champion",
    "HOLD": "the champion stays; for a better one change candidates, features or data, and train again",
    "MORE_DATA": "the champion stays for now; once more truth is known, train and judge again",
}

ReviewAnswer = Literal["approved", "rejected"]


class GateResult(Protocol):
    """The part of a gate verdict that the registry shows."""

    @property
    def decision(self) -> Any:
        """PROMOTE, HOLD or MORE_DATA, as text or enum."""

    @property
    def reasons(self) -> Sequence[str]:
        """Why."""

    @property
    def table(self) -> Sequence[Mapping[str, Any]]:
        """One row per check."""


def decision_of(verdict: GateResult) -> str:
    """The decision as text, whether it is an enum or text already."""
    return str(getattr(verdict.decision, "value", verdict.decision))


def counted_review(tags: Mapping[str, str], gate_at: str | None = None) -> ReviewAnswer | None:
    """The review that counts, or None.

    A review counts only after a gate verdict: the verdict puts the tag back to `pending`, so that an answer
    that is there later was given later (MLflow keeps no time of a tag). Case does not matter: people type it.

    Args:
        tags: tags of one version.
        gate_at: time of the verdict that is asked about; a version judged again since then has no answer yet.
    """
    judged = tags.get(GATE_AT)
    if not judged or (gate_at is not None and judged != gate_at):
        return None
    answer = tags.get(REVIEW, "").strip().lower()
    return cast("ReviewAnswer", answer) if answer in ANSWERS else None


def author(tags: Mapping[str, str], answer: str) -> str | None:
    """The MLflow user whose word `answer` is, or None: the server did not see who wrote it.

    The server's log-in signs a word after it is written (`baton.review_by`). A signature that does not belong to the word
    that stands there (two people at once, a change by SQL) is nobody's.
    """
    try:
        signed = json.loads(tags.get(REVIEW_BY, "{}"))
        by, word = str(signed["by"]), signed["word"]
    except (ValueError, KeyError, TypeError):
        return None
    standing = tags.get(REVIEW, "")
    return by if word == standing[:200] and standing.strip().lower() == answer else None


def misread(tags: Mapping[str, str], gate_at: str) -> str | None:
    """What to say to a reviewer whose word is no answer; None: there is none, or it counts."""
    word = tags.get(REVIEW, "").strip()
    if tags.get(GATE_AT) != gate_at or word.lower() in ("", PENDING, *ANSWERS):
        return None
    return f"{word[:40]!r} is no answer: set {REVIEW} to {' or '.join(ANSWERS)}"


def champion_moved(model: str, actual: int | None, recorded: int | None) -> str | None:
    """Say what is wrong when `champion` is not where the ledger's last record put it; None when it is.

    Args:
        model: name of the registered model.
        actual: version that the alias points at; None when it is not set.
        recorded: version of the ledger's last move of this alias; None when there is none.
    """
    if actual == recorded:
        return None
    if recorded is None:
        return f"{model}: champion is version {actual}, but the ledger knows no promotion: set outside Baton"
    now = "not set" if actual is None else f"version {actual}"
    return f"{model}: champion is {now}, but the ledger says version {recorded}: moved outside Baton"
