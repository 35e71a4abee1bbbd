"""A token bucket: so many questions a second, whichever thread or process of this machine asks."""

import fcntl
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

_LONGEST = 3600.0  # seconds: nobody waits so long for a token


class Bucket:
    """Holds up to a second's tokens, at least one; a question takes one, or waits for it.

    What is left stands in a file, which whoever takes a token locks for that moment: processes that ask the same tool share it.
    """

    def __init__(
        self,
        path: Path,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,  # of the machine, not of the process
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path, self._rate, self._most = path, per_second, max(1.0, per_second)
        self._clock, self._sleep = clock, sleep
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    def take(self, until: float) -> bool:
        """Take a token, waiting for it if need be.

        Args:
            until: of the clock; a token that would come later is not waited for.

        Returns:
            whether one was taken.
        """
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            now = self._clock()
            left = self._left(os.read(file, 100), now)
            wait = max(0.0, (1.0 - left) / self._rate)
            if now + wait > until:
                return False
            # below zero: whoever comes next waits behind this one
            os.pwrite(file, json.dumps([left - 1.0, now]).encode().ljust(100), 0)
        finally:
            os.close(file)  # with it the lock ends
        if wait:
            self._sleep(wait)
        return True

    def _left(self, content: bytes, now: float) -> float:
        """What is in the bucket now; what nobody can have left (the machine was started anew, a disk was full) is a full one."""
        try:
            left, at = (float(one) for one in json.loads(content))
        except (ValueError, TypeError):
            return self._most
        if not (-_LONGEST * self._rate <= left < math.inf and at <= now):
            return self._most
        return min(self._most, left + (now - at) * self._rate)
