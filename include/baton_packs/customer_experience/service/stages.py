"""Stages of the flow `customer_experience` that belong to no single part: what becomes of each message."""

import json
from collections.abc import Mapping
from statistics import median
from typing import Any

import pandas as pd

from baton.effects.mail import is_address
from baton.stages import StageJob, StageOutput, engine_step, read_inputs
from baton_packs.customer_experience.letters import replies
from baton_packs.customer_experience.letters.sending import ACCEPTED
from baton_packs.customer_experience.service import agent, knowledge, policy, retrieval

SEND, SUGGEST, ESCALATE = "send", "suggest", "escalate"
ANSWERED = (SEND, SUGGEST)
EDITED, REJECTED, NONE = "edited", "rejected", "none of them"
UNKNOWN = "general"  # queue of what belongs to no intent


def _content(job: StageJob) -> Mapping[str, Any]:
    """What the knowledge base says now."""
    return {one.id: one.model_dump(mode="json") for one in knowledge.entries()}


@engine_step(fingerprint=_content)
def retrieve(job: StageJob) -> StageOutput:
    """The entries of the knowledge base for each message, see `retrieval.retrieve`.

    Inputs: messages, intents (scored texts), history (texts and the intents that people confirmed, oldest first).

    Returns:
        facts: messages, sure, `examples` (how many texts an entry is found by: min and median over the entries that
        answer an intent) and, where there are none at all, a `degraded` sentence.
    """
    frames = read_inputs(job.inputs)
    found = retrieval.retrieve(**frames)
    counts = retrieval.counted(frames["history"])
    facts: dict[str, Any] = {"messages": len(found), "sure": int((found["best_score"] >= 0.5).sum())}
    facts["examples"] = {"min": min(counts), "median": median(counts)}
    if not any(counts):
        facts["degraded"] = ["no confirmed texts yet: entries are found by their own words only"]
    return StageOutput(found, facts)


def _rules(job: StageJob) -> Mapping[str, Any]:
    table = {name: one.model_dump(mode="json") for name, one in knowledge.intents().items()}
    return {"rules": policy.service().model_dump(mode="json"), "intents": table}


@engine_step(fingerprint=_rules)
def decide(job: StageJob) -> StageOutput:
    """Decide what becomes of each message: send a reply, suggest one to the team, or escalate; and who works it when.

    Inputs: messages, intent and sentiment (scored texts), found (see `retrieval.retrieve`).

    Returns:
        one row per message: entity_key, risk (how sure we are that a person is needed), route (send | suggest |
        escalate), money (0: nothing is at stake), title, reasons, queue, priority, resolutions, intent, intent_score,
        sentiment, language, sender, sender_name, subject, entry, entry_score; facts: `routes`, `answers` (how many are to be written).
    """
    rules, table, frames = policy.service(), knowledge.intents(), read_inputs(job.inputs)
    intent, sentiment = (frames[name].set_index("entity_key") for name in ("intent", "sentiment"))
    found = frames["found"].set_index("message_id")
    rows = []
    for message in frames["messages"].to_dict("records"):
        key = message["message_id"]
        rows.append(_decided(message, intent.loc[key], sentiment.loc[key], found.loc[key], table, rules))
    decisions = pd.DataFrame(rows)
    routes = {str(name): int(count) for name, count in decisions["route"].value_counts().items()}
    return StageOutput(decisions, {"routes": routes, "answers": int(decisions["route"].isin(ANSWERED).sum())})


