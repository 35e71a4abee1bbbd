"""The two agents of this pack. Both only phrase: to whom, about what and whether anything leaves is decided before.

`DOCUMENT_REPLY` words the answer to a complaint or an enquiry; `CUSTOMER_REPLY` the reply to a customer out of entries of
the knowledge base. Neither has a recipient, an amount or a tool in its answer.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from baton.agents.case import Case, Refused
from baton.agents.figures import not_plain, repeats_itself
from baton.agents.spec import AgentSpec
from baton_packs.customer_experience import HERE
from baton_packs.customer_experience.letters import grounding, letters, privacy

if TYPE_CHECKING:
    import pandas as pd

PROMPTS = HERE / "prompts"
NAMED = 5  # words of a draft that a remark on it names
LETTERS = ("A", "B")  # entries as the model sees them, the best one first
# in the schema, where it guides even a small model: one or two plain sentences, no brackets, no markup, no address
_ONE = r"[A-ZÄÖÜÉÈÀ][^\n<>`{}|\\@\[\].!?]{15,200}[.!]"
_PLAIN = f"^{_ONE}( {_ONE})?$"


class DocumentReply(BaseModel):
    """What may be answered to a document."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=410, pattern=_PLAIN, description="one or two plain sentences")


class CustomerReply(BaseModel):
    """What may be answered to a customer."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=410, pattern=_PLAIN, description="one or two plain sentences")
    cites: list[Literal["A", "B"]] = Field(
        min_length=1, max_length=2, description="letters of the entries that were used"
    )


def names(text: str) -> Any:
    """Names in free text, see `privacy.names`."""
    return privacy.names(text)


def plain_words() -> dict[str, Any]:
    """Words by language that every reply may use, see `grounding.plain_words`."""
    return {"words": grounding.plain_words()}


def document_cases(
    decisions: pd.DataFrame, documents: pd.DataFrame, words: Mapping[str, Collection[str]]
) -> list[Case]:
    """A case for each document whose answer is to be worded, the most urgent first.

    Args:
        words: language -> words that every reply may use.
    """
    texts = dict(zip(documents["document_id"], documents["text"], strict=True))
    rows = decisions[decisions["letter"]].sort_values(["priority", "entity_key"]).to_dict("records")
    return [
        Case(
            key=row["entity_key"],
            facts={
                "language": row["language"] or letters.DEFAULT, "what_was_received": row["type"],
                "what_the_sender_wants": row["intent"], "what_happens_next": f"the team {row['queue']} looks into it",
                "example": letters.body(row),
            },
            data={"letter": texts[row["entity_key"]]},
            terms={"row": row, "plain": grounding.of_language(words, row["language"])},
            personal={"NAME": privacy.known(row["sender_name"]), "MAIL": privacy.known(row["sender"])},
        )
        for row in rows
    ]  # fmt: skip


def answers() -> dict[str, Any]:
    """What each entry of the knowledge base says, and the words that every reply may use."""
    from baton_packs.customer_experience.service import knowledge

    return {"says": {one.id: one.answer for one in knowledge.entries()}, **plain_words()}


def customer_cases(
    decisions: pd.DataFrame,
    messages: pd.DataFrame,
    found: pd.DataFrame,
    says: Mapping[str, str],
    words: Mapping[str, Collection[str]],
) -> list[Case]:
    """A case for each message that gets a reply, what is least certain first.

    Args:
        says: entry -> its answer.
        words: language -> words that every reply may use; the entries are in `letters.DEFAULT`.
    """
    by_id = messages.set_index("message_id")
    entries = dict(zip(found["message_id"], found["entries"], strict=True))
    rows = decisions[decisions["route"].isin(["send", "suggest"])].sort_values(
        ["risk", "entity_key"], ascending=[False, True]
    )
    cases, plain = [], grounding.of_language(words, letters.DEFAULT)
    for row in rows.to_dict("records"):
        key, person = row["entity_key"], by_id.loc[row["entity_key"]]
        offered = dict(zip(LETTERS, [entry["entry"] for entry in json.loads(entries[key])], strict=False))
        cases.append(
            Case(
                key=key,
                facts={"entries": {letter: says[entry] for letter, entry in offered.items()}},
                data={"message": str(person["text"])},
                terms={"entries": offered, "row": row, "answer": says[row["entry"]], "plain": plain},
                personal={
                    "NAME": privacy.known(person["customer"]),
                    "MAIL": privacy.known(person["address"]),
                    "ACCOUNT": privacy.known(person["account"]),
                },
            )
        )
    return cases


def criticise(case: Case, output: Any) -> list[str]:
    """What the writer may mend, in one sentence each; none for a good draft."""
    remarks = []
    if repeats_itself(output.text):
        remarks.append("Do not repeat yourself.")
    if strange := grounding.strange_words(output.text, case.facts, case.terms["plain"]):
        remarks.append(f"Use the words of FACTS, and none such as: {', '.join(strange[:NAMED])}.")
    return remarks


def check(case: Case, output: Any) -> Any:
    """The reply, if it is one: plain, grounded in what it may use, citing what was found."""
    if found := not_plain(output.text):
        return Refused("more than plain sentences", found)
    if repeats_itself(output.text):
        return Refused("a text that goes round in circles")
    if grounding.strange_words(output.text, case.facts, case.terms["plain"]):
        return Refused("a text that its sources do not say")
    if isinstance(output, CustomerReply) and (strange := set(output.cites) - set(case.terms["entries"])):
        return Refused("entry that was not found", min(strange))
    return output


def cited(row: Mapping[Any, Any], found: Mapping[str, str]) -> list[str]:
    """Entries that a drafted reply cites, by their ids.

    Args:
        row: of the draft: cites (JSON list of letters), source.
        found: message_id -> entries (JSON) as they were offered.
    """
    offered = [entry["entry"] for entry in json.loads(found[row["entity_key"]])]
    return [offered[LETTERS.index(letter)] for letter in dict.fromkeys(json.loads(row["cites"]))]


def document_template(case: Case) -> DocumentReply:
    """The body that needs no model."""
    return DocumentReply.model_construct(text=letters.body(case.terms["row"]))


def customer_template(case: Case) -> CustomerReply:
    """The best entry's own words."""
    return CustomerReply.model_construct(text=case.terms["answer"], cites=["A"])


DOCUMENT_REPLY = AgentSpec(
    name="document_reply",
    prompt=PROMPTS / "document_reply.md",
    output=DocumentReply,
    cases=document_cases,
    check=check,
    template=document_template,
    rules=plain_words,
    critic=criticise,
    names=names,
    longest=1_200,
)
CUSTOMER_REPLY = AgentSpec(
    name="customer_reply",
    prompt=PROMPTS / "customer_reply.md",
    output=CustomerReply,
    cases=customer_cases,
    check=check,
    template=customer_template,
    rules=answers,
    critic=criticise,
    names=names,
    longest=1_200,
)
