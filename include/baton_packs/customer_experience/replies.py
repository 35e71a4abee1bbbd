"""Answers on their way out: joined to their decisions, masked for whoever approves, put into the outbox once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from baton.agents.masking import Mask
from baton.errors import BatonError
from baton.slots import StageOutput
from baton.stages import StageJob, engine_step
from baton_packs.customer_experience import letters

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

EFFECT = "mail"  # kind in the outbox
SENT_AT_ONCE = ("reply", "follow_up", "send")
APPROVE, SUGGEST, ACCEPTED = "approve", "suggest", "accepted"


def mask_of(row: Mapping[Any, Any]) -> Mask:
    """What hides the personal data of one decision's answer; the same row gives the same placeholders."""
    from baton_packs.customer_experience import privacy

    return Mask({"NAME": _texts(row.get("sender_name")), "MAIL": _texts(row.get("sender"))}, privacy.names)


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) and value else []


def join(
    decisions: pd.DataFrame, drafts: pd.DataFrame | None, answered: Sequence[str], always: Mapping[str, str]
) -> StageOutput:
    """Decisions with their whole letters.

    Args:
        drafts: what the agent's stage gave: entity_key, text, source; None where it was not asked.
        answered: routes that need an answer.
        always: bodies that no agent words, by entity.

    Returns:
        columns reply (greeting, body, closing), masked (of an answer that waits for a person: what they are shown),
        written_by (agent | template | rule); facts count who wrote.

    Raises:
        BatonError: a decision is without the answer that it needs.
    """
    import pandas as pd

    bodies, sources = dict(always), dict.fromkeys(always, "rule")
    if drafts is not None:
        bodies |= dict(zip(drafts["entity_key"], drafts["text"], strict=True))
        sources |= dict(zip(drafts["entity_key"], drafts["source"], strict=True))
    rows = decisions.to_dict("records")
    replies = [letters.letter(row, bodies[row["entity_key"]]) if row["entity_key"] in bodies else None for row in rows]
    masked = [
        mask_of(row).hide(reply) if reply is not None and row["route"] == APPROVE else None
        for row, reply in zip(rows, replies, strict=True)
    ]
    columns = {"reply": replies, "masked": masked, "written_by": [sources.get(row["entity_key"]) for row in rows]}
    whole = decisions.assign(
        **{name: pd.Series(cells, index=decisions.index, dtype=object) for name, cells in columns.items()}
    )
    wordless = [
        key for key, route, reply in zip(whole["entity_key"], whole["route"], replies, strict=True)
        if route in answered and reply is None
    ]  # fmt: skip
    if wordless:
        raise BatonError(
            f"{len(wordless)} answers are missing, the first is that of {wordless[0]}: clear the draft task"
        )
    written = {str(name): int(count) for name, count in whole["written_by"].value_counts().items()}
    return StageOutput(whole, {"written_by": written})


def _outbox_state(job: StageJob) -> Mapping[str, Any]:
    """What is in the outbox now: an answer that another decision withdrew must be put there again."""
    from baton import outbox

    known = outbox.effects(job.flow, job.partition, EFFECT)
    found: dict[str, Any] = {one.entity_key: [one.state == outbox.WITHDRAWN, one.payload] for one in known}
    return {"outbox": found, "accepted": sorted(accepted(job))}


