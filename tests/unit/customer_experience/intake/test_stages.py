"""What becomes of a document: danger before doubt, doubt before the type's own rule, and never because a text says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.errors import SpecError
from baton.packs.pack import load_pack
from baton.stages.job import StageJob
from baton_packs.customer_experience.intake import policy as policies
from baton_packs.customer_experience.intake import stages as intake
from baton_packs.customer_experience.letters import letters

RULES = policies.intake()


def decided(**given: Any) -> dict[str, Any]:
    """One document's decision; by default a certain enquiry by mail at no risk."""
    document = {
        "document_id": "d1", "sender": "ann@example.org", "sender_name": "Ann Example", "subject": "Hello", "language": "en",
        "automatic": False,
        **given.pop("document", {}),
    }  # fmt: skip
    kind = pd.Series({"category": "enquiry", "score": 0.9, "accepted": True, **given.pop("type", {})})
    intent = pd.Series({"category": "ask", "score": 0.9, "accepted": True, **given.pop("intent", {})})
    fields = pd.Series({
        "issuer": "Norwick Ltd", "invoice_number": "A-1", "date": "2026-05-01", "total": 120.0, "currency": "EUR",
        "confidence": 0.9, "fields": "[]", **given.pop("fields", {}),
    }, dtype=object)  # fmt: skip
    frames = {"documents": pd.DataFrame([document])}
    frames |= {name: pd.DataFrame([{"entity_key": "d1", **one}]) for name, one in (("type", kind), ("intent", intent))}
    frames["fields"] = pd.DataFrame([{"document_id": "d1", **fields}], dtype=object)
    if (risk := given.pop("risk", 0.0)) is not None:
        frames["risk"] = pd.DataFrame({"entity_key": ["d1"], "score": [risk]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "read_inputs", lambda inputs: frames)
        (decision,) = intake.decide(
            StageJob("customer_experience", "document_intake", "decide", "p", "")
        ).frame.to_dict("records")
    return decision


def test_a_document_is_called_by_its_subject_or_kind_and_by_its_sender() -> None:
    found = decided()
    assert (found["title"], found["topic"]) == ("Hello, from Ann Example", "Enquiry: ask")
    assert decided(document={"subject": None, "sender_name": None})["title"] == "enquiry A-1, from Norwick Ltd"
    bare = {"subject": None, "sender_name": None, "sender": None}
    said = decided(document=bare, fields={"issuer": None, "invoice_number": None})["title"]
    assert said == "enquiry without a subject"


INVOICE = {"category": "invoice"}


@pytest.mark.parametrize(("given", "route", "queue"), [
    ({}, "reply", "customer_care"),
    ({"type": INVOICE}, "file", "accounts_payable"),
    ({"type": {"category": "complaint"}}, "approve", "customer_care"),
    ({"type": {"category": "junk"}}, "file", "none"),
    ({"type": {"category": "junk"}, "risk": 0.2}, "escalate", "post_room"),
    ({"type": INVOICE, "risk": 0.2}, "escalate", "accounts_payable"),
    ({"type": INVOICE, "risk": 0.9}, "escalate", "fraud_desk"),
    ({"risk": 0.2}, "approve", "customer_care"),
    ({"type": {"accepted": False}}, "escalate", "post_room"),
    ({"type": {"category": "poem"}}, "escalate", "post_room"),
    ({"intent": {"accepted": False}}, "approve", "customer_care"),
    ({"document": {"sender": ""}}, "escalate", "customer_care"),
    ({"document": {"automatic": True}}, "escalate", "customer_care"),
    ({"document": {"automatic": True}, "type": {"category": "complaint"}}, "escalate", "customer_care"),
    ({"document": {"automatic": True}, "type": {"category": "order"}}, "file", "sales"),
    ({"document": {"automatic": True}, "type": {"category": "reminder"}}, "file", "accounts_payable"),
    ({"document": {"automatic": True}, "type": INVOICE, "fields": {"total": np.nan}}, "escalate", "accounts_payable"),
    ({"document": {"sender": None}}, "escalate", "customer_care"),
    ({"document": {"sender": "nobody at all"}}, "escalate", "customer_care"),
    ({"type": INVOICE, "fields": {"total": 50_000.0}}, "escalate", "accounts_payable"),
    ({"type": INVOICE, "fields": {"total": -50_000.0}}, "escalate", "accounts_payable"),
    ({"type": INVOICE, "fields": {"total": 900_000.0, "currency": "INR"}}, "file", "accounts_payable"),
    ({"type": INVOICE, "fields": {"total": 2_000_000.0, "currency": "INR"}}, "escalate", "accounts_payable"),
    ({"type": INVOICE, "fields": {"total": 19_000.0}}, "file", "accounts_payable"),
    ({"type": INVOICE, "fields": {"total": 19_000.0, "currency": "KWD"}}, "escalate", "accounts_payable"),
    ({"type": INVOICE, "fields": {"total": 19_000.0, "currency": None}}, "escalate", "accounts_payable"),
    ({"type": INVOICE, "fields": {"total": 9_000.0, "currency": None}}, "file", "accounts_payable"),
    ({"type": INVOICE, "fields": {"total": np.nan}}, "follow_up", "accounts_payable"),
    ({"type": INVOICE, "fields": {"invoice_number": None}, "risk": 0.2}, "approve", "accounts_payable"),
    ({"type": INVOICE, "fields": {"invoice_number": None}, "document": {"sender": ""}}, "escalate", "accounts_payable"),
    ({"type": INVOICE, "fields": {"confidence": 0.1}}, "escalate", "accounts_payable"),
])  # fmt: skip
def test_routes(given: dict[str, Any], route: str, queue: str) -> None:
    found = decided(**given)
    assert (found["route"], found["queue"]) == (route, queue), found["reasons"]
    assert json.loads(found["reasons"])
    assert (found["action"] != "") == (found["route"] in intake.ANSWERED)


def test_what_was_read_is_published_with_its_places() -> None:
    read = [{"field": "total", "value": 12.5, "text": "12.50", "start": 7, "end": 12, "confidence": 0.9, "by": "label"}]
    shown = json.loads(decided(fields={"fields": json.dumps(read)})["fields"])
    assert shown == [{"field": "total", "value": 12.5, "start": 7, "end": 12, "confidence": 0.9}]


@pytest.mark.parametrize(("given", "route", "action", "queue"), [
    ({"type": INVOICE}, "escalate", "", "accounts_payable"),
    ({"type": INVOICE, "fields": {"total": np.nan}}, "escalate", "", "accounts_payable"),  # what is missing may be in it
    ({"type": INVOICE, "fields": {"invoice_number": None}, "risk": 0.2}, "escalate", "", "accounts_payable"),
    ({"type": {"category": "junk"}}, "escalate", "", "post_room"),
    ({"document": {"automatic": True}}, "escalate", "", "customer_care"),
    ({}, "approve", "reply", "customer_care"),
    ({"type": {"category": "complaint"}}, "approve", "reply", "customer_care"),
    ({"type": INVOICE, "risk": 0.9}, "escalate", "", "fraud_desk"),
])  # fmt: skip
def test_a_document_of_which_part_was_not_read_is_seen_by_a_person(
    given: dict[str, Any], route: str, action: str, queue: str
) -> None:
    unread = json.dumps(["attachment 1: a kind of file that is not read"])
    found = decided(**{**given, "document": {**given.get("document", {}), "unread": unread}})
    assert (found["route"], found["action"], found["queue"]) == (route, action, queue)
    assert "part of it could not be read: attachment 1: a kind of file that is not read" in found["reasons"]
    assert (
        "could not be read"
        not in decided(**{**given, "document": {**given.get("document", {}), "unread": "[]"}})["reasons"]
    )


def test_each_case_can_be_answered_as_any_type_and_as_fraud() -> None:
    answers = json.loads(decided()["resolutions"])
    assert answers["right: enquiry"] == {"type": "enquiry", "intent": "ask", "risky": 0}
    assert answers["fraud (enquiry)"] == {"type": "enquiry", "risky": 1}
    assert answers["fraud"] == {"risky": 1}
    assert {labels["type"] for labels in answers.values() if "type" in labels} == set(RULES.types)


def test_what_is_missing_is_asked_for_in_the_senders_language() -> None:
    for language, word in (("en", "the total amount"), ("de", "den Gesamtbetrag"), ("it", "the total amount")):
        found = decided(type=INVOICE, fields={"total": np.nan}, document={"language": language})
        assert json.loads(found["missing"]) == ["total"]
        assert word in letters.body(found)


def test_every_language_has_every_letter() -> None:
    first, *others = letters.wordings().values()
    for other in others:
        assert set(other) == set(first)
        assert set(other["missing"]) == set(intake.NEEDED)


def test_a_letter_greets_by_the_name_on_file_and_never_by_one_that_a_letter_brought() -> None:
    row = decided()
    assert letters.letter(row, "Body.", on_file=True).startswith("Dear Ann Example,\n\nBody.\n\n")
    assert letters.letter(row, "Body.", on_file=False).startswith("Dear Sir or Madam,\n\nBody.\n\n")
    assert letters.letter({**row, "sender_name": None}, "Body.", on_file=True).startswith("Dear Sir or Madam,")


def test_answers_that_are_always_the_same_need_no_agent() -> None:
    rows = [decided(type={"category": name}) for name in ("order", "enquiry", "invoice")]
    decisions = pd.DataFrame([{**row, "entity_key": str(number)} for number, row in enumerate(rows)])
    assert decisions["letter"].tolist() == [False, True, False]
    drafts = pd.DataFrame({"entity_key": ["1"], "text": ["We look into it."], "source": ["agent"], "reason": [""]})
    documents = pd.DataFrame({"document_id": list("012"), "text": "Hello"})
    whole = intake.compose(decisions, documents, drafts).frame
    assert whole["written_by"].tolist()[:2] == ["rule", "agent"]
    assert "We look into it." in whole["reply"].iloc[1]
    assert whole["reply"].isna().tolist() == [False, False, True]
    assert whole["template_because"].isna().all()
    refused = drafts.assign(source="template", reason="number not in the facts: 42")
    assert intake.compose(decisions, documents, refused).frame["template_because"].tolist() == [
        None, "number not in the facts: 42", None,
    ]  # fmt: skip
    assert set(load_pack("customer_experience").contract("document_decisions").columns) <= set(whole)
    with pytest.raises(Exception, match="1 answers are missing"):
        intake.compose(decisions, documents, None)


def test_rules_that_contradict_themselves_are_named(tmp_path: Path) -> None:
    text = (policies.FOLDER / "intake.yaml").read_text().replace("review: 0.10", "review: 0.90")
    path = tmp_path / "intake.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"intake\.yaml:3: risk\.review: at most escalate"):
        policies.intake(path)
    path.write_text((policies.FOLDER / "intake.yaml").read_text().replace("{EUR: 20000", "{euro: 20000"))
    with pytest.raises(SpecError, match=r"intake\.yaml:8: largest: .*ISO codes and amounts above 0.*not euro"):
        policies.intake(path)
    path.write_text(text.replace("route: approve", "route: guess"))
    with pytest.raises(SpecError, match=r"intake\.yaml:16: types\.complaint\.route"):
        policies.intake(path)


def parsed(*texts: str) -> pd.DataFrame:
    return pd.DataFrame({
        "document_id": [str(number) for number in range(len(texts))], "text": texts, "language": "en", "subject": "Hello",
        "sender": "ann@example.org", "sender_name": "Ann Example", "attachments": "[]", "media": "mail",
    })  # fmt: skip


@pytest.mark.parametrize(("text", "stake"), [
    ("When do you open on Friday?", 0),
    ("Our bank details have changed, please use the new account from now on.", 1),
    ("Please wire 12,400.00 EUR for us.", 1),
    ("Our account is DE89 3704 0044 0532 0130 00 as before.", 1),
    ("This is urgent, keep it between us.", 1),
])  # fmt: skip
def test_the_risk_is_scored_where_money_or_pressure_is_at_stake(
    text: str, stake: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # names are found by a model of their own tests
    monkeypatch.setattr(
        "baton_packs.customer_experience.fields.extract.find_names", lambda texts, _: [[] for _ in texts]
    )
    assert intake.fields(parsed(text)).facts["at_stake"] == stake
    assert intake.fields(parsed("When do you open on Friday?", text)).facts["at_stake"] == stake


def test_a_document_that_was_not_scored_says_so() -> None:
    assert intake.NOT_SCORED in json.loads(decided(risk=None)["reasons"])
    assert decided(risk=None)["risk"] == 0.0
    assert intake.NOT_SCORED not in json.loads(decided(risk=0.0)["reasons"])
    assert intake.NOT_SCORED not in json.loads(decided(risk=0.9)["reasons"])
