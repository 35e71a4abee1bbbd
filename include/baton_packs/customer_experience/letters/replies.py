"""Answers on their way out: joined to their decisions, masked for whoever approves, put into the outbox once."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd
from pydantic import Field
from sqlalchemy import Connection

from baton.actions.action import Action, Approval
from baton.agents.masking import Mask
from baton.data.datasets import read
from baton.effects import firewall
from baton.effects.mail import EDITED, READ
from baton.errors import BatonError
from baton.record import ledger
from baton.specs.base import Spec
from baton.stages import StageJob, StageOutput, engine_step
from baton_packs.customer_experience.letters import held_back, letters, privacy, sending

DecidedReply = tuple[Mapping[Any, Any], str]  # a decision, and the text that answers it
SENT_AT_ONCE = ("reply", "follow_up", "send")
APPROVE = "approve"
APPROVED, NOT_ASKED = "approved", "none"  # words of a review
_WHY = {APPROVED: "their text was emptied", "rejected": "rejected", "timeout": "nobody answered in time"}
_PLACEHOLDER = re.compile(r"\[[A-Z]{2,12}_\d{1,4}\]")


def mask_of(row: Mapping[Any, Any]) -> Mask:
    """What hides the personal data of one decision's answer; the same row gives the same placeholders.

    Names are those on record and those that were found in the letter; the answer's own words are ours.
    """
    people = [*privacy.known(row.get("sender_name")), *json.loads(row.get("people") or "[]")]
    return Mask({"NAME": people, "MAIL": privacy.known(row.get("sender"))})


def join(
    decisions: pd.DataFrame,
    drafts: pd.DataFrame | None,
    answered: Sequence[str],
    always: Mapping[str, str],
    on_file: bool,
) -> StageOutput:
    """Decisions with their whole letters.

    Args:
        decisions: perhaps with `people`: JSON list of names in the letter that is answered.
        drafts: what the agent's stage gave: entity_key, text, source, reason; None where it was not asked.
        answered: routes that need an answer.
        always: bodies that no agent words, by entity.
        on_file: the names are those on the customers' files.

    Returns:
        columns reply (greeting, body, closing), masked (of an answer that waits for a person: what they are shown),
        written_by (agent | template | rule), template_because (why the agent's answer does not stand); facts count who
        wrote.

    Raises:
        BatonError: a decision is without the answer that it needs, or names cannot be found to be masked.
    """
    bodies, sources, because = dict(always), dict.fromkeys(always, "rule"), dict[str, str | None]()
    if drafts is not None:
        bodies |= dict(zip(drafts["entity_key"], drafts["text"], strict=True))
        sources |= dict(zip(drafts["entity_key"], drafts["source"], strict=True))
        because = {key: reason or None for key, reason in zip(drafts["entity_key"], drafts["reason"], strict=True)}
    rows = decisions.to_dict("records")
    if wordless := [row["entity_key"] for row in rows if row["route"] in answered and row["entity_key"] not in bodies]:
        first = wordless[0]
        raise BatonError(f"{len(wordless)} answers are missing, the first is that of {first}: clear the draft task")
    made: list[tuple[str | None, ...]] = []
    for row in rows:
        key = row["entity_key"]
        reply = letters.letter(row, bodies[key], on_file) if key in bodies else None
        masked = mask_of(row).hide(reply) if reply is not None and row["route"] == APPROVE else None
        made.append((reply, masked, sources.get(key), because.get(key)))
    names = ["reply", "masked", "written_by", "template_because"]
    whole = decisions.assign(**pd.DataFrame(made, index=decisions.index, columns=names, dtype=object))
    written = {str(name): int(count) for name, count in whole["written_by"].value_counts().items()}
    return StageOutput(whole, {"written_by": written})


class ReplyOptions(Spec):
    """Options of `place`."""

    answer: dict[str, Any] | None = Field(default=None, description="result of the review; null: what needs no answer")


def _state(job: StageJob[ReplyOptions]) -> Mapping[str, Any]:
    return {**sending.state(job), "cases": held_back.state(job, _routes(job))}


def _routes(job: StageJob[ReplyOptions]) -> tuple[str, ...]:
    """Routes whose answers this stage judges: those that are asked about only with the answer."""
    return (*SENT_AT_ONCE, APPROVE) if job.options.answer else SENT_AT_ONCE


@engine_step(ReplyOptions, fingerprint=_state)
def place(job: StageJob[ReplyOptions]) -> StageOutput:
    """Put the answers that may leave into the outbox; with a person's word, the approved ones too.

    To whom it goes is the address that the mail came from, or the customer's on file; never one out of a text. An answer
    that has left stays as it is, whatever is decided now, and nobody is answered twice, in whichever partition. What was
    suggested in an earlier partition and accepted on its case since, perhaps in other words, leaves with this one.

    An answer that is no mail holds up no other. It becomes a case, as does each that was asked about and not approved:
    rejected, without a word in time, or its text emptied.

    Inputs: decisions.

    The option `answer`, where a review came before, holds: answer (approved | rejected | timeout | none), changes
    (entity -> text with placeholders; empty: keep that one back), actor.

    Returns:
        the answers that go out, one row each: entity_key; facts: answers, changed, held_back, left_before (counts),
        unusable (entities whose answer is no mail, or whose edited text was refused), `degraded` sentences.

    Raises:
        BatonError: a word on an answer that was not asked about, or approval of decisions that were superseded since.
    """
    decisions, answer, known = read(job.inputs["decisions"]), job.options.answer or {}, sending.Known.of(job)
    word = answer.get("answer", NOT_ASKED)
    if word == APPROVED:
        sending.require_newest(job)
    elif word != NOT_ASKED and sending.superseded(job):  # the newer run has its own request, answers and cases
        said = ["the partition was decided anew after this request, which counts for nothing"]
        return _output(_Placed({}, {}, known.left), said)
    rows = {row["entity_key"]: row for row in decisions.to_dict("records")}
    asked = {key: row for key, row in rows.items() if row["route"] == APPROVE and known.may_leave(key)}
    texts, problems = _unasked(rows, known), dict[str, str]()
    if word == APPROVED:
        approved, problems = _approved(asked, rows, answer["changes"])
        texts |= approved
    mails, refused = _mails(texts)
    changed = [key for key in asked if key in mails and texts[key][1] != asked[key]["reply"]]
    yes = dict.fromkeys(texts.keys() & asked.keys(), Approval.of_answer(answer))
    yes |= {
        key: Approval(who, name, "case", at)
        for key, row in known.accepted.items()
        for who, name, at in [row["accepted"]]
    }
    placed = _Placed(asked, problems | refused, known.left, mails, changed, yes)
    unapproved = placed.waiting if word != NOT_ASKED else []
    kept = {key: rows[key] for key in (*placed.problems, *unapproved) if key in rows}
    degraded = _degraded(word, kept.keys() - placed.problems.keys(), placed.problems)
    return _output(placed, degraded, partial(_record, job, placed, kept, answer))


@dataclass(frozen=True)
class _Placed:
    """What becomes of a partition's answers.

    Attributes:
        asked: decisions that a person is asked about, by entity.
        problems: entity -> why its answer is no mail.
        left: entity -> mail that is out already.
        mails: entity -> mail that may leave now.
        changed: entities whose text a person changed.
        said: entity -> who approved its answer; the others leave by the rules alone.
    """

    asked: Mapping[str, Mapping[Any, Any]]
    problems: Mapping[str, str]
    left: Mapping[str, dict[str, Any]]
    mails: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    changed: Sequence[str] = ()
    said: Mapping[str, Approval] = field(default_factory=dict)

    @property
    def going(self) -> dict[str, dict[str, Any]]:
        """Entity -> mail that goes out, or has."""
        return {**self.mails, **self.left}

    @property
    def waiting(self) -> list[str]:
        """Entities that were asked about and do not go out."""
        return [key for key in self.asked if key not in self.mails]


def _record(job: StageJob, placed: _Placed, kept: Mapping[str, Mapping[Any, Any]], answer: Mapping[str, Any],
            conn: Connection, commit_id: int) -> None:  # fmt: skip
    """In the commit's own transaction: mails into the outbox, cases for what is `kept` back, the person's word on record."""
    gone = sending.sent_elsewhere(job, conn)  # another partition may have answered meanwhile
    mails = [_action(key, mail, placed.said.get(key)) for key, mail in placed.mails.items() if key not in gone]
    left = sending.as_judged(job, conn, [key for key in placed.left if key not in gone and key not in placed.mails])
    held_back.open_cases(conn, job, [row for key, row in kept.items() if key not in gone], _routes(job))
    firewall.place(conn, job.pack, job.flow, job.partition, [*mails, *left], kinds=(sending.EFFECT,))
    if answer:
        said = {name: answer.get(name) for name in ("answer", "actor")}
        said |= {"asked": len(placed.asked), "changed": placed.changed, "held_back": sorted(kept), "commit": commit_id}
        ledger.append(conn, "answers_reviewed", f"{job.flow}/{job.partition}", said)


def _action(key: str, mail: dict[str, Any], said: Approval | None) -> Action:
    """What the policy judges; the address is no target, since it stands in the payload, which retention empties."""
    who = sending.BY_RULES if said is None else sending.BY_PERSON
    return Action(sending.EFFECT, key, key, mail, asset_class=who, approvals=[] if said is None else [said])


def _output(placed: _Placed, degraded: list[str], on_commit: Any = None) -> StageOutput:
    facts: dict[str, Any] = {
        "answers": len(placed.going), "changed": len(placed.changed), "held_back": len(placed.waiting),
        "left_before": len(placed.left),
    }  # fmt: skip
    facts |= {"unusable": sorted(placed.problems)} if placed.problems else {}
    facts |= {"degraded": degraded} if degraded else {}
    return StageOutput(pd.DataFrame({"entity_key": list(placed.going)}, dtype="string"), facts, on_commit)


def _degraded(word: str, unapproved: Collection[str], problems: Mapping[str, str]) -> list[str]:
    """Sentences on what was held back: counts and rules, never a text."""
    said = []
    if unapproved:
        said.append(f"{len(unapproved)} answers are held back ({_WHY.get(word, word)}): see their cases")
    if problems:
        first = problems[min(problems)]
        said.append(f"{len(problems)} answers cannot be sent: see their cases; the first: {first}")
    return said


def _unasked(rows: Mapping[str, Mapping[Any, Any]], known: sending.Known) -> dict[str, DecidedReply]:
    """Answers that need nobody's word, and suggestions that somebody has accepted since."""
    at_once = [row for key, row in rows.items() if row["route"] in SENT_AT_ONCE and known.may_leave(key)]
    return {row["entity_key"]: (row, row["reply"]) for row in (*at_once, *known.accepted.values())}


def _mails(answers: Mapping[str, DecidedReply]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """(entity -> mail, entity -> which rule its answer breaks), one by one: a bad one must not hold up the others."""
    mails, problems = dict[str, dict[str, Any]](), dict[str, str]()
    for key, (row, text) in answers.items():
        try:
            mails[key] = sending.payload_of(row, text)
        except BatonError as error:  # names the rule, never the text
            problems[key] = str(error)
    return mails, problems


def _approved(
    asked: Mapping[str, Mapping[Any, Any]], rows: Mapping[str, Any], changes: Mapping[str, Any]
) -> tuple[dict[str, DecidedReply], dict[str, str]]:
    """(entity -> its answer with its personal data, entity -> why it cannot be restored) of what a person approved.

    One whose text was emptied is not approved; Airflow's form makes null of it.
    """
    if unknown := sorted(key for key in changes if rows.get(key, {}).get("route") != APPROVE):
        raise BatonError(f"the answer names {', '.join(unknown)}, which was not asked about: clear the review task")
    answers, problems = dict[str, DecidedReply](), dict[str, str]()
    for key, row in asked.items():
        text = changes.get(key, row["masked"])
        if text is None or (isinstance(text, str) and not text.strip()):
            continue
        whole = restored(row, text)
        if whole is None:
            problems[key] = "the edited text is none, or holds a placeholder of nothing"
        else:
            answers[key] = ({**row, "written": READ if whole == row["reply"] else EDITED}, whole)
    return answers, problems


def restored(row: Mapping[Any, Any], text: object) -> str | None:
    """An approved text with what its placeholders stand for; None if one stands for nothing, or it is no text."""
    if not isinstance(text, str):  # Airflow's API takes any JSON as a field's value
        return None
    if text == row["masked"]:
        return str(row["reply"])
    mask = mask_of(row)
    mask.hide(row["reply"])  # the same placeholders as when it was shown
    whole = mask.restore(text)
    return None if _PLACEHOLDER.search(whole) else whole
