"""The journal of a run that is not over: a task that is killed and tried again does only what is not in it yet.

One small object for each costly result (what a model answered, what a document says), beside the stage's own objects in the
dataset store, so that another worker finds it too; named by a hash of everything the result depends on. Of an answer it
holds what the model wrote, with placeholders in it, and no question. The stage removes them all when it has committed.
"""

import hashlib
import json
import logging
from typing import Any

from baton.data import objects
from baton.data.objects import StoreError
from baton.settings import settings

log = logging.getLogger(__name__)


class Journal:
    """Results of one slot's run."""

    def __init__(self, folder: str, state: Any) -> None:
        """Names the journal.

        Args:
            folder: of the slot in the store (`Slot.folder`).
            state: what every result depends on besides its key: prompts, schemas, limits, code, model; JSON.
        """
        self._folder = f"{folder}/journal"
        self._state = json.dumps(state, sort_keys=True)
        self.problem = ""

    def key(self, *parts: str) -> str:
        """Name of a result: the same state and parts (case, role and masked question; a document) give the same."""
        return hashlib.sha256("\0".join((self._state, *parts)).encode()).hexdigest()

    def get(self, key: str) -> dict[str, Any] | None:
        """A result that was written before; None if there is none, or half of one."""
        try:
            found = json.loads(objects.get(f"{self._uri()}/{key}.json"))
        except (OSError, StoreError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def put(self, key: str, result: dict[str, Any]) -> None:
        """Write a result; if the store does not take it, `problem` says so and the run goes on."""
        fs, folder = objects.driver(self._uri())
        try:
            with objects.answering(self._uri()):
                fs.makedirs(folder, exist_ok=True)
                fs.pipe_file(f"{folder}/{key}.json", json.dumps(result).encode())
        except (OSError, StoreError) as error:
            self.problem = f"results could not be kept for a retry ({type(error.__cause__ or error).__name__})"

    def clear(self) -> None:
        """Remove all results: the run is over."""
        fs, folder = objects.driver(self._uri())
        try:
            with objects.answering(self._uri()):
                if fs.exists(folder):
                    fs.rm(folder, recursive=True)
        except (OSError, StoreError) as error:
            log.warning(
                "results of a committed run stay in %s (%s)", self._folder, type(error.__cause__ or error).__name__
            )

    def _uri(self) -> str:
        return f"{settings().store_url.rstrip('/')}/{self._folder}"
