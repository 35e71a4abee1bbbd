"""The stage that sends what an earlier stage enqueued; addresses and log-ins come from the job's connections.

Options with an `endpoint` speak HTTP; without one the effects are mails (`baton.effects.mail`): through the
connection's mail server, or into the file outbox `BATON_HOME/outbox/<flow>/<partition>/` where there is no such
connection.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

import pandas as pd
import sqlalchemy as sa
from pydantic import BeforeValidator, Field, model_validator

from baton.actions import switch
from baton.data.partitions import safe_name
from baton.effects import delivery, outbox
from baton.effects.delivery import Delivery
from baton.effects.http import HttpPeer
from baton.effects.mail import NOBODY, is_address
from baton.effects.mail_folder import FileOutbox
from baton.effects.peer import Peer
from baton.effects.smtp import MailServer, SmtpPeer
from baton.errors import BatonError, SpecError
from baton.record import tables, warehouse
from baton.settings import settings
from baton.specs.base import Seq, Spec
from baton.stages.job import StageJob
from baton.stages.slots import StageOutput
from baton.stages.step import engine_step

_LEASE = 3  # times the timeout: an attempt asks, then sends
_HTTP_TIMEOUT, _MAIL_TIMEOUT = 10.0, 30.0  # seconds for an answer
_MOST_BEHIND = 50  # earlier partitions that one run takes along
_MAIL_LEASE = 12  # a mail's attempt: up to five replies and a search of the archive, which may only take half of it


def _several(given: object) -> object:
    if isinstance(given, str):
        return (given,) if given else None
    return tuple(given) if isinstance(given, list) else given


Kinds = Annotated[tuple[str, ...], BeforeValidator(_several)]


class DeliverOptions(Spec):
    """Options of `deliver`: with an `endpoint` the effects go over HTTP, without one they are mails."""

    effect: Kinds = Field(min_length=1, description="kind of the effects, or several, as `actions.yaml` names them")
    conn_id: str = Field(min_length=1, description="connection of the peer")
    timeout: float | None = Field(default=None, gt=0, description="seconds for an answer; null: 10 (HTTP) or 30 (mail)")
    rounds: int = Field(default=5, ge=1, description="attempts per effect and task attempt")
    pause: float = Field(default=1.0, ge=0, description="seconds between the first two rounds, doubled each time")
    endpoint: str = Field(default="", description="HTTP: path below the address: POST there, GET `endpoint/<key>`")
    receipt: str = Field(default="", description="HTTP: field of the answer that proves the effect, e.g. order_id")
    echoes: Seq[str] = Field(default=(), description="HTTP: fields that the peer returns as sent, to be compared")
    sender: str = Field(default="", description="mail: address that mails come from where the connection names none")
    required: bool = Field(default=False, description="mail: the connection must exist; none goes to the file outbox")

    later: bool = Field(
        default=False,
        description="what cannot be delivered stays in the outbox and is said in `degraded`; the stage of a later partition takes "
        "it along. Else the task fails",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.http and (self.sender or self.required):
            raise ValueError(f"unknown option {'sender' if self.sender else 'required'} of HTTP: it is for mails")
        for name in ("endpoint", "receipt") if self.http else ():
            if not getattr(self, name):
                raise ValueError(f"option {name} is missing")
        return self

    @property
    def http(self) -> bool:
        """Whether the peer speaks HTTP."""
        return not self.model_fields_set.isdisjoint({"endpoint", "receipt", "echoes"})

    @property
    def via(self) -> dict[str, Any]:
        """How effects go, as each of them notes it; what takes one back goes the same way."""
        return dict(self.model_dump(mode="json", exclude_unset=True, exclude={"effect", "later"}))


def _outbox_state(job: StageJob[DeliverOptions]) -> dict[str, Any]:
    """What there is to send: a repetition with nothing open, after one with nothing open, computes nothing."""
    found = [e for e in outbox.effects(job.flow, job.partition, job.options.effect) if e.state != outbox.WITHDRAWN]
    still = [effect for effect in found if effect.state in outbox.OPEN]
    held = [effect for effect in found if effect.state in outbox.HELD]  # an approved one is open afterwards
    state: dict[str, Any] = {
        "effects": outbox.digest(found), "open": outbox.digest(still) if still and not job.dry_run else "",
    }  # fmt: skip
    if still and (stopped := switch.stopped()):  # what was turned away then may go once it is off
        state["stopped"] = stopped.at
    if job.options.later:  # it commits with effects still open: a repetition tries these anew
        behind = {one: outbox.effects(job.flow, one, job.options.effect) for one in _behind(job)}
        waiting = [*still, *(effect for effects in behind.values() for effect in effects)]
        state |= {"behind": {one: outbox.digest(effects) for one, effects in behind.items()}} if behind else {}
        state |= {"tried": sum(effect.attempts for effect in waiting)} if waiting else {}
    return state | ({"held": outbox.digest(held)} if held else {})


def _behind(job: StageJob[DeliverOptions]) -> list[str]:
    """Earlier partitions, the oldest first, in which the other side does not have what it could have."""
    table = tables.outbox
    query = sa.select(table.c.partition).distinct().where(
        table.c.flow == job.flow, table.c.kind.in_(job.options.effect), table.c.partition < job.partition,
        table.c.state.in_((outbox.PENDING, outbox.SENDING, outbox.UNKNOWN)),
    )  # fmt: skip
    with warehouse.read() as conn:
        return list(conn.execute(query.order_by(table.c.partition).limit(_MOST_BEHIND)).scalars())


@engine_step(DeliverOptions, fingerprint=_outbox_state)
def deliver(job: StageJob[DeliverOptions]) -> StageOutput:
    """Send the partition's effects of some kinds, each once, and give back how they stand.

    Inputs: the result of the stage that enqueued them (for the order of tasks; its rows are not read).

    Returns:
        one row per effect: entity_key, key, state, receipt (of a mail: its Message-ID), sent_at; facts: sent, already,
        adopted, failed, unknown, `degraded` sentences and, where there are such, waiting (for people), forbidden, and for
        mail `peer`; with the option `later` also behind (partitions before this one that were taken along). A dry run sends nothing.

    Raises:
        SpecError: an option is missing or unknown.
        BatonError: something is not delivered; what was sent is recorded, a retry goes on with the rest.
    """
    options = job.options
    behind = _behind(job) if options.later and not job.dry_run else []
    done, peer = (None, "") if job.dry_run else carry_out(job, options)
    left = (
        [undelivered(job, ", ".join(options.effect), done)]
        if done is not None and (done.failed or done.unknown)
        else []
    )
    if left and not options.later:
        raise BatonError(left[0])
    for one in [] if left else behind:  # a peer that has just failed is not asked for older ones too
        before = replace(job, partition=one)
        then, _ = carry_out(before, options)
        left += [undelivered(before, ", ".join(options.effect), then)] if then.failed or then.unknown else []
    receipt = options.receipt or "message_id"
    rows = [
        (effect.entity_key, effect.key, effect.state, str((effect.answer or {}).get(receipt, "")), effect.sent_at)
        for effect in outbox.effects(job.flow, job.partition, options.effect) if effect.state != outbox.WITHDRAWN
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["entity_key", "key", "state", "receipt", "sent_at"], dtype="string")
    if done is None:
        return StageOutput(frame, {"sent": 0, "dry_run": True})
    facts: dict[str, Any] = {name: getattr(done, name) for name in ("sent", "already", "adopted", "failed", "unknown")}
    facts |= {name: count for name in ("waiting", "forbidden") if (count := getattr(done, name))}
    facts |= {"peer": peer} if peer else {}
    facts |= {"behind": len(behind)} if behind else {}
    degraded = [*done.degraded, *left]
    return StageOutput(frame, {**facts, **({"degraded": degraded} if degraded else {})})


def carry_out(job: StageJob[Any], options: DeliverOptions, undoing: bool = False) -> tuple[Delivery, str]:
    """Deliver, and say by what if it is mail. `undoing`: only what takes other effects back, instead of the others."""
    timeout = options.timeout or (_HTTP_TIMEOUT if options.http else _MAIL_TIMEOUT)
    if options.http:
        endpoint = job.connections.http(options.conn_id)
        with HttpPeer(endpoint, options.endpoint, options.receipt, list(options.echoes), timeout) as peer:
            return _sent(job, options, peer, _LEASE * timeout, undoing), ""
    with _mail_peer(job, options, job.connections.mail(options.conn_id), timeout) as post:
        return _sent(job, options, post, _MAIL_LEASE * timeout, undoing), post.name


def _sent(job: StageJob[Any], options: DeliverOptions, peer: Peer, lease: float, undoing: bool) -> Delivery:
    return delivery.deliver(
        options.effect, peer, job.flow, job.partition, rounds=options.rounds, pause=options.pause,
        lease=lease, via=options.via, undoing=undoing,
    )  # fmt: skip


def _mail_peer(
    job: StageJob[Any], options: DeliverOptions, found: MailServer | Path | None, timeout: float
) -> SmtpPeer | FileOutbox:
    sender = options.sender or NOBODY
    if not is_address(sender):
        raise SpecError(f"stage {job.flow}.{job.stage}: option sender is no bare address such as desk@example.org")
    if isinstance(found, MailServer):
        if not (found.sender or options.sender):
            raise BatonError(f"connection {options.conn_id}: say who the mails come from: extra.from_email")
        return SmtpPeer(found, sender, timeout)
    if found is None and options.required:
        raise BatonError(f"connection {options.conn_id}: there is none, and the stage's option `required` is set")
    folder = found or settings().home / "outbox"
    return FileOutbox(folder / job.flow / safe_name(job.partition), sender)


def undelivered(job: StageJob[Any], kind: str, done: Delivery) -> str:
    total = done.sent + done.already + done.failed + done.unknown
    advice = ["a retry of this task goes on with the rest and repeats nothing that is done"]
    if done.failed:
        advice.append(
            "what is refused needs a corrected plan (run the stage that enqueues again), or a correction there"
        )
    return (
        f"{job.flow}/{job.partition}: of {total} effects `{kind}` {done.sent + done.already} are delivered, {done.failed} "
        f"refused, {done.unknown} not yet ({'; '.join(done.problems)}): {'; '.join(advice)}"
    )