def _decided(
    message: Mapping[Any, Any], intent: pd.Series, sentiment: pd.Series, found: pd.Series, table: Mapping[str, Any],
    rules: policy.ServicePolicy,
) -> dict[str, Any]:  # fmt: skip
    known = bool(intent["accepted"]) and intent["category"] in table
    rule = table.get(intent["category"])
    angry = sentiment["category"] == "negative" and float(sentiment["score"]) >= rules.angry
    reasons = []
    if not known:
        reasons.append(f"intent is not certain: {intent['category']} at {intent['score']:.2f}")
    if rule is not None and rule.regulated:
        reasons.append(f"{intent['category']} is a regulated topic")
    if angry:
        reasons.append(f"negative at {sentiment['score']:.2f}")
    if not is_address(message["address"]):
        reasons.append("the address on file is none that can be answered")
    route = ESCALATE if reasons else SEND
    if route == SEND and float(found["best_score"]) < rules.found:
        route, reasons = ESCALATE, [f"no entry is certain: {found['best']} at {found['best_score']:.2f}"]
    elif route == SEND and float(intent["score"]) < rules.intent:
        route, reasons = SUGGEST, [f"{intent['category']} at {intent['score']:.2f}"]
    elif route == SEND:
        reasons = [f"{intent['category']} at {intent['score']:.2f}, entry {found['best']} at {found['best_score']:.2f}"]
    priority = (rule.priority if rule is not None and known else 2) - int(angry)
    return {
        "entity_key": message["message_id"], "risk": _need(route, intent, found), "route": route, "money": 0.0,
        "title": f"{message['customer']}: {message['text'][:200]}", "reasons": json.dumps(reasons), "queue": rule.team if rule is not None and known else UNKNOWN,
        "priority": max(1, priority), "resolutions": json.dumps(_resolutions(route, known, intent, table)),
        "intent": intent["category"] if known else None, "intent_score": float(intent["score"]),
        "sentiment": sentiment["category"], "language": "en", "sender": message["address"], "sender_name": message["customer"],
        "subject": "Your message", "entry": found["best"], "entry_score": float(found["best_score"]),
    }  # fmt: skip


def _need(route: str, intent: pd.Series, found: pd.Series) -> float:
    """How sure we are that a person is needed, 0..1: an escalation counts whole, else what is not certain."""
    return 1.0 if route == ESCALATE else round(1.0 - min(float(intent["score"]), float(found["best_score"])), 6)


def _resolutions(route: str, known: bool, intent: pd.Series, table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A suggestion is accepted, edited or rejected; else a person names what it is about: a likely intent, or none at all.

    Accepting sends the suggestion, editing sends it in other words; every answer but `rejected` and `none of them` is a
    label.
    """
    said, answers = {"intent": intent["category"]}, dict[str, dict[str, Any]]()
    if route == SUGGEST:
        answers = _on_suggestion(said)
    elif known:
        answers = {f"right: {intent['category']}": said}
    likely = [name for name, _ in json.loads(intent["reasons"]) if name in table]
    answers |= {f"it is: {name}": {"intent": name} for name in likely if {"intent": name} not in answers.values()}
    return answers if route == SUGGEST else {**answers, NONE: {}}


def _on_suggestion(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {ACCEPTED: said, EDITED: said, REJECTED: {}}


def _suggested_instead(resolutions: str) -> str:
    """The answers to what would have been sent, once it is only suggested."""
    answers = json.loads(resolutions)
    said = next(labels for answer, labels in answers.items() if answer.startswith("right: "))
    others = {answer: labels for answer, labels in answers.items() if answer.startswith("it is: ")}
    return json.dumps(_on_suggestion(said) | others)


def compose(decisions: pd.DataFrame, found: pd.DataFrame, drafts: pd.DataFrame | None = None) -> StageOutput:
    """Decisions with their replies and the entries that these cite; a reply that cites nothing is never sent by itself, nor is
    one that a budget left to a person.

    Returns:
        columns of `replies.join`, cites (JSON list of entries), edits (JSON: the answer that a suggestion is worded anew
        with); facts: also `without_citation`, suggested for that reason.
    """
    output = replies.join(decisions, drafts, ANSWERED, {}, on_file=True)
    offered = dict(zip(found["message_id"], found["entries"], strict=True))
    rows = [] if drafts is None else drafts.to_dict("records")
    cites = {row["entity_key"]: json.dumps(agent.cited(row, offered)) for row in rows}
    listed = [cites.get(key) for key in output.frame["entity_key"]]
    whole = output.frame.assign(cites=pd.Series(listed, index=output.frame.index, dtype=object))
    bare = (whole["route"] == SEND) & whole["cites"].map(lambda cell: not json.loads(cell or "[]"))
    seen = bare | ((whole["route"] == SEND) & (whole["written_by"] == "case"))  # a budget wants a person to see it
    whole.loc[seen, "route"] = SUGGEST
    whole.loc[seen, "resolutions"] = whole.loc[seen, "resolutions"].map(_suggested_instead)
    edits = [json.dumps({EDITED: "reply"}) if route == SUGGEST else None for route in whole["route"]]
    whole["edits"] = pd.Series(edits, index=whole.index, dtype=object)
    return StageOutput(whole, {**output.facts, "without_citation": int(bare.sum())})
