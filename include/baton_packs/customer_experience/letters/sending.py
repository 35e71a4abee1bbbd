"""Checks before sending: who was answered already, and what may still leave; `replies.place` asks them first."""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Connection, select

from baton.actions.action import Action
from baton.data.datasets import read
from baton.effects import outbox
from baton.effects.mail import EDITED, MACHINE, READ, mail_payload
from baton.errors import BatonError
from baton.feedback.cases import decided_cases
from baton.names import PUBLISH
from baton.record import tables, warehouse
from baton.stages import StageJob
from baton.stages.slots import Slot, head, history

EFFECT = "mail"  # kind in the outbox
SUBJECT = "Re: your message"
BY_RULES, BY_PERSON = "by_rules", "by_person"  # classes of answers in actions.yaml
SUGGEST, ACCEPTED = "suggest", "accepted"
# line breaks of other programs, such as Word's soft one, which a mail may not hold: people paste them unseen
_BREAKS = re.compile("[\x0b\x0c\x85\u2028\u2029]")


@dataclass(frozen=True)
class Known:
    """What is on record about the answers of a flow.

    Attributes:
        left: answers of this partition that are out, or may be: entity -> payload. They stay as they are.
        elsewhere: entities that another partition answers.
        closed: entities whose case a person has decided.
        accepted: suggestions of earlier partitions that a person accepted or worded anew, and nobody sent: entity -> its
            decision as it was then, the reply in that person's words, `written` (see `baton.effects.mail`), `accepted`: by whom (id
            and name) and when.
    """

    left: Mapping[str, dict[str, Any]]
    elsewhere: frozenset[str]
    closed: frozenset[str]
    accepted: Mapping[str, Mapping[Any, Any]]

    @classmethod
    def of(cls, job: StageJob) -> Self:
        """What is known now; a dry run knows nothing, because it sends nothing."""
        if job.dry_run:
            return cls({}, frozenset(), frozenset(), {})
        left = outbox.left(job.flow, job.partition, EFFECT)
        elsewhere = frozenset(sent_elsewhere(job))
        cases = {case["entity_key"]: case for case in decided_cases(job.flow)}
        return cls(left, elsewhere, frozenset(cases), _accepted(job.flow, cases, elsewhere | left.keys()))

    def may_leave(self, key: str) -> bool:
        """Whether nobody has answered it yet, neither a partition nor a person on its case."""
        return key not in self.left and key not in self.elsewhere and key not in self.closed


def state(job: StageJob) -> Mapping[str, Any]:
    """What is on record, as a fingerprint: an answer that another decision withdrew must be put there again."""
    known = Known.of(job)
    here = [] if job.dry_run else outbox.effects(job.flow, job.partition, EFFECT)
    rows = sorted([one.entity_key, one.state == outbox.WITHDRAWN, one.payload] for one in here)
    whole = [rows, sorted(known.elsewhere), sorted(known.closed), sorted(known.accepted)]
    return {"record": hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()}  # no address, no text


def sent_elsewhere(job: StageJob, conn: Connection | None = None) -> set[str]:
    """Entities that other partitions of the flow answer.

    Args:
        conn: a write transaction, which then enqueues: to its end no other partition asks.
    """
    table = tables.outbox  # keys alone: a flow's history of payloads grows for ever
    query = select(table.c.entity_key).where(table.c.flow == job.flow, table.c.kind == EFFECT)
    query = query.where(table.c.partition != job.partition, table.c.state != outbox.WITHDRAWN)
    if conn is not None:
        warehouse.take_turns(conn, f"{job.flow}/{EFFECT}")
        return set(conn.execute(query).scalars())
    with warehouse.read() as own:
        return set(own.execute(query).scalars())


def as_judged(job: StageJob, conn: Connection, keys: Collection[str]) -> list[Action]:
    """Answers that are out, or may be, as they were placed: they stay so."""
    known = outbox.effects(job.flow, job.partition, EFFECT, conn) if keys else []
    mine = [one for one in known if one.entity_key in keys]
    return [
        one.judged() if one.action is not None else Action(EFFECT, one.entity_key, one.entity_key, one.payload)
        for one in mine
    ]


def require_newest(job: StageJob) -> None:
    """A person's word counts for the decisions that they saw.

    Raises:
        BatonError: the partition was decided anew since.
    """
    if superseded(job):
        what = f"{job.flow} {job.partition} was decided anew after this request"
        raise BatonError(f"{what}: answer the newer request; nothing was sent")


def superseded(job: StageJob) -> bool:
    """Whether the partition was decided anew since the decisions that this job has."""
    newest = None if job.dry_run else head(Slot(job.flow, PUBLISH, job.partition))
    return newest is not None and newest.ref.uri != job.inputs["decisions"].uri


def payload_of(row: Mapping[Any, Any], text: str) -> dict[str, Any]:
    """A mail as the outbox carries it; its subject is always the same, since a letter's own could be anything.

    Args:
        row: the decision; `written`, where a person had to do with the text: see `baton.effects.mail`.

    Raises:
        BatonError: the address is none, or the text none that a mail may hold; names the rule, never the text.
    """
    written = row.get("written", MACHINE)
    return mail_payload([row["sender"]], SUBJECT, _BREAKS.sub("\n", text), written, str(row.get("language") or ""))


def _accepted(flow: str, cases: Mapping[str, Any], gone: frozenset[str]) -> dict[str, Mapping[Any, Any]]:
    """Suggestions that a person accepted or changed, as they stood then: a later run may word them otherwise."""
    versions: dict[str, Any] = {}
    found: dict[str, Mapping[Any, Any]] = {}
    for key, case in cases.items():
        partition, words = case["partition"], (ACCEPTED, *(case["edits"] or ()))
        if case["route"] != SUGGEST or key in gone or case["resolution"] not in words:
            continue
        if partition not in versions:
            versions[partition] = history(Slot(flow, PUBLISH, partition))
        seen = [one for one in versions[partition] if one.created_at <= case["updated_at"]]
        if not seen:
            continue
        rows = read(seen[-1].ref)
        for row in rows[rows["entity_key"] == key].to_dict("records"):
            reply = case["text"] or row["reply"]
            if isinstance(reply, str):
                found[key] = {
                    **row,
                    "reply": reply,
                    "written": EDITED if case["text"] else READ,
                    "accepted": (case["actor_id"] or "", case["actor"], case["updated_at"]),
                }
    return found
