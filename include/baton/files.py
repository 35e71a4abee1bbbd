"""Files that are there whole or not at all, for their owner alone: keys, passwords, letters, seals."""

import os
import tempfile
from pathlib import Path


def place(path: Path, content: str | bytes, *, mode: int = 0o600, replace: bool = False) -> bool:
    """Write a file and its name to the disk in one step: nobody sees half of it, or wider rights.

    Args:
        path: in a folder that exists.
        content: bytes, or text, which becomes UTF-8.
        replace: what is there gives way; else it stays, and of several who come at once one is the first.

    Returns:
        False if a file was there and stayed.

    Raises:
        OSError: it cannot be written; what was there is untouched.
    """
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")  # made 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(unfinished, path)  # noqa: PTH105 - one word for both ways
        else:
            os.link(unfinished, path)  # unlike a rename it fails if the name is taken
        sync_folder(path.parent)
    except FileExistsError:
        return False
    finally:
        Path(unfinished).unlink(missing_ok=True)
    return True


def sync_folder(folder: Path) -> None:
    """Have a folder's entries on the disk, so that a power cut loses no name in it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
