"""Draft, critic, redraft, at most twice; what a model sees is masked, what comes back is restored, policy is last."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from baton.agents.asking import Answer, Caller
from baton.agents.calls import Limits
from baton.agents.case import AgentQuestion, Refused
from baton.agents.spec import AgentSpec, Critic
from baton.errors import SpecError

SCRIPTED = runpy.run_path(str(Path(__file__).parents[1] / "scripted_model.py"))["Scripted"]
PROMPT, OTHER = Path(__file__), Path(__file__).with_name("test_tools.py")  # any text will do


class Reply(BaseModel):
    text: str = Field(max_length=40)


def _criticise(case: AgentQuestion, reply: Reply) -> list[str]:
    return [] if "please" in reply.text else [f"Say please to {case.personal['NAME'][0]}."]


def _check(case: AgentQuestion, reply: Reply) -> Reply | Refused:
    return Refused("shouting") if "!" in reply.text else reply


CASE = AgentQuestion(
    "a",
    {"amount": 12},
    {"message": "Ann Lee, ann@x.example: 12? Ask eve@evil.example"},
    personal={"NAME": ["Ann Lee"], "MAIL": ["ann@x.example"]},
)
SPEC = AgentSpec("clerk", PROMPT, Reply, lambda: [CASE], _check, lambda case: Reply(text="as it is"))
LOOP = replace(SPEC, critic=_criticise)
BY_MODEL = replace(SPEC, critic=Critic(OTHER))


def ask(spec: AgentSpec, *script: Any, case: AgentQuestion = CASE, **limits: Any) -> tuple[Answer, list[str]]:
    model = SCRIPTED(*script)
    answer = Caller(spec, model, Limits(**limits)).ask(case)
    return answer, model.questions


def test_the_model_sees_no_personal_data_and_the_answer_has_them_again() -> None:
    answer, (question,) = ask(SPEC, {"text": "[NAME_1], 12 it is; see [MAIL_1]."})
    assert answer.output == Reply(text="Ann Lee, 12 it is; see ann@x.example.")
    assert "Ann" not in question
    assert "ann@" not in question
    assert json.loads(question.splitlines()[-1]) == {"message": "[NAME_1], [MAIL_1]: 12? Ask [MAIL_2]"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Dear [NAME_2]", "placeholder that stands for nothing"),
        ("Write to bob@evil.example", "personal data that nobody gave (MAIL)"),
        ("[MAIL_1] [MAIL_1] [MAIL_1] [NAME_1]", "breaks the schema once restored"),
        ("Or bob@x.example?", "personal data that nobody gave (MAIL)"),
        ("See [MAIL_2]", "personal data from a text of others (MAIL)"),
        ("It is 13.", "number not in the facts"),
        ("Dear \x1b[31m", "no text that can be kept"),
        ("Dear [NAME_1]!", "shouting"),
    ],
)
def test_what_may_not_go_out_is_refused(text: str, reason: str) -> None:
    answer, _ = ask(SPEC, {"text": text})
    assert (answer.output, answer.kind, answer.reason) == (None, "refused", reason)


def test_nobody_is_asked_without_a_mask() -> None:
    def broken(text: str) -> list[tuple[int, int, str]]:
        raise RuntimeError("Ann Lee")

    for spec, case in (
        (replace(SPEC, names=broken), CASE), (SPEC, replace(CASE, personal={"NAME": [None]})),  # type: ignore[list-item]
    ):  # fmt: skip
        answer, questions = ask(spec, case=case)
        assert (answer.output, answer.kind, questions) == (None, "skipped", [])
        assert answer.reason in ("not asked: masking failed (RuntimeError)", "not asked: masking failed (TypeError)")


def test_remarks_lead_to_a_redraft() -> None:
    answer, questions = ask(LOOP, {"text": "Wait, [NAME_1]."}, {"text": "[NAME_1], please wait."})
    assert (answer.output, answer.rounds, answer.requests) == (Reply(text="Ann Lee, please wait."), 2, 2)
    assert questions[1].startswith(questions[0])
    assert questions[1].endswith(json.dumps(["Say please to [NAME_1]."])), "a remark is masked too"
    assert '{"text": "Wait, [NAME_1]."}' in questions[1], "and the draft never left its placeholders"


def test_two_redrafts_are_the_most() -> None:
    answer, questions = ask(LOOP, *[{"text": "Wait."}] * 9)
    assert (answer.reason, answer.rounds, len(questions)) == ("the critic's remarks remain", 3, 3)
    answer, questions = ask(replace(LOOP, redrafts=0), *[{"text": "Wait."}] * 9)
    assert (answer.reason, len(questions)) == ("the critic's remarks remain", 1)
    with pytest.raises(SpecError, match="redrafts is 3"):
        replace(LOOP, redrafts=3)


def test_policy_speaks_after_the_critic() -> None:
    answer, questions = ask(LOOP, {"text": "please!"}, {"text": "please"})
    assert (answer.reason, len(questions)) == ("shouting", 1)


def test_what_nobody_gave_may_be_mended_but_never_goes_out() -> None:
    answer, questions = ask(LOOP, {"text": "please take 13"}, {"text": "please take 12"})
    assert (answer.output, answer.rounds) == (Reply(text="please take 12"), 2)
    assert "number not in the facts: 13" in questions[1]
    answer, _ = ask(LOOP, *[{"text": "please take 13"}] * 3)
    assert (answer.output, answer.reason, answer.rounds) == (None, "number not in the facts", 3)


def test_a_draft_or_remark_with_personal_data_that_nobody_gave_is_not_sent_again() -> None:
    answer, questions = ask(LOOP, {"text": "please ask bob@evil.example"}, {"text": "please"})
    assert answer.output == Reply(text="please")
    assert "bob@" not in questions[1]
    assert "withheld: personal data that nobody gave (MAIL)" in questions[1]
    script = {"text": "Wait."}, {"ok": False, "remarks": ["Tell bob@evil.example"]}, {"text": "Wait."}, {"ok": True}
    _, questions = ask(BY_MODEL, *script)
    assert questions[2].endswith('["It may not go out as it is."]')


def test_a_secret_is_not_sent_again_to_be_mended() -> None:
    answer, questions = ask(LOOP, {"text": f"please {SCRIPTED.key}"}, {"text": "please"})
    assert (answer.reason, len(questions)) == ("a secret in the text", 1)


def test_a_model_may_be_the_critic() -> None:
    answer, questions = ask(
        BY_MODEL,
        {"text": "Wait."},
        {"ok": False, "remarks": ["Name [NAME_1]."]},
        {"text": "Wait, [NAME_1]."},
        {"ok": True},
    )
    assert (answer.output, answer.rounds, answer.requests) == (Reply(text="Wait, Ann Lee."), 2, 4)
    assert questions[1].endswith('DRAFT (to be judged):\n{"text":"Wait."}')
    assert questions[2].endswith('["Name [NAME_1]."]')
    assert not any("Ann" in question for question in questions)


def test_a_draft_that_nobody_could_judge_is_none() -> None:
    answer, _ = ask(BY_MODEL, {"text": "Wait."}, "no json", "no json")
    assert (answer.output, answer.kind, answer.reason) == (None, "invalid", "the critic: no valid answer in 2 tries")
    answer, _ = ask(BY_MODEL, {"text": "Wait."}, RuntimeError("Ann"))
    assert (answer.output, answer.kind) == (None, "failed")


def test_a_case_has_one_budget_for_all_its_rounds() -> None:
    answer, _ = ask(LOOP, {"text": "Wait."}, 9.0, timeout=0.3)
    assert (answer.reason, answer.rounds) == ("no answer within 0.3 seconds", 2)
    assert answer.seconds < 2
