"""The index of a backup: every file in it with size and SHA-256, signed with the key that signs models.

A backup is there when its index is, which is written last, in one step: what was interrupted has none.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from baton.errors import BatonError
from baton.recovery import shelf

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FORMAT = 1
# a prefix of its own: a signature over anything else by the same key is never an index's
DOMAIN = b"baton-backup-index-v1\n"
_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z")


@dataclass(frozen=True)
class Filed:
    """One file of a backup: its SHA-256 and bytes; `modified` (nanoseconds) of one that may be written again."""

    sha256: str
    size: int
    modified: int | None = None


@dataclass(frozen=True)
class Contents:
    """What a backup holds.

    Attributes:
        name: the moment at which it began, in UTC: `2026-11-30T10-00-00.000Z`.
        store: address of the store whose objects it holds.
        warehouse: kind of the database, `sqlite` or `postgresql`.
        records: number of entries in the ledger.
        parts: files by their place below BATON_HOME; those of the store begin with `store/`.
    """

    name: str
    store: str
    warehouse: str
    records: int
    parts: dict[str, Filed] = field(default_factory=dict)


def fingerprint(key: Ed25519PublicKey) -> str:
    """Short name of a public key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def write(where: Path | str, index: Contents, key: Ed25519PrivateKey) -> Path | str:
    """Sign an index and place it; from then on the backup is there. Raises BatonError: one of that name is there already."""
    on, name = shelf.at(where), f"{index.name}.index"
    document = {"format": FORMAT, "key": fingerprint(key.public_key()), **asdict(index)}
    raw = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    if not on.create(name, raw + b"\n" + b64encode(key.sign(DOMAIN + raw)) + b"\n"):
        raise BatonError(f"{on.place(name)} is there already: another backup began in the same moment; repeat this one")
    return on.place(name)


def names(where: Path | str) -> list[str]:
    """Names of the whole backups in a folder or an object store, oldest first."""
    found = (name.removesuffix(".index") for name in shelf.at(where).names() if name.endswith(".index"))
    return sorted(name for name in found if _NAME.fullmatch(name))


@dataclass(frozen=True)
class Signed:
    """An index as it was found; nothing in it is to be trusted before `require` has passed."""

    path: Path | str
    index: Contents
    signer: str
    raw: bytes
    signature: bytes

    def require(self, key: Ed25519PublicKey) -> None:
        """Refuse it unless `key` signed it. Raises BatonError."""
        from cryptography.exceptions import InvalidSignature

        if self.signer != fingerprint(key):
            raise BatonError(f"{self.path}: signed with key {self.signer}, not with {fingerprint(key)}")
        try:
            key.verify(self.signature, DOMAIN + self.raw)
        except InvalidSignature:
            raise BatonError(f"{self.path}: was changed after it was signed; take another backup") from None


def read(where: Path | str, name: str | None = None) -> Signed:
    """Read the index of a backup, the newest without a name.

    Raises:
        BatonError: there is none, or it is none.
    """
    known = names(where)
    if not known or (name is not None and name not in known):
        there = f"there are: {', '.join(known)}" if known else "none was finished there"
        raise BatonError(f"{where}: no backup{f' {name}' if name else ''}; {there}")
    on, wanted = shelf.at(where), name or known[-1]
    path = on.place(f"{wanted}.index")
    raw, _, rest = b"".join(on.pieces(f"{wanted}.index")).partition(b"\n")
    try:
        document: dict[str, Any] = json.loads(raw)
        if document.pop("format") != FORMAT:
            raise BatonError(f"{path}: of another format than this version reads ({FORMAT})")
        signer, parts = str(document.pop("key")), _parts(document.pop("parts"))
        found = Signed(path, Contents(**document, parts=parts), signer, raw, b64decode(rest.strip(), validate=True))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BatonError(f"{path}: not an index: {error}; take another backup") from error
    if found.index.name != wanted:
        raise BatonError(f"{path}: is the index of {found.index.name}: somebody renamed it")
    return found


def _parts(given: Mapping[str, Any]) -> dict[str, Filed]:
    found = {}
    for name, one in given.items():
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or place.as_posix() != name:
            raise ValueError(f"{name!r} is not a place below a folder")
        if not re.fullmatch("[0-9a-f]{64}", one["sha256"]):
            raise ValueError(f"{name!r} has no SHA-256")
        found[name] = Filed(one["sha256"], int(one["size"]), one["modified"])
    return found
