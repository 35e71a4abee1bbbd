"""Stages of the flow `document_intake` that belong to no single part: what becomes of each document, and its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from baton.effects.mail import is_address
from baton.stages import StageJob, StageOutput, engine_step, read_inputs
from baton_packs.customer_experience.fields import extract as extraction
from baton_packs.customer_experience.intake import policy as policies
from baton_packs.customer_experience.intake import risk
from baton_packs.customer_experience.intake.policy import Desk, IntakePolicy
from baton_packs.customer_experience.intake.pressure import urgency
from baton_packs.customer_experience.letters import letters, privacy, replies

if TYPE_CHECKING:
    import pandas as pd

FILE, REPLY, FOLLOW_UP, APPROVE, ESCALATE = "file", "reply", "follow_up", "approve", "escalate"
ANSWERED = (REPLY, FOLLOW_UP, APPROVE)
INVOICES = ("invoice", "reminder")
WORDED = ("complaint", "enquiry")  # answers that an agent words; the others are always the same
NOBODY = "none"  # queue of what nobody works
SAID = 3  # of the things that were not read, named in the reasons
STAKES = ("total", "amount", "account_number", "iban")  # fields with one of which money may be lost
NOT_SCORED = "risk not scored: no amount, account or pressure"
NEEDED = ("issuer", "invoice_number", "date", "total")


def fields(parsed: pd.DataFrame) -> StageOutput:
    """The fields of each document, see `fields.extract`, and its sender, which later documents are compared with.

    Returns:
        one row per document; facts: documents, with_amount, at_stake (documents with an amount, an account, or words that
            press, swear to secrecy or announce another account: their risk is worth scoring).
    """
    found = extraction.extract(parsed)
    found.insert(1, "sender", parsed["sender"].to_numpy())
    amounts = int(found["total"].notna().sum())
    at_stake = sum(map(_at_stake, found["fields"], parsed["subject"], parsed["text"]))
    return StageOutput(found, {"documents": len(found), "with_amount": amounts, "at_stake": at_stake})


def _at_stake(fields: str, subject: object, text: object) -> bool:
    if any(one["field"] in STAKES for one in json.loads(fields)):
        return True
    return urgency(*(part if isinstance(part, str) else "" for part in (subject, text))) > 0.0


def features(parsed: pd.DataFrame, fields: pd.DataFrame, past: pd.DataFrame) -> pd.DataFrame:
    """What the risk model sees, see `risk.features`."""
    return risk.features(parsed, fields, past)


def _rules(job: StageJob) -> Mapping[str, Any]:
    return policies.intake().model_dump(mode="json")


@engine_step(fingerprint=_rules)
def decide(job: StageJob) -> StageOutput:
    """Decide what becomes of each document: rules on what the models said; no text decides anything.

    Inputs: documents (parsed, checked), fields, type and intent (scored texts), risk (scored features; missing where no
    document has anything at stake, see `fields`: then its reasons say that its risk was not scored).

    Returns:
        one row per document: entity_key, risk, route (file | reply | follow_up | approve | escalate), action (what an
        answer is: reply | follow_up | ''), money, title, topic, reasons, queue, priority, resolutions, type, type_score, intent,
        language, sender, sender_name, subject, issuer, invoice_number, date, total, currency, missing (JSON), fields (JSON:
        what was read, with its places), letter (an agent words the answer); facts: `routes`, `letters` (how many).
    """
    import pandas as pd

    rules, frames = policies.intake(), read_inputs(job.inputs)
    said = {name: frames[name].set_index("entity_key") for name in ("type", "intent") if name in frames}
    scores = frames["risk"].set_index("entity_key")["score"].to_dict() if "risk" in frames else {}
    found = frames["fields"].set_index("document_id")
    rows = []
    for document in frames["documents"].to_dict("records"):
        key = document["document_id"]
        one = {"type": said["type"].loc[key], "intent": said["intent"].loc[key], "fields": found.loc[key]}
        rows.append(_decided(document, {**one, "risk": scores.get(key)}, rules))
    decisions = pd.DataFrame(rows)
    routes = {str(name): int(count) for name, count in decisions["route"].value_counts().items()}
    return StageOutput(decisions, {"routes": routes, "letters": int(decisions["letter"].sum())})


def _decided(document: Mapping[Any, Any], said: Mapping[str, Any], rules: IntakePolicy) -> dict[str, Any]:
    kind, intent, found = said["type"], said["intent"], said["fields"]
    unscored = [NOT_SCORED] if said["risk"] is None else []
    said = {**said, "risk": said["risk"] or 0.0}
    money = float(found["total"]) if found["total"] == found["total"] else 0.0
    missing = [name for name in NEEDED if found[name] is None or found[name] != found[name]]
    missing = missing if kind["category"] in INVOICES else []
    route, action, desk, reasons = _route(document, said, rules, money, missing)
    return {
        "entity_key": document["document_id"], "risk": said["risk"], "route": route, "action": action, "money": abs(money),
        "title": _title(document, kind["category"], found), "topic": _topic(kind["category"], intent["category"]),
        "reasons": json.dumps([*reasons, *unscored]), "queue": desk.queue, "priority": desk.priority,
        "resolutions": json.dumps(_resolutions(kind["category"], intent["category"], rules)),
        "type": kind["category"], "type_score": float(kind["score"]), "intent": intent["category"],
        "language": document["language"], "sender": document["sender"], "sender_name": document["sender_name"],
        "subject": document["subject"], "missing": json.dumps(missing), "fields": extraction.best_fields(found["fields"]),
        "letter": action == "reply" and kind["category"] in WORDED,
        **{name: _text(found[name]) for name in ("issuer", "invoice_number", "date", "currency")},
        "total": float(found["total"]),
    }  # fmt: skip


def _route(
    document: Mapping[Any, Any], said: Mapping[str, Any], rules: IntakePolicy, money: float, missing: list[str]
) -> tuple[str, str, Desk, list[str]]:
    """(route, action, desk, why): what is said of the document, and a person where part of it was not read."""
    route, action, desk, why = _said_of(document, said, rules, money, missing)
    if unread := _listed(document.get("unread")):
        why = [*why, f"part of it could not be read: {'; '.join(unread[:SAID])}"]
        if route == FILE or action == "follow_up":  # nobody would see the rest, or be asked for what is in it
            route, action = ESCALATE, ""
        elif route == REPLY:
            route = APPROVE
    # a case in a queue that nobody works would wait for ever
    return route, action, rules.sorting if route == ESCALATE and desk.queue == NOBODY else desk, why


def _above(money: float, currency: Any, rules: IntakePolicy) -> str:
    """What is said of an amount above its currency's limit, "" for a smaller one; what is paid back counts as well."""
    if isinstance(currency, str) and currency in rules.largest:
        limit, of = rules.largest[currency], currency
    else:
        limit, of = min(rules.largest.values()), "in a currency without a limit of its own"
    return f"amount above {limit:,.0f} {of}" if abs(money) > limit else ""


