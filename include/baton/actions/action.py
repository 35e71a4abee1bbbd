"""An action: what is to be done to what, why, and how it would be taken back; and its digest, which permits are bound to."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from baton.errors import BatonError
from baton.jsontext import to_json

_KIND = re.compile(r"[a-z][a-z0-9_]{0,30}")


@dataclass(frozen=True)
class Approval:
    """A person's yes that a stage brings along, such as the answer of a review.

    Attributes:
        person: their id where they logged in, not their name; it is compared with the other approver's and the requester's.
        name: what people call them.
        channel: where they said so: airflow, case, ...
        at: when, as `warehouse.now()` writes it; empty: not known, then it counts only for what was never asked before.
    """

    person: str
    name: str = ""
    channel: str = "airflow"
    at: str = ""
    reason: str = ""

    @classmethod
    def of_answer(cls, answer: Mapping[str, Any]) -> Self:
        """The word of whoever answered a flow's review: its result has `actor` (a name), `actor_id` and `at`."""
        name = str(answer.get("actor") or "")
        return cls(str(answer.get("actor_id") or name), name, "review", str(answer.get("at") or ""))


@dataclass(frozen=True)
class Action:
    """What a stage wants done outside.

    Attributes:
        kind: an action that the pack's `actions.yaml` declares.
        entity_key: the case, order or letter that it is about.
        target: what it is done to: an address, an account, a host; of reach `record` the entity itself as a rule.
        payload: what the other side is sent, a JSON object.
        asset_class: what kind of thing the target is, for the policy; empty: not known.
        confidence: 0..1, how sure whoever decided is; amount: in money, where that decides who is asked.
        evidence: ids of what speaks for it; another evidence makes another action of it.
        before, after: the target's state now, and as it would be: the difference that an approver is shown. An action
            whose `after` is its `before` changes nothing and is taken back by nothing.
        undo: payload of the declared undo; None: this payload with the undo's name in its field `action`.
        approvals: people who said yes already, in the flow's own review or on its case.
    """

    kind: str
    entity_key: str
    target: str
    payload: Mapping[str, Any]
    asset_class: str = ""
    confidence: float | None = None
    amount: float | None = None
    evidence: Sequence[str] = ()
    before: Any = None
    after: Any = None
    undo: Mapping[str, Any] | None = None
    approvals: Sequence[Approval] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        require_kind(self.kind)
        plain = {"entity_key": str(self.entity_key), "target": str(self.target)}
        plain |= {name: json.loads(to_json(getattr(self, name))) for name in ("payload", "before", "after", "undo")}
        for name, value in plain.items():  # as the warehouse will give them back: digests are over these
            object.__setattr__(self, name, value)
        object.__setattr__(self, "evidence", tuple(str(one) for one in self.evidence))
        if not isinstance(self.payload, dict):
            raise BatonError(f"action {self.kind} on {self.target}: its payload is no JSON object")

    @property
    def evidence_digest(self) -> str:
        """SHA-256 over what speaks for it."""
        return digest(sorted(self.evidence))

    @property
    def digest(self) -> str:
        """SHA-256 over kind, target, entity, payload and evidence: another digest is another action."""
        return digest([self.kind, self.target, self.entity_key, self.payload, self.evidence_digest])

    @property
    def shown(self) -> str:
        """SHA-256 over the action and the difference that approvers see."""
        judged = [self.asset_class, self.confidence, self.amount]
        return digest([self.digest, self.before, self.after, self.undo, json.loads(to_json(judged))])

    def flaw(self) -> str:
        """What keeps it from being judged at all; empty: nothing."""
        if self.confidence is not None and not (_number(self.confidence) and 0.0 <= self.confidence <= 1.0):
            return f"its confidence {self.confidence!r} is no number from 0 to 1"
        if self.amount is not None and not (_number(self.amount) and self.amount >= 0.0):
            return f"its amount {self.amount!r} is no amount of money"
        return "" if self.target else "it has no target"

    def described(self) -> dict[str, Any]:
        """What the outbox keeps beside kind, entity, target and payload; `of` reads it."""
        kept = ("asset_class", "confidence", "amount", "before", "after", "undo")
        described = {name: getattr(self, name) for name in kept} | {"evidence": list(self.evidence)}
        return dict(json.loads(to_json(described)))

    @classmethod
    def of(cls, kind: str, entity_key: str, target: str, payload: Mapping[str, Any], told: Mapping[str, Any]) -> Self:
        """The action as the outbox, or a request, keeps it."""
        return cls(
            kind, entity_key, target, payload, str(told.get("asset_class") or ""), told.get("confidence"),
            told.get("amount"), tuple(told.get("evidence") or ()), told.get("before"), told.get("after"), told.get("undo"),
        )  # fmt: skip


def require_kind(kind: str) -> None:
    """Raises BatonError: no effect can be of this kind."""
    if not _KIND.fullmatch(kind):
        raise BatonError(f"effect kind {kind!r}: lower-case letters, digits and _, a letter first, 31 at most")


def digest(value: Any) -> str:
    """SHA-256 over plain JSON, the same whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
