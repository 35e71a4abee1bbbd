"""The two agents of this pack. Both only phrase: to whom, about what and whether anything leaves is decided before.

`DOCUMENT_REPLY` words the answer to a complaint or an enquiry; `CUSTOMER_REPLY` the reply to a customer out of entries of
the knowledge base. Neither has a recipient, an amount or a tool in its answer.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from baton.agents.figures import not_plain, repeats_itself
from baton.agents.spec import AgentSpec, Case, Refused
from baton_packs.customer_experience import letters

if TYPE_CHECKING:
    import pandas as pd

PROMPTS = Path(__file__).parent / "prompts"
GROUNDED = 0.6  # share of a reply's words of substance that must stand in what it may use
_WORD = re.compile(r"[^\W\d_]{5,}")
# in the schema, where it guides even a small model: plain sentences, no brackets, no markup, no address
_PLAIN = r"^[A-ZÄÖÜÉÈÀ][^\n<>`{}|\\@\[\]]{20,480}[.!?]$"


class DocumentReply(BaseModel):
    """What may be answered to a document."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=500, pattern=_PLAIN, description="one or two plain sentences")


class CustomerReply(BaseModel):
    """What may be answered to a customer."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=500, pattern=_PLAIN, description="one to three plain sentences")
    cites: list[Annotated[str, Field(max_length=60)]] = Field(
        min_length=1, max_length=3, description="ids of the entries that were used"
    )


def names(text: str) -> Any:
    """Names in free text, see `privacy.names`."""
    from baton_packs.customer_experience import privacy

    return privacy.names(text)


def document_cases(decisions: pd.DataFrame, documents: pd.DataFrame) -> list[Case]:
    """A case for each document whose answer is to be worded, the most urgent first."""
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
            terms={"row": row},
            personal={"NAME": _known(row["sender_name"]), "MAIL": _known(row["sender"])},
        )
        for row in rows
    ]  # fmt: skip


def customer_cases(decisions: pd.DataFrame, messages: pd.DataFrame, found: pd.DataFrame) -> list[Case]:
    """A case for each message that gets a reply, what is least certain first."""
    by_id = messages.set_index("message_id")
    entries = dict(zip(found["message_id"], found["entries"], strict=True))
    best = dict(zip(found["message_id"], found["answer"], strict=True))
    rows = decisions[decisions["route"].isin(["send", "suggest"])].sort_values(
        ["risk", "entity_key"], ascending=[False, True]
    )
    cases = []
    for row in rows.to_dict("records"):
        key, person = row["entity_key"], by_id.loc[row["entity_key"]]
        listed = json.loads(entries[key])
        cases.append(
            Case(
                key=key,
                facts={"entries": [{"id": row["entry"], "says": best[key]}]},
                data={"message": str(person["text"])},
                terms={"entries": [entry["entry"] for entry in listed], "row": row, "answer": best[key]},
                personal={
                    "NAME": _known(person["customer"]),
                    "MAIL": _known(person["address"]),
                    "ACCOUNT": _known(person["account"]),
                },
            )
        )
    return cases


def _known(value: Any) -> list[str]:
    return [value] if isinstance(value, str) and value else []


def criticise(case: Case, output: Any) -> list[str]:
    """What the writer may mend, in one sentence each; none for a good draft."""
    remarks = []
    if repeats_itself(output.text):
        remarks.append("Do not repeat yourself.")
    if _share_known(case, output.text) < GROUNDED:
        remarks.append("Stay closer to the words of FACTS.")
    return remarks


def check(case: Case, output: Any) -> Any:
    """The reply, if it is one: plain, grounded in what it may use, citing what was found."""
    if found := not_plain(output.text):
        return Refused("more than plain sentences", found)
    if repeats_itself(output.text):
        return Refused("a text that goes round in circles")
    if _share_known(case, output.text) < GROUNDED:
        return Refused("a text that its sources do not say")
    if isinstance(output, CustomerReply) and (strange := set(output.cites) - set(case.terms["entries"])):
        return Refused("entry that was not found", min(strange))
    return output


def _share_known(case: Case, text: str) -> float:
    """Share of the text's words of substance that stand in the facts."""
    known = {word.casefold() for word in _WORD.findall(json.dumps(case.facts, ensure_ascii=False))}
    words = [word.casefold() for word in _WORD.findall(text)]
    return sum(word in known for word in words) / len(words) if words else 0.0


def document_template(case: Case) -> DocumentReply:
    """The body that needs no model."""
    return DocumentReply.model_construct(text=letters.body(case.terms["row"]))


def customer_template(case: Case) -> CustomerReply:
    """The best entry's own words."""
    return CustomerReply.model_construct(text=case.terms["answer"], cites=[case.terms["row"]["entry"]])


DOCUMENT_REPLY = AgentSpec(
    name="document_reply",
    prompt=PROMPTS / "document_reply.md",
    output=DocumentReply,
    cases=document_cases,
    check=check,
    template=document_template,
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
    critic=criticise,
    names=names,
    longest=1_200,
)
