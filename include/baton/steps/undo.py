"""Delivery of what takes effects back: each the way its effect went, under a permit of its own."""

from baton.effects import outbox
from baton.errors import BatonError
from baton.stages.connections import Connections
from baton.stages.job import StageJob
from baton.steps.deliver import DeliverOptions, carry_out, undelivered


def deliver_undoes(flow: str, partition: str, connections: Connections) -> dict[str, int]:
    """Send the undoes of a flow's partition that may go, each once.

    Returns:
        sent: by this call; already: before; waiting: for people; forbidden.

    Raises:
        BatonError: something is not delivered; a repetition goes on with the rest.
    """
    found = [one for one in outbox.effects(flow, partition) if one.undoes and one.state != outbox.WITHDRAWN]
    ways = [(sorted({other.kind for other in found if other.via == one.via}), one.via) for one in found]
    counts, failures = dict.fromkeys(("sent", "already", "waiting", "forbidden"), 0), []
    for number, (kinds, via) in enumerate(ways):
        if via is None or (kinds, via) in ways[:number]:
            continue
        options = DeliverOptions.model_validate({**via, "effect": kinds})
        job = StageJob("", flow, "undo", partition, "baton.steps.undo", options=options, connections=connections)
        done, _ = carry_out(job, options, undoing=True)
        for name in counts:
            counts[name] += getattr(done, name)
        if done.failed or done.unknown:
            failures.append(undelivered(job, ", ".join(kinds), done))
    if failures:
        raise BatonError("; ".join(failures))
    return counts