def _listed(text: Any) -> list[str]:
    return [str(each) for each in json.loads(text)] if isinstance(text, str) and text else []


def _said_of(
    document: Mapping[Any, Any], said: Mapping[str, Any], rules: IntakePolicy, money: float, missing: list[str]
) -> tuple[str, str, Desk, list[str]]:
    """(route, action, desk, why): danger first, then doubt, then the type's own rule."""
    kind, intent, risk = said["type"], said["intent"], said["risk"]
    rule = rules.types.get(kind["category"])
    if risk >= rules.risk.escalate:
        return ESCALATE, "", rules.fraud_desk, [f"risk {risk:.2f} is at least {rules.risk.escalate:g}"]
    if rule is None or not bool(kind["accepted"]):
        return ESCALATE, "", rules.sorting, [f"type is not certain: {kind['category']} at {kind['score']:.2f}"]
    why = [f"{kind['category']} at {kind['score']:.2f}, {intent['category']} at {intent['score']:.2f}"]
    if kind["category"] == "invoice" and (above := _above(money, said["fields"]["currency"], rules)):
        return ESCALATE, "", rule, [*why, above]
    if kind["category"] == "invoice" and (missing or said["fields"]["confidence"] < rules.fields):
        what = f"missing: {', '.join(missing)}" if missing else f"weakest field at {said['fields']['confidence']:.2f}"
        if missing and is_address(document["sender"]) and not bool(document["automatic"]):
            return FOLLOW_UP if risk < rules.risk.review else APPROVE, "follow_up", rule, [*why, what]
        return ESCALATE, "", rule, [*why, what]
    if rule.route == FILE:
        if risk >= rules.risk.review:
            return ESCALATE, "", rule, [*why, f"risk {risk:.2f} is at least {rules.risk.review:g}"]
        return FILE, "", rule, why
    if bool(document["automatic"]):
        # contact forms write from noreply@, so somebody may wait for an answer to a complaint or an enquiry
        route = ESCALATE if kind["category"] in WORDED else FILE
        return route, "", rule, [*why, "a machine wrote it: an answer would start a loop"]
    if not is_address(document["sender"]):
        return ESCALATE, "", rule, [*why, "it came without an address that can be answered"]
    if not bool(intent["accepted"]):
        return APPROVE, "reply", rule, [*why, "intent is not certain"]
    if risk >= rules.risk.review:
        return APPROVE, "reply", rule, [*why, f"risk {risk:.2f} is at least {rules.risk.review:g}"]
    return rule.route, "reply", rule, why


