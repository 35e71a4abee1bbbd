"""The peer: what the engine asks of a system that receives effects."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class Outcome:
    """What a request came to.

    Attributes:
        kind: done (the peer has it, `answer` proves it); absent (it has nothing under the key); failed (it refuses);
            conflict (it holds something else under the key); later (it did certainly not take it, try again);
            unknown (it may or may not have taken it).
        words: the peer's or the network's own, without secrets.
        answer: what the peer said about the effect.
        agreed: the answer was compared with the payload and is the same.
        wait: seconds that the peer asks to wait.
        grace: of absent: seconds since the last attempt within which it proves nothing, because the peer files late.
    """

    kind: Literal["done", "absent", "failed", "conflict", "later", "unknown"]
    words: str = ""
    answer: dict[str, Any] | None = None
    agreed: bool = False
    wait: float | None = None
    grace: float = 0.0


class Peer(Protocol):
    """Who carries out effects of one kind. Neither method raises for what the peer or the network does.

    Attributes:
        answers: it can be asked what it has. If not (a mail server), what is in doubt stays `unknown` until a person
            decides, and what it refused is sent again unasked.
    """

    @property
    def answers(self) -> bool: ...

    def find(self, key: str, payload: dict[str, Any]) -> Outcome:
        """Ask what the peer holds under the key: done, absent, conflict, failed (it does not say) or unknown."""

    def place(self, key: str, payload: dict[str, Any]) -> Outcome:
        """Send the effect under the key: anything but absent."""
