"""The anchor: what the owner of the database cannot write, a sealed line for every entry of the ledger.

The folder `ledger` in BATON_HOME is shared by all that write to the ledger and by nobody else: `key` (made with the first
entry), `anchor` (`<number> <hash> <seal>` for each committed entry) and `verified` (what the last check found, and up to
which entry all was well; sealed too). A seal is a keyed hash: without the key nobody makes one.
"""

import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from baton.errors import BatonError
from baton.files import place
from baton.settings import settings

HASH, SEAL = 64, 32  # characters
_LINE = 20 + HASH + SEAL + 3  # characters of a line at most
_TAIL = 512  # lines at the end among which a writer looks for its own


def folder() -> Path:
    """The folder of the ledger's key, anchor and last check (0700)."""
    return settings().home / "ledger"


def anchor_path() -> Path:
    """The file that holds `<number> <hash> <seal>` of every entry committed from this BATON_HOME."""
    return folder() / "anchor"


def key(*, create: bool = False) -> bytes:
    """The key of the seals; made when `create` says that the ledger begins.

    Raises:
        BatonError: there is a ledger and no key.
    """
    path = folder() / "key"
    if create and not path.exists():
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        place(path, secrets.token_hex(32))
    try:
        return bytes.fromhex(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        raise BatonError(
            f"{path} is missing, without which nobody can tell the ledger's entries from forged ones: bring it back from "
            "a copy, or set BATON_HOME to the home that wrote them"
        ) from None


def seal(key: bytes, text: str) -> str:
    """The seal of a text: an entry's hash, or the record of a check."""
    return hashlib.blake2b(text.encode(), key=key, digest_size=SEAL // 2).hexdigest()


# --- lines ---


def add(number: int, digest: str, between: Callable[[int, int], Iterable[tuple[int, str]]]) -> None:
    """Append the line of a committed entry, and before it those of entries whose process died before it wrote them.

    Args:
        between: (first, last) -> number and hash of the entries there whose seal is good.
    """
    known = key()
    own = line(known, number, digest)
    with open(anchor_path(), "a+b", opener=_private) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - _TAIL * _LINE))
        tail = file.read()
        missed: Iterable[tuple[int, str]] = ()
        if next(sealed(known, [tail[tail[:-1].rfind(b"\n") + 1 :]]), (0, ""))[0] != number - 1:
            if own in tail:  # a later entry's process wrote it
                return
            if tail and not tail.endswith(b"\n"):  # a process died while writing its line
                file.write(b"\n")
            last = max((found for found, _ in sealed(known, tail.splitlines())), default=number)
            # an empty anchor is not filled again: that would hide that somebody emptied it
            missed = between(last + 1, number - 1) if last < number - 1 else ()
        file.write(b"".join(line(known, *entry) for entry in missed) + own)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def line(key: bytes, number: int, digest: str) -> bytes:
    """The line of an entry."""
    return f"{number} {digest} {seal(key, digest)}\n".encode()


def sealed(key: bytes, lines: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """Number and hash of each line with a good seal; others (a process died while writing, or forged) are no evidence."""
    for one in lines:
        number, _, rest = one.decode("ascii", "replace").strip().partition(" ")
        digest, _, found = rest.partition(" ")
        if number.isdigit() and len(digest) == HASH and hmac.compare_digest(found.encode(), seal(key, digest).encode()):
            yield int(number), digest


def lines(path: Path, size: int, last: int | None = None) -> Iterator[bytes]:
    """The lines in the first `size` bytes of an anchor, in order; with `last` about the last so many of them, at least."""
    with path.open("rb") as file:
        if last is not None and size > (last + _TAIL) * _LINE:
            file.seek(size - (last + _TAIL) * _LINE)  # the rest of a line has no seal
        left = size - file.tell()
        for one in file:
            left -= len(one)
            if left < 0:
                return
            yield one


# --- the last check ---


def remember(found: dict[str, Any]) -> None:
    """Keep what a check found."""
    text = json.dumps(found)
    place(folder() / "verified", f"{text}\n{seal(key(create=not found['records']), text)}\n", replace=True)


def remembered() -> dict[str, Any] | None:
    """What `remember` kept last; None before the first check.

    Raises:
        BatonError: somebody else wrote it, or the key is gone.
    """
    path = folder() / "verified"
    if not path.exists():
        return None
    text, _, found = path.read_text(encoding="ascii", errors="replace").partition("\n")
    if not hmac.compare_digest(found.strip().encode(), seal(key(), text).encode()):
        raise BatonError(
            f"{path} was not written by Baton: find out by whom, then delete it and verify the whole ledger"
        )
    kept: dict[str, Any] = json.loads(text)
    return kept
