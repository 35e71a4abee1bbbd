"""A switch for each part that breaks it, for the demo and the tests: the server's own memory, gone with the process."""

import threading
from dataclasses import dataclass
from typing import Any

from baton_demo.json_service import RequestRefused

MODES = ("none", "down", "slow", "wrong", "redirect")
SECONDS = 30.0  # that a slow answer takes unless the switch says otherwise


@dataclass(frozen=True)
class Fault:
    """How a part misbehaves.

    Attributes:
        mode: `down` ends the connection without a word, `slow` answers after `seconds`, `wrong` answers 200 with a content
            of another schema (an action is not carried out), `redirect` sends elsewhere.
    """

    mode: str
    seconds: float = SECONDS


class Faults:
    """The switches.

    Args:
        parts: that can be broken.
    """

    def __init__(self, parts: tuple[str, ...]) -> None:
        self._parts, self._set, self._lock = parts, dict[str, Fault](), threading.Lock()
        self.ended = threading.Event()  # wakes what is slow when the server stops

    def of(self, part: str) -> Fault:
        """How a part misbehaves now."""
        with self._lock:
            return self._set.get(part, Fault("none"))

    def switch(self, body: Any) -> dict[str, Any]:
        """Set one by {"part", "mode", and perhaps "seconds"}; returns all that are set.

        Raises:
            RequestRefused: 422, no such part or mode.
        """
        given = body if isinstance(body, dict) else {}
        part, mode, seconds = given.get("part"), given.get("mode"), given.get("seconds", SECONDS)
        if part not in self._parts or mode not in MODES or not isinstance(seconds, int | float) or seconds < 0:
            raise RequestRefused(
                422, f"part: one of {', '.join(self._parts)}; mode: one of {', '.join(MODES)}; seconds"
            )
        with self._lock:
            self._set[part] = Fault(mode, float(seconds))
        return self.now()

    def now(self) -> dict[str, Any]:
        """Part -> mode, of those that are broken."""
        with self._lock:
            return {"faults": {part: fault.mode for part, fault in self._set.items() if fault.mode != "none"}}
