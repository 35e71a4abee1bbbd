"""Amounts in words of other languages are numbers too: a letter may not have them promised."""

from __future__ import annotations

import pytest

from baton.agents.figures import foreign_numbers


@pytest.mark.parametrize("text", [
    "Wir zahlen zwölftausend Euro.", "Sie erhalten fünfundzwanzig Stück.", "Es sind dreißig Tage.", "Wij betalen twaalfduizend euro.",
    "U krijgt vijfhonderd euro.", "Nous payons douze mille euros.", "Nous payons deux cents euros.", "Il reste quarante euros.",
])  # fmt: skip
def test_amounts_in_words_of_other_languages_are_found(text: str) -> None:
    assert foreign_numbers(text, {"example": "Vielen Dank, wir melden uns."})


def test_those_of_the_facts_may_be_repeated_and_common_words_are_none() -> None:
    assert foreign_numbers("Es dauert zwanzig Tage.", {"rule": "Antwort nach zwanzig Tagen"}) == []
    for text in ("Wir geben gut acht auf Ihre Lieferung.", "Votre neuf est arrivé.", "The card costs some cents."):
        assert foreign_numbers(text, {"rule": "none"}) == []
