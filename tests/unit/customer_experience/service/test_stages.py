"""What becomes of a message: sent, suggested or escalated, and who works it when."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from baton.packs.pack import load_pack
from baton.stages.job import StageJob
from baton_packs.customer_experience.service import knowledge, policy
from baton_packs.customer_experience.service import stages as service

RULES, TABLE = policy.service(), knowledge.intents()
PLAIN = next(name for name, one in TABLE.items() if not one.regulated and one.priority == 3)
REGULATED = next(name for name, one in TABLE.items() if one.regulated)


def decided(**given: Any) -> dict[str, Any]:
    """One message's decision; by default a certain, calm question with a certain answer."""
    message = {
        "message_id": "m1",
        "address": "ann@example.org",
        "customer": "Ann Example",
        "text": "Where is my card?",
        **given.get("message", {}),
    }
    likely = json.dumps([[PLAIN, 0.8], [REGULATED, 0.1]])
    intent = pd.Series(
        {"category": PLAIN, "score": 0.9, "accepted": True, "reasons": likely, **given.get("intent", {})}
    )
    mood = pd.Series({"category": "neutral", "score": 0.9, **given.get("mood", {})})
    found = pd.Series({"best": "an-entry", "best_score": 0.9, **given.get("found", {})})
    frames = {
        name: pd.DataFrame([{"entity_key": "m1", **one}]) for name, one in (("intent", intent), ("sentiment", mood))
    }
    frames |= {"messages": pd.DataFrame([message]), "found": pd.DataFrame([{"message_id": "m1", **found}])}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "read_inputs", lambda inputs: frames)
        (decision,) = service.decide(
            StageJob("customer_experience", "customer_experience", "decide", "p", "")
        ).frame.to_dict("records")
    return decision


@pytest.mark.parametrize(("given", "route"), [
    ({}, "send"),
    ({"intent": {"score": RULES.intent - 0.01}}, "suggest"),
    ({"intent": {"accepted": False}}, "escalate"),
    ({"intent": {"category": REGULATED}}, "escalate"),
    ({"intent": {"category": "weather"}}, "escalate"),
    ({"mood": {"category": "negative", "score": 0.95}}, "escalate"),
    ({"mood": {"category": "negative", "score": RULES.angry - 0.01}}, "send"),
    ({"mood": {"category": "positive", "score": 0.99}}, "send"),
    ({"found": {"best_score": RULES.found - 0.01}}, "escalate"),
    ({"message": {"address": "ann@localhost"}}, "escalate"),
])  # fmt: skip
def test_routes(given: dict[str, Any], route: str) -> None:
    found = decided(**given)
    assert found["route"] == route, found["reasons"]
    assert json.loads(found["reasons"])
    assert 0 <= found["risk"] <= 1
    assert found["title"] == "Ann Example: Where is my card?"


def test_an_angry_customer_comes_sooner_and_the_unknown_go_to_everybody() -> None:
    assert decided()["priority"] == 3
    assert decided(mood={"category": "negative", "score": 0.95})["priority"] == 2
    assert decided()["queue"] == TABLE[PLAIN].team
    unknown = decided(intent={"accepted": False})
    assert (unknown["queue"], unknown["intent"]) == (service.UNKNOWN, None)


def test_a_case_can_be_corrected_to_a_likely_intent() -> None:
    answers = json.loads(decided(intent={"score": RULES.intent - 0.01})["resolutions"])
    assert answers["accepted"] == answers["edited"] == {"intent": PLAIN}
    assert answers["rejected"] == {}
    assert answers[f"it is: {REGULATED}"] == {"intent": REGULATED}


def test_what_nobody_could_name_is_no_label_by_being_closed() -> None:
    answers = json.loads(decided(intent={"accepted": False})["resolutions"])
    assert set(answers) == {f"it is: {PLAIN}", f"it is: {REGULATED}", "none of them"}
    assert answers["none of them"] == {}


def test_a_reply_that_a_budget_left_to_a_person_does_not_leave_by_itself() -> None:
    drafts = pd.DataFrame({
        "entity_key": ["a"], "text": ["It takes two days."], "cites": ['["A"]'], "source": ["case"],
        "reason": ["degraded: budget (a_day), for a person"],
    })  # fmt: skip
    found = pd.DataFrame({"message_id": ["a"], "entries": [json.dumps([{"entry": "an-entry"}])]})
    output = service.compose(pd.DataFrame([{**decided(), "entity_key": "a"}]), found, drafts)
    (row,) = output.frame.to_dict("records")
    assert (row["route"], row["written_by"]) == ("suggest", "case")
    assert row["template_because"] == "degraded: budget (a_day), for a person"


def test_a_reply_that_cites_nothing_does_not_leave_by_itself() -> None:
    decisions = pd.DataFrame([{**decided(), "entity_key": key} for key in "ab"])
    decisions.loc[2] = {**decided(found={"best_score": 0.0}), "entity_key": "c"}  # a person answers it
    drafts = pd.DataFrame({
        "entity_key": ["a", "b"], "text": ["It takes two days."] * 2, "cites": ['["B"]', "[]"],
        "source": ["agent", "agent"], "reason": ["", ""],
    })  # fmt: skip
    offered = json.dumps([{"entry": "an-entry"}, {"entry": "another-entry"}])
    found = pd.DataFrame({"message_id": list("abc"), "entries": offered})
    output = service.compose(decisions, found, drafts)
    assert output.frame["cites"].tolist()[:2] == ['["another-entry"]', "[]"]
    assert output.frame["route"].tolist() == ["send", "suggest", "escalate"]
    assert output.facts["without_citation"] == 1
    # what is only suggested after all can be accepted, in other words too
    sent, suggested, escalated = (json.loads(cell) for cell in output.frame["resolutions"])
    assert suggested["accepted"] == suggested["edited"] == {"intent": PLAIN}
    assert suggested["rejected"] == {}
    assert set(suggested) - {"accepted", "edited", "rejected"} == {f"it is: {REGULATED}"}
    assert "accepted" not in sent
    assert "accepted" not in escalated
    assert set(load_pack("customer_experience").contract("customer_decisions").columns) <= set(output.frame)
    assert output.frame["edits"].tolist() == [None, '{"edited": "reply"}', None]
