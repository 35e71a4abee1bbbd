"""An answer that comes with a text, given on the decision card and over its address."""

from __future__ import annotations

import runpy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from baton.console.host import Person
from baton.console.pages import forms
from baton.feedback import cases
from baton.record import ledger, tables
from baton.record.warehouse import read

STAGE = runpy.run_path(str(Path(__file__).with_name("console_stage.py")))
LETTERS = runpy.run_path(str(Path(__file__).with_name("console_letters.py")))
HTML, SITE, LittleHost, client = (STAGE[name] for name in ("HTML", "SITE", "LittleHost", "client"))
no_registry, empty = STAGE["no_registry"], STAGE["empty"]
FLOW, REPLY = LETTERS["FLOW"], LETTERS["REPLY"]
CARD = f"/baton/cases/{FLOW}/a"


@pytest.fixture
def letters(empty: None) -> None:
    LETTERS["fill"]()


class Textarea(HTMLParser):
    """What a browser shows in the first textarea of a page, and which answers its form gives."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.inside, self.text, self.hidden = False, "", dict[str, str | None]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.hidden = {} if not self.text else self.hidden
        if tag == "input" and given.get("type") == "hidden" and not self.text:
            self.hidden[str(given["name"])] = given["value"]
        self.inside = tag == "textarea"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self.inside = False


def case(key: str = "a") -> Any:
    with read() as conn:
        return conn.execute(select(tables.cases).where(tables.cases.c.entity_key == key)).mappings().one()


def test_the_card_offers_the_reply_as_it_is(letters: None) -> None:
    assert client("admin").get(CARD).json()["offered"] == {"edited": REPLY}
    page = client("admin").get(CARD, headers=HTML).text
    assert "<script>alert" not in page
    shown = Textarea(page)
    assert shown.text == "\n" + REPLY, "the first line break belongs to the tag, the text keeps its own"
    assert shown.hidden["resolution"] == "edited"
    assert '<button name="resolution" value="accepted">' in page
    assert '<button name="resolution" value="edited">' not in page, "an edited answer needs its text"


def test_a_text_is_read_before_it_is_answered_for(letters: None) -> None:
    """A row of a queue shows no text, so it takes no answer either: an unread suggestion would leave."""
    for address in ("/baton/today", "/baton/cases"):
        page = client("admin").get(address, headers=HTML).text
        assert f'<a class="button" href="{CARD}">Read and decide</a>' in page
        assert 'value="accepted"' not in page
        assert 'value="edited"' not in page


def test_a_person_changes_the_text_on_the_card(letters: None) -> None:
    browser, token = client("admin", cookie=True), forms.token_for(LittleHost(), Person("admin"))
    form = {"resolution": "edited", "back": "card", "token": token, "text": "Dear Ann,\r\n<b>a week</b>, sorry."}
    assert browser.post(CARD, data=form).status_code == 403, "it does not say which page it comes from"
    assert browser.post(CARD, data={**form, "token": "1.x"}, headers={"origin": SITE}).status_code == 403
    assert case()["resolution"] is None
    done = browser.post(CARD, data=form, headers={"origin": SITE})
    assert (done.status_code, done.headers["location"]) == (303, CARD)
    assert (case()["resolution"], case()["text"]) == ("edited", "Dear Ann,\n<b>a week</b>, sorry.")
    page = browser.get(CARD, headers=HTML).text
    assert "&lt;b&gt;a week&lt;/b&gt;, sorry." in page
    assert "<textarea" not in page
    assert "a week" not in str(ledger.entries())


def test_a_program_sends_the_text_as_json(letters: None) -> None:
    admin = client("admin")
    for body, detail in (
        ({"resolution": "edited"}, "it is empty"),
        ({"resolution": "edited", "text": " \n"}, "it is empty"),
        ({"resolution": "edited", "text": ["a"]}, "text: what is to be used"),
        ({"resolution": "edited", "text": "x" * 4001}, "4,000 are allowed"),
        ({"resolution": "edited", "text": "a\x00b"}, "control characters"),
        ({"resolution": "accepted", "text": "Dear Ann"}, "takes none"),
    ):
        answer = admin.post(CARD, json=body)
        assert (answer.status_code, detail in answer.json()["detail"]) == (422, True), body
    assert admin.post(CARD, content=b'{"resolution": "edited", "text": "a\\ud83d"}',
                      headers={"content-type": "application/json"}).status_code == 422  # fmt: skip
    assert client("viewer").post(CARD, json={"resolution": "edited", "text": "Mine."}).status_code == 403
    assert case()["resolution"] is None
    assert admin.post(CARD, json={"resolution": "edited", "text": "Mine."}).json()["text"] == "Mine."
    assert admin.post(CARD, json={"resolution": "edited", "text": "Mine."}).status_code == 409


def test_the_longest_text_with_the_longest_note_passes_in_any_writing(letters: None) -> None:
    browser, token = client("admin", cookie=True), forms.token_for(LittleHost(), Person("admin"))
    form = {
        "resolution": "edited",
        "token": token,
        "text": "\U0001f600" * cases.LONGEST_TEXT,
        "note": "\U0001f600" * 2000,
    }
    assert browser.post(CARD, data=form, headers={"origin": SITE}).status_code == 303
    assert case()["text"] == form["text"]


def test_who_may_not_decide_sees_neither_what_is_offered_nor_what_was_written(letters: None) -> None:
    viewer = client("viewer")
    assert viewer.get(CARD).json()["offered"] == {}
    assert "two days" not in viewer.get(CARD, headers=HTML).text
    cases.decide(FLOW, "a", "edited", "ada", text="Dear Ann, a week.")
    assert viewer.get(CARD).json()["case"]["text"] is None
    assert "a week" not in viewer.get(CARD, headers=HTML).text
    assert client("admin").get(CARD).json()["case"]["text"] == "Dear Ann, a week."


def test_a_store_that_cannot_be_read_refuses_the_text_and_says_why(letters: None) -> None:
    from baton.data import objects
    from baton.stages.slots import Slot, head

    found = head(Slot(FLOW, "publish", LETTERS["HOUR"]))
    assert found is not None
    objects.path_of(found.ref.uri).unlink()
    answer = client("admin").post(CARD, json={"resolution": "edited", "text": "Mine."})
    assert answer.status_code == 503
    assert "missing" in answer.json()["detail"]
    assert client("admin").get(CARD, headers=HTML).status_code == 200
    assert client("admin").post(CARD, json={"resolution": "rejected"}).status_code == 200


def test_what_a_later_run_worded_anew_is_read_again_before_it_is_answered_for(letters: None) -> None:
    browser, token = client("admin", cookie=True), forms.token_for(LittleHost(), Person("admin"))
    seen = Textarea(browser.get(CARD, headers=HTML).text).hidden["seen"]
    LETTERS["fill"](reply="Dear Ann,\nit takes two months.")
    form = {"resolution": "accepted", "back": "card", "token": token, "seen": seen}
    late = browser.post(CARD, data=form, headers={"origin": SITE})
    assert (late.status_code, case()["resolution"]) == (409, None)
    assert "decided anew" in late.text
    newer = Textarea(browser.get(CARD, headers=HTML).text)
    assert "two months" in newer.text
    assert newer.hidden["seen"] != seen
    done = browser.post(CARD, data={**form, "seen": newer.hidden["seen"]}, headers={"origin": SITE})
    assert (done.status_code, case()["resolution"]) == (303, "accepted")
    assert client("admin").post(CARD, json={"resolution": "accepted", "seen": "x"}).status_code == 422
