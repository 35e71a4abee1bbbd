"""Personal data are hidden in whatever way they are written, the rest stays, and what was hidden comes back unchanged."""

from __future__ import annotations

import re
import time

import pytest

from baton.agents.case import AgentQuestion
from baton.agents.masking import Mask

PERSONAL = {
    "NAME": ["Ann Müller-Smith", "Li Wu", "Søren O'Łódz"],
    "MAIL": ["ann@shop.example"],
    "PHONE": ["+44 20 7946 0958"],
    "ACCOUNT": ["DE89370400440532013000", "KD-4711"],
    "ADDRESS": ["12 Mill Road, Cambridge CB1 2AB"],
}


@pytest.mark.parametrize(
    "written",
    [
        "Ann Müller-Smith", "Soren O’Lodz", "ANN MUELLER-SMITH", "Smith, Ann", "ann", "Mrs Müller", "muller smith", "An\u200bn", "Li Wu", "WU",
        "Mu\u0308ller", "ann@shop.example", "Ann @ shop.example", "ann (at) shop (dot) example", "bob at mail dot com",
        "annmuellersmith99@mail.example", "020 7946 0958", "+442079460958", "0044 (0)20 7946-0958", "０２０７９４６０９５８",
        "DE89 3704 0044 0532 0130 00", "de89-3704-0044-0532-0130-00", "gb82 west 1234 5698 7654 32", "kd 4711", "KD4711",
        "4111 1111 1111 1111", "5555-5555-5555-4444", "01.23.45.67.89", "(555) 123-4567", "555.123.4567", "2026001234",
        "12 mill road", "12 Mill Road,\nCambridge CB1 2AB", "7 Elm Street, Springfield, IL 62704", "Musterstraße 5, 10115 Berlin",
        "12 rue de la Paix, 75002 Paris", "12 rue des Lilas",  "Calle Mayor 12, 28013 Madrid", "PO Box 1234", "EC1A 1BB",
        "https://x.example/reset?token=abc", "www.x.example/u/9f8e7d6c5b4a39281706", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.c2ln",
    ],
)  # fmt: skip
def test_a_value_is_hidden_and_comes_back(written: str) -> None:
    mask, text = Mask(PERSONAL), f"Hello, this is {written} writing; thanks."
    hidden = mask.hide(text)
    assert re.fullmatch(r"Hello, this is (?:Mrs )?\[[A-Z]+_1\] writing; thanks\.", hidden), hidden
    assert mask.restore(hidden) == text


@pytest.mark.parametrize("written", ["PIN is 4821", "my account is 123456", "card ending 4242", "Tel: 01234 56"])
def test_short_numbers_count_beside_what_says_what_they_are(written: str) -> None:
    assert not re.search(r"\d{2}", Mask().hide(written))


@pytest.mark.parametrize(
    "written",
    [
        "4111 1111\n1111 1111", "4111,1111,1111,1111", "4111_1111_1111_1111", "4111*1111*1111*1111", "4111:1111:1111:1111",
        "4111, 1111, 1111, 1111", "3782*822463*10005", "41111111\n11111111", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "AB 12 34 56 C", "ab123456c", "JK-65-43-21-B",
    ],
)  # fmt: skip
def test_cards_and_insurance_numbers_in_whatever_writing(written: str) -> None:
    mask, text = Mask(), f"It is {written}, 12 pieces."
    assert re.fullmatch(r"It is \[(?:CARD|NUMBER)_1\], 12 pieces\.", mask.hide(text)), mask.hide(text)
    assert mask.restore(mask.hide(text)) == text


@pytest.mark.parametrize(
    "written",
    ["my passport number is L01X00T47", "Passport: 533401372", "Reisepass C01X00T478", "sort code 20-00-00", "sort code: 121026",
     "Sort-Code 12-10-26", "BLZ 370 400 44", "born on 12 March 1980", "date of birth: 1980-03-12", "DOB 12/03/80", "D.O.B.: 12.03.1980",
     "geboren am 12.03.1980", "geb. 12. März 1980", "née le 12/03/1980", "geboortedatum 12-03-1980", "born March 12, 1980"],
)  # fmt: skip
def test_passports_sort_codes_and_births_beside_what_says_what_they_are(written: str) -> None:
    assert not re.search(r"\d{2}", Mask().hide(f"Hello, {written}, thanks.")), Mask().hide(written)


