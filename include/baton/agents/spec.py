"""The spec of an agent, as a pack writes it: prompt, typed output, which rows are asked about, what is accepted."""

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from baton.agents.case import AgentQuestion, Refused
from baton.agents.personal import Detector
from baton.agents.tools import Tool
from baton.errors import SpecError

META = (
    "entity_key", "source", "reason", "model", "prompt_sha", "prompt_version", "rounds", "input_tokens", "output_tokens",
    "seconds",
)  # fmt: skip
"""Columns of a result that are not the output's own."""

MOST_REDRAFTS = 2


class Remarks(BaseModel):
    """What a critic answers."""

    model_config = ConfigDict(extra="forbid")

    ok: bool = Field(description="true if the draft may go out as it is")
    remarks: list[Annotated[str, Field(max_length=200)]] = Field(
        default=[], max_length=5, description="what is to be mended, one short sentence each"
    )


@dataclass(frozen=True)
class Critic:
    """A second call to the same model, which judges a draft; it sees what the writer saw, and answers `Remarks`."""

    prompt: Path


@dataclass(frozen=True)
class AgentSpec:
    """An agent of a pack. All functions but `rules` are pure.

        class Reply(BaseModel):
            text: str = Field(max_length=900, description="the reply to the customer")
            cites: list[Annotated[str, Field(max_length=40)]] = Field(min_length=1, max_length=3)

        def cases(messages: pd.DataFrame, found: pd.DataFrame, limit: float = 0.5) -> list[AgentQuestion]:
            return [
                AgentQuestion(
                    key=row["message_id"],
                    facts={"entries": json.loads(row["entries"])},
                    data={"message": row["text"]},
                    terms={"entries": {entry["entry"] for entry in json.loads(row["entries"])}},
                    personal={"NAME": [row["customer"]], "MAIL": [row["address"]], "ACCOUNT": [row["account"]]},
                )
                for row in messages.merge(found, on="message_id").to_dict("records")
            ]

        def criticise(case: AgentQuestion, reply: Reply) -> list[str]:            # what the writer may mend
            return [] if reply.text.endswith(".") else ["End with a full sentence."]

        def check(case: AgentQuestion, reply: Reply) -> Reply | Refused:          # what nobody may break; always last
            strange = set(reply.cites) - case.terms["entries"]
            return Refused("entry that was not found", min(strange)) if strange else reply

        REPLY = AgentSpec("reply", Path(__file__).parent / "prompts" / "reply.md", Reply, cases, check, template,
                          critic=criticise, names=names.detect, longest=1_500)

    To whom it goes, which amount and which tool are never in the output's type: they come from the frames.

    Attributes:
        name: what facts and sentences call it; its MLflow experiment is `agents/<name>`, its prompt `<name>`.
        prompt: file with the instructions; its SHA-256 goes into every row of the result.
        output: pydantic model of an answer; every text in it has a `max_length`.
        cases: frames by the stage's input names (with `rules` and the option `params` as keywords) to cases, the most
            important first.
        check: (case, output) to the output that is accepted, or why it is refused. Policy lives here.
        template: case to the output that stands where no answer is accepted.
        rules: what the pack reads from its own files, JSON: keywords of `cases`, and part of the stage's digest.
        critic: judges each draft before `check` does: a `Critic`, or a pure function (case, output) to remarks, none if
            it is good. A draft with remarks is written anew; if they remain after the last redraft, it is refused.
        redrafts: how often, 2 at most.
        names: finds names in free text, (text) to (start, end, kind); for those that no case knows.
        longest: characters of each text of data that the model is shown.
        tools: what the model may look up by itself while it writes; none that changes anything.
    """

    name: str
    prompt: Path
    output: type[BaseModel]
    cases: Callable[..., list[AgentQuestion]]
    check: Callable[[AgentQuestion, Any], BaseModel | Refused]
    template: Callable[[AgentQuestion], BaseModel]
    rules: Callable[[], dict[str, Any]] = dict
    critic: Critic | Callable[[AgentQuestion, Any], list[str]] | None = None
    redrafts: int = MOST_REDRAFTS
    names: Detector | None = None
    longest: int = 200
    tools: tuple[Tool, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", self.name):
            raise SpecError(f"agent {self.name!r}: a name is made of letters, digits and _ . -, a letter first")
        if not 0 <= self.redrafts <= MOST_REDRAFTS:
            raise SpecError(f"agent {self.name}: redrafts is {self.redrafts}; 0 to {MOST_REDRAFTS} are allowed")
        for tool in self.tools:
            tool.must_be_harmless(self.name)
        if clash := sorted(set(self.output.model_fields) & set(META)):
            raise SpecError(f"agent {self.name}: field {clash[0]} of its output is a column of every result; rename it")
        for place in _unbounded(self.output.model_json_schema()):
            raise SpecError(
                f"agent {self.name}: {place} of its output has no max_length; a model may not write at length"
            )

    @property
    def instructions(self) -> str:
        """The prompt's text. Raises SpecError: the file is missing or empty."""
        return _text(self.name, self.prompt)

    @property
    def critic_instructions(self) -> str:
        """The text of the critic's prompt; empty where the critic has none.

        Raises:
            SpecError: the file is missing or empty.
        """
        return _text(self.name, self.critic.prompt) if isinstance(self.critic, Critic) else ""

    @property
    def prompt_sha(self) -> str:
        """SHA-256 of the prompt's text."""
        return _sha(self.instructions)

    def state(self) -> dict[str, Any]:
        """What an answer depends on besides frames and model: prompts, schema, rules, the modules of the functions."""
        functions: list[Any] = [self.cases, self.check, self.template, self.names]
        functions += [*(tool.function for tool in self.tools), None if isinstance(self.critic, Critic) else self.critic]
        sources = {inspect.getsource(inspect.getmodule(f) or f) for f in functions if f is not None}
        return {
            "prompt": self.prompt_sha,
            "output": _sha(json.dumps(self.output.model_json_schema(), sort_keys=True)),
            "rules": self.rules(),
            "code": _sha("\0".join(sorted(sources))),
            "critic": _sha(self.critic_instructions),
            "limits": [self.redrafts, self.longest, *([tool.name, tool.max_calls] for tool in self.tools)],
        }


def _text(name: str, prompt: Path) -> str:
    try:
        text = prompt.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"agent {name}: prompt {prompt.name} cannot be read: {error}") from error
    if not text.strip():
        raise SpecError(f"agent {name}: prompt {prompt.name} is empty; write what the agent is to do")
    return text


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _unbounded(schema: Any, place: str = "") -> Iterator[str]:
    """Places of a JSON Schema where a text of any length fits."""
    if isinstance(schema, list):
        for part in schema:
            yield from _unbounded(part, place)
    elif isinstance(schema, dict):
        if schema.get("type") == "string" and not {"maxLength", "enum", "const", "format"} & set(schema):
            yield place or "the text"
        for name, part in schema.items():
            if isinstance(part, dict | list) and name not in ("enum", "const", "default", "examples"):
                yield from _unbounded(part, place if name in ("properties", "items", "anyOf", "$defs") else name)
