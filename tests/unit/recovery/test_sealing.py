"""Secrets of a backup open with the right key or passphrase and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from baton.errors import BatonError
from baton.recovery import sealing

SECRET = b"the signing key and the passwords" * 40
WORDS = "correct horse battery"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "COST", 2**4)


def test_a_key_and_a_passphrase_open_what_was_sealed_for_them() -> None:
    key = X25519PrivateKey.generate()
    for to, by in ((key.public_key(), key), (WORDS, WORDS)):
        box = sealing.seal(SECRET, to)
        assert SECRET[:16] not in box
        assert sealing.unseal(box, by) == SECRET
        assert sealing.seal(SECRET, to) != box  # a box says not even that two hold the same


def test_another_key_or_passphrase_does_not() -> None:
    mine, other = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    for box, by in ((sealing.seal(SECRET, mine.public_key()), other), (sealing.seal(SECRET, WORDS), WORDS + "!")):
        with pytest.raises(BatonError, match="do not open: another key or passphrase"):
            sealing.unseal(box, by)
    with pytest.raises(BatonError, match="sealed by a key: give --key"):
        sealing.unseal(sealing.seal(SECRET, mine.public_key()), WORDS)
    with pytest.raises(BatonError, match="sealed by a passphrase: give --passphrase-file"):
        sealing.unseal(sealing.seal(SECRET, WORDS), mine)


def test_a_box_that_was_changed_anywhere_does_not_open() -> None:
    key = X25519PrivateKey.generate()
    for to, by in ((key.public_key(), key), (WORDS, WORDS)):
        box = sealing.seal(b"short", to)
        for at in range(len(box)):
            with pytest.raises(BatonError):
                sealing.unseal(box[:at] + bytes([box[at] ^ 1]) + box[at + 1 :], by)
        for cut in (0, 10, len(box) - 1):
            with pytest.raises(BatonError):
                sealing.unseal(box[:cut], by)


def test_keys_and_passphrases_are_read_from_files(tmp_path: Path) -> None:
    key = X25519PrivateKey.generate()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "pub").write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "key").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    (tmp_path / "words").write_text(WORDS + "\n")
    assert (
        sealing.unseal(sealing.seal(SECRET, sealing.recipient(tmp_path / "pub")), sealing.opener(tmp_path / "key"))
        == SECRET
    )
    assert sealing.passphrase(tmp_path / "words") == WORDS
    other = Ed25519PrivateKey.generate()
    (tmp_path / "pub").write_bytes(
        other.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "key").write_bytes(other.private_bytes(pem, form, serialization.NoEncryption()))
    (tmp_path / "words").write_text("short\n")
    for read, name, why in (
        (sealing.recipient, "pub", "no X25519 key; make a pair with: openssl"), (sealing.opener, "key", "no X25519 key"),
        (sealing.passphrase, "words", "12 characters at least"), (sealing.recipient, "gone", "no public key in PEM form"),
        (sealing.opener, "words", "no private key"), (sealing.passphrase, "gone", "no passphrase to be read"),
    ):  # fmt: skip
        with pytest.raises(BatonError, match=why):
            read(tmp_path / name)
