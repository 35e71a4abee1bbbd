"""The agent of `customer_experience`: it words a reply out of entries of the knowledge base, and decides nothing."""

import json
from collections.abc import Collection, Mapping
from typing import Any, Literal

import pandas as pd
from pydantic import Field

from baton.agents import AgentQuestion, Refused
from baton_packs.customer_experience.letters import drafts, grounding, letters, privacy
from baton_packs.customer_experience.service import knowledge

LETTERS = ("A", "B")  # entries as the model sees them, the best one first


class CustomerReply(drafts.Reply):
    """What may be answered to a customer."""

    cites: list[Literal["A", "B"]] = Field(min_length=1, max_length=2, description="letters of the entries used")


def answers() -> dict[str, Any]:
    """What each entry of the knowledge base says, and the words that every reply may use."""
    return {"says": {one.id: one.answer for one in knowledge.entries()}, **drafts.plain_words()}


def customer_cases(
    decisions: pd.DataFrame,
    messages: pd.DataFrame,
    found: pd.DataFrame,
    says: Mapping[str, str],
    words: Mapping[str, Collection[str]],
) -> list[AgentQuestion]:
    """A case for each message that gets a reply, what is least certain first.

    Args:
        says: entry -> its answer.
        words: language -> words that every reply may use; the entries are in `letters.DEFAULT`.
    """
    by_id = messages.set_index("message_id")
    entries = dict(zip(found["message_id"], found["entries"], strict=True))
    cases, plain = [], grounding.of_language(words, letters.DEFAULT)
    answered = decisions[decisions["route"].isin(["send", "suggest"])]
    for row in answered.sort_values(["risk", "entity_key"], ascending=[False, True]).to_dict("records"):
        key, person = row["entity_key"], by_id.loc[row["entity_key"]]
        offered = dict(zip(LETTERS, [entry["entry"] for entry in json.loads(entries[key])], strict=False))
        facts = {"entries": {letter: says[entry] for letter, entry in offered.items()}}
        terms = {"entries": offered, "row": row, "answer": says[row["entry"]], "plain": plain}
        hidden = {"NAME": person["customer"], "MAIL": person["address"], "ACCOUNT": person["account"]}
        personal = {kind: privacy.known(value) for kind, value in hidden.items()}
        cases.append(AgentQuestion(key, facts, {"message": str(person["text"])}, terms, personal))
    return cases


def check(case: AgentQuestion, output: Any) -> Any:
    """The reply, if it passes `drafts.check` and cites what was found."""
    checked = drafts.check(case, output)
    if isinstance(checked, CustomerReply) and (strange := set(checked.cites) - set(case.terms["entries"])):
        return Refused("entry that was not found", min(strange))
    return checked


def cited(row: Mapping[Any, Any], found: Mapping[str, str]) -> list[str]:
    """Entries that a drafted reply cites, by their ids.

    Args:
        row: of the draft: cites (JSON list of letters), source.
        found: message_id -> entries (JSON) as they were offered.
    """
    offered = [entry["entry"] for entry in json.loads(found[row["entity_key"]])]
    return [offered[LETTERS.index(letter)] for letter in dict.fromkeys(json.loads(row["cites"]))]


def customer_template(case: AgentQuestion) -> CustomerReply:
    """The best entry's own words."""
    return CustomerReply.model_construct(text=case.terms["answer"], cites=["A"])


CUSTOMER_REPLY = drafts.letter_agent(
    "customer_reply", output=CustomerReply, cases=customer_cases, check=check, template=customer_template, rules=answers
)
