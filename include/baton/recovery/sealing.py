"""Secrets of a backup: readable with one key or passphrase, which is nowhere in it.

To a key: X25519 with a fresh key for each box, HKDF-SHA256 over the shared secret, AES-256-GCM. By a passphrase: scrypt
(128 MiB, so that guessing is dear), AES-256-GCM. Both are the `cryptography` package's; no primitive is made here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from baton.errors import BatonError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

_FOR_KEY, _BY_PASSPHRASE = b"baton-box-x25519-1\n", b"baton-box-scrypt-1\n"
_POINT, _SALT, _NONCE = 32, 16, 12  # bytes
_SHORTEST = 12  # characters of a passphrase
COST = 2**17  # of scrypt: 128 MiB and some tenths of a second for each guess
_MADE = "openssl genpkey -algorithm X25519 -out backup.pem && openssl pkey -in backup.pem -pubout -out backup.pub"


def recipient(path: Path) -> X25519PublicKey:
    """The public key that secrets are sealed for. Raises BatonError: the file holds none."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BatonError(f"{path}: no public key in PEM form ({error}); make a pair with: {_MADE}") from error
    if not isinstance(key, X25519PublicKey):
        raise BatonError(f"{path}: no X25519 key; make a pair with: {_MADE}")
    return key


def opener(path: Path) -> X25519PrivateKey:
    """The private key that opens what was sealed for its public one. Raises BatonError: the file holds none."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise BatonError(f"{path}: no private key in PEM form without a password ({error})") from error
    if not isinstance(key, X25519PrivateKey):
        raise BatonError(f"{path}: no X25519 key, such as `baton backup --to` takes the public half of")
    return key


def passphrase(path: Path) -> str:
    """The passphrase in a file, without the line's end. Raises BatonError: there is none, or a short one."""
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BatonError(f"{path}: no passphrase to be read ({error})") from error
    if len(text) < _SHORTEST:
        raise BatonError(
            f"{path}: a passphrase has {_SHORTEST} characters at least, such as `openssl rand -base64 24` makes"
        )
    return text


def seal(data: bytes, to: X25519PublicKey | str) -> bytes:
    """Close `data` in a box for a key's owner, or for whoever knows the passphrase."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(_NONCE)
    if isinstance(to, str):
        head = _BY_PASSPHRASE + os.urandom(_SALT)
        key = _stretched(to, head[len(_BY_PASSPHRASE) :])
    else:
        once = X25519PrivateKey.generate()
        point = once.public_key().public_bytes_raw()
        head = _FOR_KEY + point
        key = _agreed(once.exchange(to), point, to.public_bytes_raw())
    return head + nonce + AESGCM(key).encrypt(nonce, data, head)


def unseal(box: bytes, by: X25519PrivateKey | str) -> bytes:
    """Open a box.

    Raises:
        BatonError: it was sealed in the other way, for another key, by another passphrase, or it was changed.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    kind, size = (_BY_PASSPHRASE, _SALT) if isinstance(by, str) else (_FOR_KEY, _POINT)
    if not box.startswith(kind):
        other = "a key: give --key" if box.startswith(_FOR_KEY) else "a passphrase: give --passphrase-file"
        raise BatonError(f"the backup's secrets are sealed by {other}")
    head, rest = box[: len(kind) + size], box[len(kind) + size :]
    try:
        if isinstance(by, str):
            key = _stretched(by, head[len(kind) :])
        else:
            point = head[len(kind) :]
            key = _agreed(
                by.exchange(X25519PublicKey.from_public_bytes(point)), point, by.public_key().public_bytes_raw()
            )
        return AESGCM(key).decrypt(rest[:_NONCE], rest[_NONCE:], head)
    except (InvalidTag, ValueError) as error:
        raise BatonError(
            "the backup's secrets do not open: another key or passphrase sealed them, or they were changed"
        ) from error


def _stretched(text: str, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=salt, length=32, n=COST, r=8, p=1).derive(text.encode())


def _agreed(shared: bytes, *points: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=32, salt=b"".join(points), info=_FOR_KEY).derive(shared)