def _resolutions(kind: str, intent: str, rules: IntakePolicy) -> dict[str, dict[str, Any]]:
    """What a person may answer: as it was read, fraud, or which type it really is; each is a label."""
    right: dict[str, Any] = {"type": kind, "intent": intent, "risky": 0}
    answers = {f"right: {kind}": right, f"fraud ({kind})": {"type": kind, "risky": 1}, "fraud": {"risky": 1}}
    return answers | {f"it is: {other}": {"type": other, "risky": 0} for other in rules.types if other != kind}


def _topic(kind: str, intent: str) -> str:
    """What a document is about, without personal data: `Complaint: charged twice`."""
    words = f"{kind}: {intent}".replace("_", " ")
    return words[:1].upper() + words[1:]


def _title(document: Mapping[Any, Any], kind: str, found: Mapping[Any, Any]) -> str:
    """What a clerk calls a document: its subject, or what it is and its number, and from whom."""
    number = _text(found["invoice_number"])
    about = _text(document["subject"]) or (f"{kind} {number}" if number else f"{kind} without a subject")
    who = _text(document["sender_name"]) or _text(found["issuer"]) or _text(document["sender"])
    return f"{about}, from {who}" if who else about


def _text(value: Any) -> str | None:
    return None if value is None or value != value else str(value)


def compose(decisions: pd.DataFrame, documents: pd.DataFrame, drafts: pd.DataFrame | None = None) -> StageOutput:
    """Decisions with their answers: columns people (named in the letter), reply, masked (for approval), written_by, template_because."""
    import pandas as pd

    texts = documents.set_index("document_id")["text"]
    named = [
        json.dumps(sorted({text[start:end] for start, end, _ in privacy.names(text)})) if route == APPROVE else None
        for text, route in zip(texts.loc[decisions["entity_key"]], decisions["route"], strict=True)
    ]
    decisions = decisions.assign(people=pd.Series(named, index=decisions.index, dtype=object))
    alike = decisions[decisions["route"].isin(ANSWERED) & ~decisions["letter"]]
    always = {row["entity_key"]: letters.body(row) for row in alike.to_dict("records")}
    return replies.join(decisions, drafts, ANSWERED, always, on_file=False)
