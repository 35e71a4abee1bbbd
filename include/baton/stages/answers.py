"""Answers of a flow's reviews. They travel between tasks in Airflow's XCom, where whoever may use a flow can write.

So each is noted on the ledger by the task that got it, and a stage takes a person's yes only if it is the last word that its
review noted, letter for letter, and about what was shown.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from baton.errors import BatonError
from baton.jsontext import to_json
from baton.record import ledger, warehouse
from baton.stages.job import StageJob

ANSWERED = "review_answered"
_YES = "approved"


def note(flow: str, partition: str, task: str, answer: Mapping[str, Any]) -> None:
    """Put an answer on the ledger: who gave which, its digest, and what was shown; values and texts stay out.

    `shown` names the decisions (address and SHA-256) and the digest of the form, which Airflow keeps with the request.
    """
    told = {name: str(answer.get(name) or "") for name in ("answer", "actor", "actor_id")}
    said = {"task": task, **told, "sha256": _digest(answer), "shown": answer.get("about")}
    warehouse.transact(lambda conn: ledger.append(conn, ANSWERED, f"{flow}/{partition}", said))


def require(job: StageJob[Any]) -> None:
    """Check the answers among a stage's options.

    Raises:
        BatonError: a yes is not the last word that its review noted, or is about an earlier version of an input.
    """
    options = job.options if isinstance(job.options, Mapping) else {}
    pure = options.get("params")
    for name, answer in {**options, **(pure if isinstance(pure, Mapping) else {})}.items():
        if isinstance(answer, Mapping) and answer.get("answer") == _YES and "actor" in answer:
            _require_noted(job, name, answer)
            _require_shown(job, name, answer.get("about"))


def _require_noted(job: StageJob[Any], name: str, answer: Mapping[str, Any]) -> None:
    last: dict[str, str] = {}  # the newest of each review
    for one in ledger.entries(f"{job.flow}/{job.partition}", ANSWERED):
        last.setdefault(one.payload["task"], one.payload["sha256"])
    if _digest(answer) not in last.values():
        raise BatonError(
            f"stage {job.flow}.{job.stage}: `{name}` is not the last word that a review of {job.partition} noted on the "
            "ledger: clear the task that reviews, so that people are asked"
        )


def _require_shown(job: StageJob[Any], name: str, about: Any) -> None:
    """What the same slot holds since, nobody has seen a row of."""
    if not isinstance(about, Mapping):
        return
    slot = str(about.get("uri")).rpartition("/")[0]
    for one, ref in job.inputs.items():
        if ref.uri.rpartition("/")[0] == slot and ref.content_sha256 != about.get("content_sha256"):
            raise BatonError(
                f"stage {job.flow}.{job.stage}: input `{one}` was made anew after the answer in `{name}` was asked for: "
                "clear the task that reviews, so that people are shown what there is now"
            )


def _digest(answer: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(json.loads(to_json(answer)), sort_keys=True).encode()).hexdigest()
