"""The stage that sends what an earlier stage enqueued; addresses and log-ins come from whoever knows connections.

`baton.airflow.connections.peers` registers Airflow's connections here, as `baton.airflow.connections.readers` does for sources. Options with
an `endpoint` speak HTTP; without one the effects are mails (`baton.effects.mail`): through the connection's mail
server, or into the file outbox `BATON_HOME/outbox/<flow>/<partition>/` where there is no such connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.data.partitions import safe_name
from baton.effects import delivery, outbox
from baton.effects.http import HttpPeer
from baton.effects.mail import NOBODY, is_address
from baton.effects.mail_folder import FileOutbox
from baton.effects.smtp import MailServer, SmtpPeer
from baton.errors import BatonError, SpecError
from baton.settings import settings
from baton.stages.job import StageJob, engine_step
from baton.stages.slots import StageOutput

if TYPE_CHECKING:
    from baton.effects.delivery import Delivery
    from baton.effects.http import Endpoint
    from baton.effects.peer import Peer

_LEASE = 3  # times the timeout: an attempt asks, then sends
_MAIL_LEASE = 12  # a mail's attempt: up to five replies and a search of the archive, which may only take half of it
_HTTP = {"echoes": [], "timeout": 10.0, "rounds": 5, "pause": 1.0}
_MAIL = {"sender": "", "required": False, "timeout": 30.0, "rounds": 5, "pause": 1.0}


@dataclass(frozen=True)
class Connections:
    """How a connection's name becomes a peer.

    Attributes:
        http: address with log-in.
        mail: mail server; a folder for the file outbox; or None: there is no such connection.
    """

    http: Callable[[str], Endpoint]
    mail: Callable[[str], MailServer | Path | None]


_connections: list[Connections] = []


def register_connections(connections: Connections) -> None:
    """Say how connections are looked up; the last one registered counts."""
    _connections[:] = [connections]


def _outbox_state(job: StageJob) -> dict[str, Any]:
    """What there is to send: a repetition with nothing open, after one with nothing open, computes nothing."""
    found = [
        e
        for e in outbox.effects(job.flow, job.partition, str(job.options.get("effect")))
        if e.state != outbox.WITHDRAWN
    ]
    still = [effect for effect in found if effect.state != outbox.SENT]
    return {"effects": outbox.digest(found), "open": outbox.digest(still) if still and not job.dry_run else ""}


@engine_step(fingerprint=_outbox_state)
def deliver(job: StageJob) -> StageOutput:
    """Send the partition's effects of one kind, each once, and give back how they stand.

    Inputs: the result of the stage that enqueued them (for the order of tasks; its rows are not read).

    Options:
        effect: kind of the effects, as given to `outbox.enqueue`.
        conn_id: connection of the peer.
        timeout: seconds for an answer, default 10 (HTTP) or 30 (mail).
        rounds: attempts per effect and task attempt, default 5.
        pause: seconds between the first two rounds, default 1, doubled each time.
        HTTP only:
        endpoint: path below its address: POST there, GET `endpoint/<key>`.
        receipt: field of the answer that proves the effect, e.g. order_id.
        echoes: fields that the peer returns as they were sent, to be compared.
        mail only:
        sender: address that mails come from where the connection names none.
        required: the connection must exist; nothing goes to the file outbox for want of it.

    Returns:
        one row per effect: entity_key, key, state, receipt (of a mail: its Message-ID), sent_at; facts: sent, already,
        adopted, failed, unknown, `degraded` sentences and, for mail, `peer`. A dry run sends nothing.

    Raises:
        SpecError: an option is missing or unknown.
        BatonError: something is not delivered; what was sent is recorded, a retry goes on with the rest.
    """
    import pandas as pd

    options = _options(job)
    done, peer = (None, "") if job.dry_run else _deliver(job, options)
    if done is not None and (done.failed or done.unknown):
        raise BatonError(_undelivered(job, options["effect"], done))
    receipt = options.get("receipt", "message_id")
    rows = [
        (effect.entity_key, effect.key, effect.state, str((effect.answer or {}).get(receipt, "")), effect.sent_at)
        for effect in outbox.effects(job.flow, job.partition, options["effect"]) if effect.state != outbox.WITHDRAWN
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["entity_key", "key", "state", "receipt", "sent_at"], dtype="string")
    if done is None:
        return StageOutput(frame, {"sent": 0, "dry_run": True})
    facts: dict[str, Any] = {name: getattr(done, name) for name in ("sent", "already", "adopted", "failed", "unknown")}
    facts |= {"peer": peer} if peer else {}
    return StageOutput(frame, {**facts, **({"degraded": done.degraded} if done.degraded else {})})


def _options(job: StageJob) -> dict[str, Any]:
    """The step's options with their defaults; flows add `step`, any stage may have an `output_contract`."""
    given = {name: value for name, value in job.options.items() if name not in ("step", "output_contract")}
    http = bool({"endpoint", "receipt", "echoes"} & set(given))
    needed = ("effect", "conn_id", "endpoint", "receipt") if http else ("effect", "conn_id")
    defaults = _HTTP if http else _MAIL
    missing = [name for name in needed if not given.get(name)]
    unknown = sorted(set(given) - set(defaults) - set(needed))
    if missing or unknown:
        problem = f"option {missing[0]} is missing" if missing else f"unknown option {unknown[0]}"
        raise SpecError(
            f"stage {job.flow}.{job.stage}, baton.steps.deliver:deliver: {problem}; it takes {', '.join(needed)} "
            f"and perhaps {', '.join(defaults)}"
        )
    return {**defaults, **given}


def _deliver(job: StageJob, options: dict[str, Any]) -> tuple[Delivery, str]:
    """Deliver, and say by what if it is mail."""
    if not _connections:
        raise BatonError("baton.effects: nobody registered connections; import baton.airflow.effects in the task")
    timeout, lookup = float(options["timeout"]), _connections[0]
    if "endpoint" in options:
        endpoint = lookup.http(options["conn_id"])
        with HttpPeer(endpoint, options["endpoint"], options["receipt"], options["echoes"], timeout) as peer:
            return _sent(job, options, peer, _LEASE * timeout), ""
    with _mail_peer(job, options, lookup.mail(options["conn_id"]), timeout) as post:
        return _sent(job, options, post, _MAIL_LEASE * timeout), post.name


def _sent(job: StageJob, options: dict[str, Any], peer: Peer, lease: float) -> Delivery:
    return delivery.deliver(
        options["effect"], peer, job.flow, job.partition, rounds=int(options["rounds"]), pause=float(options["pause"]),
        lease=lease,
    )  # fmt: skip


def _mail_peer(
    job: StageJob, options: dict[str, Any], found: MailServer | Path | None, timeout: float
) -> SmtpPeer | FileOutbox:
    sender = options["sender"] or NOBODY
    if not is_address(sender):
        raise SpecError(f"stage {job.flow}.{job.stage}: option sender is no bare address such as desk@example.org")
    if isinstance(found, MailServer):
        if not (found.sender or options["sender"]):
            raise BatonError(f"connection {options['conn_id']}: say who the mails come from: extra.from_email")
        return SmtpPeer(found, sender, timeout)
    if found is None and options["required"]:
        raise BatonError(f"connection {options['conn_id']}: there is none, and the stage's option `required` is set")
    folder = found or settings().home / "outbox"
    return FileOutbox(folder / job.flow / safe_name(job.partition), sender)


def _undelivered(job: StageJob, kind: str, done: Delivery) -> str:
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