@pytest.mark.parametrize(
    "text",
    [
        "Quantities 1200, 1300, 4700, 4800 and 2024\n2025\n2026\n2027.",
        "Order AB-123456, part 12-34-56, form PA 1234 C, offer QX 12 34.",
        "Sort the codes of 2026-03-01; a code 12 was sorted on 12/10/26.",
        "The company was born in 2010; born in Bremen, paid on 12 March 2026. My birthday offer 20 percent.",
        "My passport photos cost 12.50 EUR, and the passport application waits.",
        "Delivered on 12 March 2026, due 11.04.2026; invoice RE-0042 of 01.02.2026",
        "Rows:\n4500.00\n1200.00\n300.00\n4111.50",
    ],
)
def test_ordinary_figures_are_none_of_these(text: str) -> None:
    assert Mask().hide(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "On 2026-11-20 10:30 and on 20/11/2026 I paid 1,234,567.89 EUR, 1.234.567,89 EUR and 1234567.89.",
        "3 times in 20 minutes or so it is fine; 5 working days the same way.",
        "INV-2026-00123: 480 units for 12,400.00, 99999 in stock.",
        "See https://shop.example/help, www.shop.example and page 2.",
        "DE12 is short; wandering annoys; the lily wuthers.",
        "",
    ],
)
def test_what_is_not_personal_stays(text: str) -> None:
    assert Mask(PERSONAL).hide(text) == text


def test_the_same_value_has_the_same_placeholder_in_all_of_a_case() -> None:
    case = AgentQuestion(
        "k1", {"customer": "Li Wu", "number": 202600123456, "amount": 12.5, "lines": [{"Li Wu": "a@b.example"}]},
        {"message": "Li Wu asks: write to a@b.example or c@d.example"}, {"secret": 1}, {"NAME": ["Li Wu"]},
    )  # fmt: skip
    mask = Mask(case.personal)
    hidden = mask.case(case)
    assert hidden.facts == {
        "customer": "[NAME_1]", "number": "[NUMBER_1]", "amount": 12.5, "lines": [{"[NAME_1]": "[MAIL_1]"}],
    }  # fmt: skip
    assert hidden.data == {"message": "[NAME_1] asks: write to [MAIL_1] or [MAIL_2]"}
    assert (hidden.key, hidden.terms, hidden.personal) == ("k1", {}, {})
    assert mask.restored({"text": "Dear [NAME_1]", "n": [1, "[MAIL_2]"]}) == {
        "text": "Dear Li Wu",
        "n": [1, "c@d.example"],
    }


def test_a_name_that_the_pack_sees_in_one_text_is_hidden_in_all() -> None:
    def names(text: str) -> list[tuple[int, int, str]]:
        return [(found.start(), found.end(), "NAME") for found in re.finditer("Grace Hopper", text)]

    case = AgentQuestion("a", {"title": "for HOPPER, Grace and a hopper"}, {"message": "I am Grace Hopper"})
    hidden = Mask({}, names).case(case)
    assert hidden.facts["title"] == "for [NAME_1] and a hopper"
    assert hidden.data["message"] == "I am [NAME_2]"


def test_what_looks_like_a_placeholder_in_a_text_gives_nobody_elses_value() -> None:
    mask = Mask({"ACCOUNT": ["12345678"]})
    assert mask.hide("account 12345678") == "account [ACCOUNT_1]"
    hidden = mask.hide("now write [ACCOUNT_1]")
    assert hidden == "now write [TEXT_1]"
    assert mask.restore(hidden) == "now write [ACCOUNT_1]"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Dear [NAME_1], it is done.", None),
        ("The 480 units [see above] cost 12.50.", None),
        ("Dear [NAME_2],", "placeholder that stands for nothing"),
        ("Dear [NAME_1", "placeholder that stands for nothing"),
        ("Dear NAME_1,", "placeholder that stands for nothing"),
        ("Dear [name 1],", "placeholder that stands for nothing"),
        ("Dear [Your Name],", "placeholder that stands for nothing"),
        ("Write to bob@other.example.", "personal data that nobody gave (MAIL)"),
        ("Pay to GB82 WEST 1234 5698 7654 32.", "personal data that nobody gave (ACCOUNT)"),
        ("Ask 020 7946 0999.", "personal data that nobody gave (PHONE)"),
    ],
)
def test_an_answer_with_what_nobody_gave_is_told(answer: str, reason: str | None) -> None:
    mask = Mask({"NAME": ["Ann"]})
    mask.hide("Ann")
    assert mask.stray(answer) == reason


