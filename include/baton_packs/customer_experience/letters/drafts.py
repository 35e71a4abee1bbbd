"""Checks of drafts, for both letter agents: plain sentences, the words of their sources, no going round in circles.

An agent only phrases: to whom, about what and whether anything leaves is decided before. Neither has a recipient, an
amount or a tool in its answer.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from baton.agents import AgentQuestion, AgentSpec, Refused
from baton.agents.figures import not_plain, repeats_itself
from baton_packs.customer_experience import HERE
from baton_packs.customer_experience.letters import grounding, privacy

PROMPTS = HERE / "prompts"
NAMED = 5  # words of a draft that a remark on it names
# in the schema, where it guides even a small model: one or two plain sentences, no brackets, no markup, no address
_ONE = r"[A-ZÄÖÜÉÈÀ][^\n<>`{}|\\@\[\].!?]{15,200}[.!]"
PLAIN = f"^{_ONE}( {_ONE})?$"


class Reply(BaseModel):
    """What may be answered."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=410, pattern=PLAIN, description="one or two plain sentences")


def letter_agent(name: str, **own: Any) -> AgentSpec:
    """An agent of this pack: its prompt lies under its name, it is criticised as all are, and names are hidden from it."""
    given = {"check": check, "rules": plain_words, "critic": criticise, **own}
    return AgentSpec(name=name, prompt=PROMPTS / f"{name}.md", names=lambda t: privacy.names(t), longest=1_200, **given)


def plain_words() -> dict[str, Any]:
    """Words by language that every reply may use, see `grounding.plain_words`."""
    return {"words": grounding.plain_words()}


def criticise(case: AgentQuestion, output: Any) -> list[str]:
    """What the writer may mend, in one sentence each; none for a good draft."""
    remarks = []
    if repeats_itself(output.text):
        remarks.append("Do not repeat yourself.")
    if strange := grounding.strange_words(output.text, case.facts, case.terms["plain"]):
        remarks.append(f"Use the words of FACTS, and none such as: {', '.join(strange[:NAMED])}.")
    return remarks


def check(case: AgentQuestion, output: Any) -> Any:
    """The reply, if it is one: plain, and grounded in what it may use."""
    if found := not_plain(output.text):
        return Refused("more than plain sentences", found)
    if repeats_itself(output.text):
        return Refused("a text that goes round in circles")
    if grounding.strange_words(output.text, case.facts, case.terms["plain"]):
        return Refused("a text that its sources do not say")
    return output
