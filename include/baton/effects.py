"""The stage that sends what an earlier stage enqueued; addresses and log-ins come from whoever knows connections.

`baton.airflow.effects` registers Airflow's connections here, as `baton.airflow.sources` does for sources.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from baton.errors import BatonError, SpecError
from baton.slots import StageOutput
from baton.stages import StageJob, engine_step

if TYPE_CHECKING:
    from baton.delivery import Delivery
    from baton.effects_http import Endpoint

_LEASE = 3  # times the timeout: an attempt asks, then sends
_connections: list[Callable[[str], Endpoint]] = []


def register_connections(connect: Callable[[str], Endpoint]) -> None:
    """Say how a connection's name becomes an address with log-in; the last one registered counts."""
    _connections[:] = [connect]


def _outbox_state(job: StageJob) -> dict[str, Any]:
    """What there is to send: a repetition with nothing open, after one with nothing open, computes nothing."""
    from baton import outbox

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
        endpoint: path below its address: POST there, GET `endpoint/<key>`.
        receipt: field of the answer that proves the effect, e.g. order_id.
        echoes: fields that the peer returns as they were sent, to be compared.
        timeout: seconds for an answer, default 10. rounds: attempts per effect and task attempt, default 5.
        pause: seconds between the first two rounds, default 1, doubled each time.

    Returns:
        one row per effect: entity_key, key, state, receipt, sent_at; facts: sent, already, adopted, failed, unknown
        and `degraded` sentences. A dry run sends nothing.

    Raises:
        SpecError: an option is missing or unknown.
        BatonError: something is not delivered; what was sent is recorded, a retry goes on with the rest.
    """
    import pandas as pd

    from baton import outbox

    options = _options(job)
    done = None if job.dry_run else _deliver(job, options)
    if done is not None and (done.failed or done.unknown):
        raise BatonError(_undelivered(job, options["effect"], done))
    rows = [
        (effect.entity_key, effect.key, effect.state, str((effect.answer or {}).get(options["receipt"], "")), effect.sent_at)
        for effect in outbox.effects(job.flow, job.partition, options["effect"]) if effect.state != outbox.WITHDRAWN
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["entity_key", "key", "state", "receipt", "sent_at"], dtype="string")
    if done is None:
        return StageOutput(frame, {"sent": 0, "dry_run": True})
    facts: dict[str, Any] = {name: getattr(done, name) for name in ("sent", "already", "adopted", "failed", "unknown")}
    return StageOutput(frame, {**facts, **({"degraded": done.degraded} if done.degraded else {})})


def _options(job: StageJob) -> dict[str, Any]:
    """The step's options with their defaults; flows add `step`, any stage may have an `output_contract`."""
    defaults = {"echoes": [], "timeout": 10.0, "rounds": 5, "pause": 1.0}
    given = {name: value for name, value in job.options.items() if name not in ("step", "output_contract")}
    missing = [name for name in ("effect", "conn_id", "endpoint", "receipt") if not given.get(name)]
    unknown = sorted(set(given) - set(defaults) - {"effect", "conn_id", "endpoint", "receipt"})
    if missing or unknown:
        problem = f"option {missing[0]} is missing" if missing else f"unknown option {unknown[0]}"
        raise SpecError(
            f"stage {job.flow}.{job.stage}, baton.effects:deliver: {problem}; it takes effect, conn_id, endpoint, "
            f"receipt and perhaps {', '.join(defaults)}"
        )
    return {**defaults, **given}


def _deliver(job: StageJob, options: dict[str, Any]) -> Delivery:
    from baton import delivery
    from baton.effects_http import HttpPeer

    if not _connections:
        raise BatonError("baton.effects: nobody registered connections; import baton.airflow.effects in the task")
    timeout = float(options["timeout"])
    endpoint = _connections[0](options["conn_id"])
    with HttpPeer(endpoint, options["endpoint"], options["receipt"], options["echoes"], timeout) as peer:
        return delivery.deliver(
            options["effect"], peer, job.flow, job.partition, rounds=int(options["rounds"]), pause=float(options["pause"]),
            lease=_LEASE * timeout,
        )  # fmt: skip


def _undelivered(job: StageJob, kind: str, done: Delivery) -> str:
    total = done.sent + done.already + done.failed + done.unknown
    advice = ["a retry of this task sends the rest; nothing is sent twice"]
    if done.failed:
        advice.append(
            "what is refused needs a corrected plan (run the stage that enqueues again), or a correction there"
        )
    return (
        f"{job.flow}/{job.partition}: of {total} effects `{kind}` {done.sent + done.already} are delivered, {done.failed} "
        f"refused, {done.unknown} not yet ({'; '.join(done.problems)}): {'; '.join(advice)}"
    )