@engine_step(fingerprint=_outbox_state)
def place(job: StageJob) -> StageOutput:
    """Put the answers that may leave into the outbox; with a person's word, the approved ones too.

    What was suggested in an earlier partition and accepted on its case since leaves with this one.

    To whom it goes is the address that the mail came from, or the customer's on file; never one out of a text.

    Inputs: decisions.

    Options:
        answer: result of the review, or absent for the answers that need none: answer (approved | rejected | timeout |
            none), changes (entity -> text with placeholders), actor.

    Returns:
        the answers that go out, one row each: entity_key; facts: answers, changed, held_back, left_before (counts).

    Raises:
        BatonError: a word on an answer that was not asked about, or an edited text with a placeholder of nothing.
    """
    import pandas as pd

    from baton.datasets import read

    decisions: pd.DataFrame = read(job.inputs["decisions"])
    answer = job.options.get("answer") or {}
    asked = decisions[decisions["route"] == APPROVE]
    texts: dict[str, tuple[Mapping[Any, Any], str]] = {
        row["entity_key"]: (row, row["reply"])
        for row in decisions[decisions["route"].isin(SENT_AT_ONCE)].to_dict("records")
    }
    texts |= {key: (row, row["reply"]) for key, row in accepted(job).items()}
    changed: list[str] = []
    if answer.get("answer") == "approved":
        changes = answer["changes"]
        if unknown := sorted(set(changes) - set(asked["entity_key"])):
            raise BatonError(f"the answer names {', '.join(unknown)}, which was not asked about: clear the review task")
        for row in asked.to_dict("records"):
            text = changes.get(row["entity_key"], row["masked"])
            changed += [row["entity_key"]] if text != row["masked"] else []
            texts[row["entity_key"]] = (row, restored(row, text))
    out = left(job)
    going = {key: payload_of(row, text) for key, (row, text) in texts.items()} | out

    def on_commit(conn: Connection, commit_id: int) -> None:
        from baton import ledger, outbox

        outbox.enqueue(conn, job.flow, job.partition, EFFECT, list(going.items()))
        if answer:
            said = {
                "answer": answer.get("answer"),
                "actor": answer.get("actor"),
                "asked": len(asked),
                "changed": changed,
            }
            ledger.append(conn, "answers_reviewed", f"{job.flow}/{job.partition}", {**said, "commit": commit_id})

    held = 0 if answer.get("answer") == "approved" else len(asked)
    frame = pd.DataFrame({"entity_key": list(going)}, dtype="string")
    facts = {"answers": len(going), "changed": len(changed), "held_back": held, "left_before": len(out)}
    return StageOutput(frame, facts, on_commit)


def accepted(job: StageJob) -> dict[str, Mapping[Any, Any]]:
    """Suggestions that a person accepted and that no other partition sent: entity -> its decision."""
    from sqlalchemy import select

    from baton import outbox, tables
    from baton.datasets import read
    from baton.slots import Slot, head
    from baton.warehouse import read as connection

    table = tables.cases
    query = select(table.c.entity_key, table.c.partition).where(
        table.c.flow == job.flow, table.c.route == SUGGEST, table.c.resolution == ACCEPTED
    )
    with connection() as conn:
        cases = {str(row.entity_key): str(row.partition) for row in conn.execute(query)}
    gone = {one.entity_key for one in outbox.effects(job.flow, kind=EFFECT)
            if one.partition != job.partition and one.state != outbox.WITHDRAWN}  # fmt: skip
    found: dict[str, Mapping[Any, Any]] = {}
    for partition in sorted({cases[key] for key in cases.keys() - gone}):
        published = head(Slot(job.flow, "publish", partition))
        rows = [] if published is None else read(published.ref).to_dict("records")
        found |= {
            row["entity_key"]: row for row in rows
            if row["entity_key"] in cases.keys() - gone and isinstance(row["reply"], str)
        }  # fmt: skip
    return found


def left(job: StageJob) -> dict[str, dict[str, Any]]:
    """Answers of the partition that are out, or may be: entity -> payload. They stay as they are, whatever is decided now."""
    from baton import outbox

    if job.dry_run:
        return {}
    out = (outbox.SENT, outbox.SENDING, outbox.UNKNOWN)
    return {one.entity_key: one.payload for one in outbox.effects(job.flow, job.partition, EFFECT) if one.state in out}


def restored(row: Mapping[Any, Any], text: str) -> str:
    """An approved text with what its placeholders stand for.

    Raises:
        BatonError: it holds a placeholder that stands for nothing.
    """
    mask = mask_of(row)
    mask.hide(row["reply"])  # the same placeholders as when it was shown
    if reason := mask.stray(text):
        raise BatonError(f"answer {row['entity_key']}: {reason}; clear the review task and mend the text")
    return mask.restore(text)


def payload_of(row: Mapping[Any, Any], text: str) -> dict[str, Any]:
    """A mail as the outbox carries it.

    Raises:
        BatonError: the address is none.
    """
    from baton.effects_mail import mail_payload

    subject = " ".join(str(row["subject"] or "your message").split())[:150]
    return mail_payload([row["sender"]], subject if subject.lower().startswith("re:") else f"Re: {subject}", text)