def test_only_what_the_pack_gave_and_names_may_be_quoted() -> None:
    case = AgentQuestion(
        "a", {"hotline": "020 7946 0999"}, {"message": "I am Li Wu, kd 4711. Pay to GB82 WEST 1234 5698 7654 32, call 0171 5550 123"},
        personal={"NAME": ["Li Wu"], "ACCOUNT": ["KD-4711"]},
    )  # fmt: skip
    mask = Mask(case.personal)
    hidden = mask.case(case)
    assert hidden.data["message"] == "I am [NAME_1], [ACCOUNT_1]. Pay to [ACCOUNT_2], call [PHONE_2]"
    for text, reason in (
        ("[NAME_1], for [ACCOUNT_1] call [PHONE_1].", None),
        ("Pay to [ACCOUNT_2].", "personal data from a text of others (ACCOUNT)"),
        ("Call [PHONE_2].", "personal data from a text of others (PHONE)"),
    ):
        assert mask.borrowed(text) == reason


def test_values_that_are_none_say_so() -> None:
    for personal, error in (
        ({"NAME": "Ann"}, TypeError),
        ({"NAME": [None]}, TypeError),
        ({"name": ["Ann"]}, ValueError),
    ):
        with pytest.raises(error, match="personal"):
            Mask(personal)  # type: ignore[arg-type]


@pytest.mark.parametrize("before", ["www.", "pay via ", "1 Main Street"])
@pytest.mark.parametrize(
    "part",
    [
        "a", "A", "_", "-", ".", " ", "\n", "1", "a ", "A ", "a-", "a.", "A1 ", "1 ", "12 aa ", "[A", "@", "a@", "ann ", "ann x ",
        "1,", "1,000", "4111,", "4111*1111*", "1*", "AB 12 ", "born on ", "passport ", "sort code ", "born 1 ", "1 000 ", "tel ", "calle a ", "DE12 ", "12 rue a ", "Flat 1 ", "flat", "weg ", "1 A St Aa ",
        "1 Main Street" + " " * 200 + "Abc" + " " * 200 + "Abc ",
    ],
)  # fmt: skip
def test_a_hostile_text_takes_no_time(before: str, part: str) -> None:
    started = time.process_time()
    Mask(PERSONAL).hide(before + part * (20_000 // len(part)) + "b")
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize(
    ("name", "part"), [("A Aa", "a"), ("A Aa Aaa Aaaa", "aaaa "), ("Aba Ab Ba", "aba"), ("A Aa", "a_")]
)
def test_a_hostile_name_takes_no_time(name: str, part: str) -> None:
    started = time.process_time()
    Mask({"NAME": [name]}).hide(part * (20_000 // len(part)) + "b")
    assert time.process_time() - started < 1.0


def test_words_of_a_name_behind_each_other_are_one() -> None:
    mask = Mask({"NAME": ["Anna Ann Abel"]})
    for text, hidden in (
        ("annabel wrote", "[NAME_1] wrote"),  # ann + abel, though it begins with anna
        ("Ann, Abel (Anna) wrote", "[NAME_2]) wrote"),
        ("annabella wrote", "annabella wrote"),
        ("annabel@x.example", "[MAIL_1]"),
    ):
        assert mask.hide(text) == hidden


def test_of_a_long_text_only_what_is_shown_is_masked_and_no_value_is_cut_in_two() -> None:
    account = "DE89 3704 0044 0532 0130 00"
    for before in (190, 185, 199):
        text = "x" * (before - 1) + " " + account + " y" + " ann@shop.example" * 100
        shown = Mask(PERSONAL).case(AgentQuestion("a", {}, {"message": text}), 200).question(200)
        assert "DE89" not in shown
        assert "3704" not in shown
        assert "shop" not in shown
    mails = "ann@mail.example " * 5_000  # placeholders are shorter than what they hide
    hidden = Mask().case(AgentQuestion("a", {}, {"message": mails}), 200).data["message"]
    assert hidden.count("[MAIL_1]") <= 13
    assert "ann" not in hidden
    assert hidden.endswith("…")


def test_a_name_that_stands_behind_what_is_shown_is_known_there() -> None:
    text = "I am muller. " + "x " * 1_000 + "Regards, Eva Muller"
    mask = Mask(names=lambda text: [(text.find("Eva"), len(text), "NAME")] if "Eva" in text else [])
    question = AgentQuestion("a", {}, {"message": text.replace("muller.", "Muller.")})
    assert "uller" not in mask.case(question, 200).data["message"]
