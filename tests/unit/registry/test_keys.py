"""The keys that sign models: private, made once, of one kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from baton.errors import BatonError, RegistryRefused
from baton.keys import signing_key
from baton.registry.manifest import public_key


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_the_signing_key_is_private_and_made_once(keys: Path) -> None:
    first = signing_key(keys)
    assert (keys / "signing.pem").stat().st_mode & 0o777 == 0o600
    assert keys.stat().st_mode & 0o777 == 0o700
    assert signing_key(keys).private_bytes_raw() == first.private_bytes_raw()
    assert public_key(keys).public_bytes_raw() == first.public_key().public_bytes_raw()


def test_a_readable_signing_key_is_refused(keys: Path) -> None:
    signing_key(keys)
    (keys / "signing.pem").chmod(0o644)
    with pytest.raises(BatonError, match="chmod 600"):
        signing_key(keys)


def test_another_kind_of_key_is_refused(keys: Path) -> None:
    rsa_key = rsa.generate_private_key(65537, 2048)
    pem = serialization.Encoding.PEM
    private = rsa_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = rsa_key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    signing_key(keys)
    for name, content, use in (("signing.pem", private, signing_key), ("signing.pub", public, public_key)):
        (keys / name).write_bytes(content)
        with pytest.raises(BatonError, match="not an Ed25519 key"):
            use(keys)
    (keys / "signing.pub").write_bytes(b"none")
    with pytest.raises(RegistryRefused, match="not a PEM public key"):
        public_key(keys)


def test_a_lost_public_key_is_made_again_from_the_private_one(keys: Path) -> None:
    before = public_key_of(keys)
    (keys / "signing.pub").unlink()
    assert public_key_of(keys) == before


def public_key_of(keys: Path) -> bytes:
    signing_key(keys)
    return public_key(keys).public_bytes_raw()


def test_without_public_key_nothing_is_trusted(keys: Path) -> None:
    with pytest.raises(RegistryRefused, match="no public key"):
        public_key(keys)
