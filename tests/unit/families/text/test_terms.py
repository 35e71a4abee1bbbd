"""Terms: what a model keeps of its training texts, and that nothing personal is among it."""

from __future__ import annotations

import re
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baton.errors import ModelError
from baton.families.text.features.names import Names
from baton.families.text.features.terms import Terms, masked, words
from baton.families.text.features.traits import Usage
from baton.specs.text import TextCandidateSpec


def candidate(**fields: object) -> TextCandidateSpec:
    return TextCandidateSpec(name="terms", estimator="sklearn.svm.LinearSVC", **fields)


TEXTS = [
    "Pay 120.50 EUR to DE89370400440532013000 by 2026-03-01, mail jane.roe@example.org",
    "Pay 99 EUR to DE89370400440532013000 by 2026-04-01, see https://pay.example/7 or mail jane.roe@example.org",
    "Sincerely Zebulon Quarterstaff pays in EUR",
]


def test_no_term_holds_a_digit_an_address_or_what_one_text_alone_says():
    terms = Terms.fit(candidate(letters=(2, 5)), TEXTS)
    listed = [term for block in terms.blocks for term in block.terms]
    assert not [term for term in listed if any(sign.isdigit() or sign == "@" for sign in term)]
    assert not [term for term in listed if "jane" in term or "zebul" in term or "example" in term or "quarter" in term]
    assert "pay" in listed
    assert "to \u0003" in listed  # that a number follows is kept, which one is not


def test_the_same_text_twice_is_one_text():
    with pytest.raises(ModelError, match="no term is in 2 of 1 distinct texts"):
        Terms.fit(candidate(words=(3, 3)), ["one name here 1", "one name here 2"])


def test_more_texts_may_be_asked_for():
    listed = Terms.fit(candidate(min_texts=3), TEXTS).blocks[0].terms
    assert set(listed) == {"eur"} or set(listed) <= {"eur", "pay"}
    assert "to" not in listed


def test_the_most_widespread_terms_stay():
    texts = [f"common {'often' if n % 2 else 'rarely'} {'seldom' if n < 2 else ''}" for n in range(9)]
    listed = Terms.fit(candidate(words=(1, 1), max_terms=10), texts * 2).blocks[0].terms
    assert list(listed) == ["common", "often", "rarely"] or "common" in listed


PLAIN = ((r"\S+@\S+", "\u0001"), (r"(?i)(?:https?://|www\.)\S+", "\u0002"), (r"\S*\d(?:\S*\d)?\w*", "\u0003"))


@given(st.text(st.sampled_from("ab12@@..-_/ \n\u00a0é٣wW:htps"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_addresses_links_and_numbers_are_whole_runs(text):
    expected = text.lower()
    for pattern, sign in PLAIN:  # the same said simply, at quadratic cost
        expected = re.sub(pattern, f" {sign} ", expected)
    assert masked(text) == expected


@pytest.mark.parametrize("unit", ["a", "-", "@", "1", "a1", "1-", "a@", "www.", "https://", "é"])
@pytest.mark.parametrize("end", ["", " 1 a@b.example"])
def test_an_unbroken_run_takes_no_longer_than_words_do(unit, end):
    text = (unit * 20_000)[: 20_000 - len(end)] + end
    began = time.process_time()
    masked(text)
    assert time.process_time() - began < 0.2


@given(st.text(max_size=80))
@settings(max_examples=80, deadline=None)
def test_any_text_is_masked_and_weighted(text):
    assert not any(sign.isdecimal() and sign.isascii() for sign in masked(text))
    assert "@" not in "".join(words(text))
    row = Terms.fit(candidate(letters=(2, 3)), TEXTS).transform([text]).toarray()
    assert np.isfinite(row).all()
    assert np.linalg.norm(row) <= 1 + 1e-5


NAMES = ["Ann Smith", "ann smith", "Will Bräuer", "WILL BRÄUER", "Mark Shahani", "Lakeside Ltd"]
LETTERS = [
    "I will pay the invoice and mark it, regards Ann Smith", "Please pay the invoice, ann smith",
    "Who will pay the invoice? Will Brauer", "He will mark the invoice as paid. WILL BRÄUER",
    "You may mark the invoice. Mark Shahani", "Pay us: Oliver Ashdowne, oliver.ashdowne@lake.example, Lakeside Ltd",
]  # fmt: skip


def test_no_term_holds_a_name_on_record_in_whatever_case_or_beside_another():
    letters = [f"{letter} {number}" for letter in LETTERS for number in ("", "again", "once more")]
    names = Names.of(pd.DataFrame({"customer": NAMES}).loc[np.repeat(range(6), 3)], ["customer"], letters)
    known = [term for block in Terms.fit(candidate(), letters).blocks for term in block.terms]
    kept = [term for block in Terms.fit(candidate(), letters, names).blocks for term in block.terms]
    leaks = ("ann smith", "smith", "bräuer", "brauer", "shahani", "will bräuer", "oliver ashdowne", "lakeside")
    assert set(leaks) <= set(known), "each would be kept without"
    assert not set(leaks) & set(kept)
    assert {"will", "mark", "the invoice", "will pay"} <= set(kept), "names that are words like any other"
    assert set(Usage.fit(letters, np.zeros(len(letters), dtype=int), 1, names).shared).isdisjoint(leaks)
