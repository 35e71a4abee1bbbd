"""The journal of a run that is not over: a task that is killed and tried again asks only for what it has not heard yet.

One small object for each answer, beside the stage's own objects in the dataset store, so that another worker finds it
too; named by a hash of everything the answer depends on. It holds what the model wrote, with placeholders in it, and no
question. The stage removes them all when it has committed.
"""

import hashlib
import json
import logging
from typing import Any

from baton.settings import settings

log = logging.getLogger(__name__)


class Journal:
    """Answers of one slot's run."""

    def __init__(self, folder: str, state: Any) -> None:
        """Names the journal.

        Args:
            folder: of the slot in the store (`Slot.folder`).
            state: what every answer depends on besides its question: prompts, schemas, code, model; JSON.
        """
        self._folder = f"{folder}/answers"
        self._state = json.dumps(state, sort_keys=True)
        self.problem = ""

    def key(self, case: str, role: str, question: str) -> str:
        """Name of an answer: the same state, case, role and (masked) question give the same."""
        return hashlib.sha256("\0".join((self._state, case, role, question)).encode()).hexdigest()

    def get(self, key: str) -> dict[str, Any] | None:
        """An answer that was written before; None if there is none, or half of one."""
        fs, folder = _store(self._folder)
        try:
            found = json.loads(fs.cat_file(f"{folder}/{key}.json"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def put(self, key: str, answer: dict[str, Any]) -> None:
        """Write an answer; if the store does not take it, `problem` says so and the run goes on."""
        fs, folder = _store(self._folder)
        try:
            fs.makedirs(folder, exist_ok=True)
            fs.pipe_file(f"{folder}/{key}.json", json.dumps(answer).encode())
        except OSError as error:
            self.problem = f"answers could not be kept for a retry ({type(error).__name__})"

    def clear(self) -> None:
        """Remove all answers: the run is over."""
        fs, folder = _store(self._folder)
        try:
            if fs.exists(folder):
                fs.rm(folder, recursive=True)
        except OSError as error:
            log.warning("answers of a committed run stay in %s (%s)", self._folder, type(error).__name__)


def _store(folder: str) -> tuple[Any, str]:
    import fsspec

    return fsspec.core.url_to_fs(f"{settings().store_url.rstrip('/')}/{folder}")
