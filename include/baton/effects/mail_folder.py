"""The file outbox: each mail becomes one file, named by its key, for another program or a person to send.

The default where no mail server is known. It is exactly once by itself: a name is taken once, and the file appears
whole or not at all.
"""

from pathlib import Path
from typing import Any, Self

from baton.effects.mail import NOBODY, date_of, mail_problem, message, message_id
from baton.effects.peer import Outcome
from baton.files import place


class FileOutbox:
    """A `baton.effects.delivery.Peer` that writes `<folder>/<key>.eml`, mode 0600: mails hold personal data.

    Args:
        folder: made when needed (0700).
        sender: bare address.
    """

    name = "file outbox"
    answers = True

    def __init__(self, folder: Path, sender: str = NOBODY) -> None:
        self.folder, self.sender = folder, sender

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def find(self, key: str, payload: dict[str, Any]) -> Outcome:
        """Look for the file; another mail in it is a conflict."""
        path = self._path(key)
        try:
            held = path.read_bytes()
        except FileNotFoundError:
            return Outcome("absent")
        except OSError as error:
            return Outcome("unknown", f"{path}: cannot be read: {error.strerror}")
        at = date_of(held)
        if mail_problem(payload) or at is None or held != message(key, payload, self.sender, at):
            return Outcome("conflict", f"{path} holds another mail; look which one is right, and move it away if not")
        return Outcome("done", answer=self._answer(key), agreed=True)

    def place(self, key: str, payload: dict[str, Any]) -> Outcome:
        """Write the file, unless it is there."""
        if problem := mail_problem(payload):
            return Outcome("failed", problem)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            new = place(self._path(key), message(key, payload, self.sender))
        except OSError as error:  # nothing has the name, or it has it whole: then the next attempt finds it
            return Outcome("later", f"{self.folder}: cannot be written: {error.strerror}")
        return Outcome("done", answer=self._answer(key), agreed=True) if new else self.find(key, payload)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.eml"  # a key is letters, digits and dashes: see outbox.key_of

    def _answer(self, key: str) -> dict[str, Any]:
        return {"message_id": message_id(key, self.sender), "peer": self.name, "file": f"{key}.eml"}
