"""Signing keys of an installation: Ed25519, made on first use, in a folder of their owner alone."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

from baton.errors import BatonError
from baton.files import place

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def signing_key(folder: Path, name: str = "signing") -> Ed25519PrivateKey:
    """Return the private key in `folder/<name>.pem`, created with `<name>.pub` on first use.

    Raises:
        BatonError: the key can be read by other users, or is no Ed25519 key.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    if not private.exists():
        _create_key(private)
    _require_private(private)
    key = serialization.load_pem_private_key(private.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise BatonError(
            f"{private}: not an Ed25519 key; move it away and a new one is made (what the old one signed is not trusted then)"
        )
    if not public.exists():
        place(public, public_pem(key.public_key()), mode=0o644)
    return key


def public_pem(key: Ed25519PublicKey) -> bytes:
    """A public key as PEM."""
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _create_key(private: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    private.parent.chmod(0o700)
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # two processes may come here at once: only one places its key, and both then read that one
    place(private, pem)


def _require_private(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise BatonError(f"{path}: mode {mode:04o} lets other users read the signing key; run `chmod 600 {path}`")
