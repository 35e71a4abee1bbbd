"""Which review counts, and when a champion was moved by somebody else."""

from __future__ import annotations

import pytest

from baton.registry.review import author, champion_moved, counted_review, misread

JUDGED = {"baton.gate_at": "t1"}


@pytest.mark.parametrize(
    ("tags", "gate_at", "answer"),
    [
        ({}, None, None),
        ({"baton.review": "approved"}, None, None),  # tagged before any verdict
        ({**JUDGED, "baton.review": "approved"}, None, "approved"),
        ({**JUDGED, "baton.review": " Rejected "}, "t1", "rejected"),
        ({**JUDGED, "baton.review": "approved"}, "t0", None),  # judged again since then
        ({**JUDGED, "baton.review": "pending"}, "t1", None),
        ({**JUDGED, "baton.review": "approve"}, "t1", None),
        (JUDGED, "t1", None),
    ],
)
def test_counted_review(tags: dict[str, str], gate_at: str | None, answer: str | None) -> None:
    assert counted_review(tags, gate_at) == answer


@pytest.mark.parametrize(
    ("word", "gate_at", "says"),
    [
        ("aproved", "t1", "'aproved' is no answer: set baton.review to approved or rejected"),
        ("yes", "t1", "'yes' is no answer"),
        ("aproved", "t2", None),  # about another verdict
        (" Approved", "t1", None),
        ("pending", "t1", None),
        ("", "t1", None),
    ],
)
def test_a_word_that_is_no_answer_gets_one(word: str, gate_at: str, says: str | None) -> None:
    found = misread({**JUDGED, "baton.review": word}, gate_at)
    assert (found is None) if says is None else (found is not None and found.startswith(says))


@pytest.mark.parametrize(
    ("actual", "recorded", "says"),
    [
        (None, None, None),
        (3, 3, None),
        (3, None, "the ledger knows no promotion"),
        (4, 3, "version 4, but the ledger says version 3"),
        (None, 3, "not set, but the ledger says version 3"),
    ],
)
def test_champion_moved(actual: int | None, recorded: int | None, says: str | None) -> None:
    found = champion_moved("card_fraud", actual, recorded)
    assert (found is None) if says is None else (found is not None and says in found)


@pytest.mark.parametrize(
    ("review", "signed", "by"),
    [
        ("approved", '{"by": "ada", "word": "approved"}', "ada"),
        (" Approved", '{"by": "ada", "word": " Approved"}', "ada"),
        ("approved", '{"by": "ada", "word": "rejected"}', None),  # two people at once
        ("approved", '{"by": "baton", "word": "pending"}', None),  # changed past the log-in
        ("rejected", '{"by": "ada", "word": "rejected"}', None),  # another answer than the one on record
        ("approved", "ada", None),
        ("approved", "[]", None),
        ("approved", None, None),
    ],
)
def test_whose_word_it_is(review: str, signed: str | None, by: str | None) -> None:
    tags = {"baton.review": review} | ({"baton.review_by": signed} if signed else {})
    assert author(tags, "approved") == by
