"""A token bucket: so many questions a second, whoever of this process's threads asks."""

import threading
import time
from collections.abc import Callable


class Bucket:
    """Holds up to a second's tokens, at least one; a question takes one, or waits for it."""

    def __init__(
        self,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate, self._most = per_second, max(1.0, per_second)
        self._left, self._at = self._most, clock()
        self._clock, self._sleep, self._lock = clock, sleep, threading.Lock()

    def take(self, until: float) -> bool:
        """Take a token, waiting for it if need be.

        Args:
            until: of the clock; a token that would come later is not waited for.

        Returns:
            whether one was taken.
        """
        with self._lock:
            now = self._clock()
            self._left, self._at = min(self._most, self._left + (now - self._at) * self._rate), now
            wait = max(0.0, (1.0 - self._left) / self._rate)
            if now + wait > until:
                return False
            self._left -= 1.0  # below zero: whoever comes next waits behind this one
        if wait:
            self._sleep(wait)
        return True
