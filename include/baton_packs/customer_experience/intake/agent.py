"""The agent of `document_intake`: it words the answer to a complaint or an enquiry, and decides nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from baton.agents import AgentQuestion
from baton_packs.customer_experience.letters import grounding, letters, privacy
from baton_packs.customer_experience.letters.drafts import Reply, letter_agent

if TYPE_CHECKING:
    import pandas as pd


class DocumentReply(Reply):
    """What may be answered to a document."""


def document_cases(
    decisions: pd.DataFrame, documents: pd.DataFrame, words: Mapping[str, Collection[str]]
) -> list[AgentQuestion]:
    """A case for each document whose answer is to be worded, the most urgent first.

    Args:
        words: language -> words that every reply may use.
    """
    texts = dict(zip(documents["document_id"], documents["text"], strict=True))
    rows = decisions[decisions["letter"]].sort_values(["priority", "entity_key"]).to_dict("records")
    return [_case(row, texts[row["entity_key"]], grounding.of_language(words, row["language"])) for row in rows]


def _case(row: Mapping[Any, Any], text: str, plain: Collection[str]) -> AgentQuestion:
    facts = {
        "language": row["language"] or letters.DEFAULT, "what_was_received": row["type"],
        "what_the_sender_wants": row["intent"], "what_happens_next": f"the team {row['queue']} looks into it",
        "example": letters.body(row),
    }  # fmt: skip
    personal = {"NAME": privacy.known(row["sender_name"]), "MAIL": privacy.known(row["sender"])}
    return AgentQuestion(row["entity_key"], facts, {"letter": text}, {"row": row, "plain": plain}, personal)


def document_template(case: AgentQuestion) -> DocumentReply:
    """The body that needs no model."""
    return DocumentReply.model_construct(text=letters.body(case.terms["row"]))


DOCUMENT_REPLY = letter_agent("document_reply", output=DocumentReply, cases=document_cases, template=document_template)
