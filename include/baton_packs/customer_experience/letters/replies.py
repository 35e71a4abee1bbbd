"""Answers on their way out: joined to their decisions, masked for whoever approves, put into the outbox once."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from baton.agents.masking import Mask
from baton.errors import BatonError
from baton.specs.base import Spec
from baton.stages import StageJob, StageOutput, engine_step
from baton_packs.customer_experience.letters import held_back, letters, privacy, sending

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

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
    import pandas as pd

    bodies, sources, because = dict(always), dict.fromkeys(always, "rule"), dict[str, str | None]()
    if drafts is not None:
        bodies |= dict(zip(drafts["entity_key"], drafts["text"], strict=True))
        sources |= dict(zip(drafts["entity_key"], drafts["source"], strict=True))
        because = {key: reason or None for key, reason in zip(drafts["entity_key"], drafts["reason"], strict=True)}
    rows = decisions.to_dict("records")
    replies = [
        letters.letter(row, bodies[row["entity_key"]], on_file) if row["entity_key"] in bodies else None for row in rows
    ]
    masked = [
        mask_of(row).hide(reply) if reply is not None and row["route"] == APPROVE else None
        for row, reply in zip(rows, replies, strict=True)
    ]
    columns: dict[str, list[Any]] = {"reply": replies, "masked": masked}
    for name, known in (("written_by", sources), ("template_because", because)):
        columns[name] = [known.get(row["entity_key"]) for row in rows]
    whole = decisions.assign(**{
        name: pd.Series(cells, index=decisions.index, dtype=object) for name, cells in columns.items()
    })  # fmt: skip
    wordless = [
        row["entity_key"]
        for row, reply in zip(rows, replies, strict=True)
        if row["route"] in answered and reply is None
    ]
    if wordless:
        raise BatonError(
            f"{len(wordless)} answers are missing, the first is that of {wordless[0]}: clear the draft task"
        )
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
    import pandas as pd

    from baton.data.datasets import read

    decisions: pd.DataFrame = read(job.inputs["decisions"])
    answer, known = job.options.answer or {}, sending.Known.of(job)
    word = answer.get("answer", NOT_ASKED)
    if word == APPROVED:
        sending.require_newest(job)
    elif word != NOT_ASKED and sending.superseded(job):  # the newer run has its own request, answers and cases
        return _nothing_more(known.left)
    rows = {row["entity_key"]: row for row in decisions.to_dict("records")}
    texts: dict[str, tuple[Mapping[Any, Any], str]] = {
        key: (row, row["reply"]) for key, row in rows.items() if row["route"] in SENT_AT_ONCE and known.may_leave(key)
    }
    texts |= {key: (row, row["reply"]) for key, row in known.accepted.items()}
    asked = {key: row for key, row in rows.items() if row["route"] == APPROVE and known.may_leave(key)}
    problems: dict[str, str] = {}  # entity -> why its answer is no mail
    if word == APPROVED:
        for key, row, text in _approved(asked, rows, answer["changes"]):
            if text is None:
                problems[key] = "the edited text is none, or holds a placeholder of nothing"
            else:
                texts[key] = (row, text)
    payloads, refused = _payloads(texts)
    going, problems = payloads | dict(known.left), problems | refused
    changed = [key for key in asked if key in going and texts[key][1] != asked[key]["reply"]]
    waiting = [key for key in asked if key not in going]
    kept = {key: rows[key] for key in (*problems, *(waiting if word != NOT_ASKED else ())) if key in rows}

    def on_commit(conn: Connection, commit_id: int) -> None:
        from baton.effects import outbox
        from baton.record import ledger

        gone = sending.sent_elsewhere(job, conn)  # another partition may have answered meanwhile
        outbox.enqueue(conn, job.flow, job.partition, sending.EFFECT,
                       [(key, payload) for key, payload in going.items() if key not in gone])  # fmt: skip
        held_back.open_cases(conn, job, [row for key, row in kept.items() if key not in gone], _routes(job))
        if answer:
            said = {
                "answer": answer.get("answer"),
                "actor": answer.get("actor"),
                "asked": len(asked),
                "changed": changed,
                "held_back": sorted(kept),
            }
            ledger.append(conn, "answers_reviewed", f"{job.flow}/{job.partition}", {**said, "commit": commit_id})

    facts: dict[str, Any] = {
        "answers": len(going), "changed": len(changed), "held_back": len(waiting), "left_before": len(known.left),
    }  # fmt: skip
    facts |= {"unusable": sorted(problems)} if problems else {}
    degraded = _degraded(word, kept.keys() - problems.keys(), problems)
    facts |= {"degraded": degraded} if degraded else {}
    return StageOutput(pd.DataFrame({"entity_key": list(going)}, dtype="string"), facts, on_commit)


def _degraded(word: str, unapproved: Collection[str], problems: Mapping[str, str]) -> list[str]:
    """Sentences on what was held back: counts and rules, never a text."""
    said = []
    if unapproved:
        said.append(f"{len(unapproved)} answers are held back ({_WHY.get(word, word)}): see their cases")
    if problems:
        first = problems[min(problems)]
        said.append(f"{len(problems)} answers cannot be sent: see their cases; the first: {first}")
    return said


def _nothing_more(left: Mapping[str, Any]) -> StageOutput:
    """Of a request whose decisions were superseded: outbox and cases stay as the newer run has them."""
    import pandas as pd

    facts = {
        "answers": len(left), "changed": 0, "held_back": 0, "left_before": len(left),
        "degraded": ["the partition was decided anew after this request, which counts for nothing"],
    }  # fmt: skip
    return StageOutput(pd.DataFrame({"entity_key": list(left)}, dtype="string"), facts)


def _payloads(texts: Mapping[str, tuple[Mapping[Any, Any], str]]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """(entity -> mail, entity -> which rule its answer breaks), one by one: a bad one must not hold up the others."""
    payloads, problems = dict[str, dict[str, Any]](), dict[str, str]()
    for key, (row, text) in texts.items():
        try:
            payloads[key] = sending.payload_of(row, text)
        except BatonError as error:  # names the rule, never the text
            problems[key] = str(error)
    return payloads, problems


def _approved(
    asked: Mapping[str, Mapping[Any, Any]], rows: Mapping[str, Any], changes: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[Any, Any], str | None]]:
    """(entity, decision, text with its personal data, or None if it cannot be restored) of each approved answer.

    One whose text was emptied is not approved; Airflow's form makes null of it.
    """
    if unknown := sorted(key for key in changes if rows.get(key, {}).get("route") != APPROVE):
        raise BatonError(f"the answer names {', '.join(unknown)}, which was not asked about: clear the review task")
    for key, row in asked.items():
        text = changes.get(key, row["masked"])
        if text is not None and (not isinstance(text, str) or text.strip()):
            yield key, row, restored(row, text)


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
