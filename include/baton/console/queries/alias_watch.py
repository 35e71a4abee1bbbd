"""Aliases as the registry has them now, asked in the background: a slow or dead MLflow costs a page one second at most."""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from functools import lru_cache
from typing import Any

from baton.errors import BatonError
from baton.registry.client import Registry
from baton.settings import settings

PATIENCE = 1.0  # seconds that a page waits
KEEP = 10.0  # seconds that an answer, or its absence, counts

log = logging.getLogger(__name__)
Aliases = dict[str, dict[str, int]]


class AliasWatch:
    """One question at a time to the registry, whoever asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="baton-aliases")
        self._pending: Future[Aliases] | None = None
        self._answer: tuple[float, tuple[str, ...], Aliases | None] | None = None

    def look(self, models: Sequence[str]) -> Aliases | None:
        """Return alias -> version per model; None when the registry did not answer within a second.

        Args:
            models: names of registered models; one that the registry does not know has no aliases.
        """
        wanted = tuple(models)
        with self._lock:
            if self._answer and self._answer[1] == wanted and time.monotonic() - self._answer[0] < KEEP:
                return self._answer[2]
            if self._pending is None or self._pending.done():
                self._pending = self._pool.submit(fetch, wanted)
            pending = self._pending
        result: Aliases | None = None
        try:
            result = pending.result(PATIENCE)
        except NotInTime:
            log.info("MLflow did not answer within %s s", PATIENCE)
        except BatonError as error:
            log.info("aliases not compared: %s", error)
        with self._lock:
            self._answer = (time.monotonic(), wanted, result)
        return result


def fetch(models: tuple[str, ...]) -> Aliases:
    """Ask the registry, without patience for a server that is down."""
    registry = _registry(settings().mlflow_tracking_uri or "")
    return {model: registry.aliases(model) for model in models}


@lru_cache(maxsize=2)
def _registry(url: str) -> Any:
    """One connection per address: making one costs more than asking."""
    return Registry(url or None, retry_seconds=0.0)


WATCH = AliasWatch()
