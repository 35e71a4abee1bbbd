"""The stage of the tests of evidence: the verifier as an auditor has it, and seeded changes to a pack, each of which it must name.

Test modules load it by path, because tests are no package: `STAGE = runpy.run_path(...)`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import random
from collections.abc import Callable
from types import ModuleType

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from baton.evidence.pack import source
from baton.keys import signing_key
from baton.record import anchor, checkpoint


@pytest.fixture(scope="module")
def auditor(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The one file as the auditor has it, imported as it stands."""
    path = tmp_path_factory.mktemp("auditor") / "verify.py"
    path.write_text(source())
    spec = importlib.util.spec_from_file_location("auditors_verify", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def fingerprint() -> str:
    key = signing_key(anchor.folder(), checkpoint.KEY).public_key()
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def said(found: list[tuple[str, str]], verdict: str) -> str:
    return "\n".join(line for one, line in found if one == verdict)


def fast(key: bytes, message: bytes, signature: bytes) -> bool:
    """As the verifier's own, which takes ten milliseconds and is compared with this one below."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def told_of_changes(auditor: ModuleType, data: bytes, many: int) -> int:
    """How many of so many seeded changes are named; stops at the first that is not."""
    key, rng = fingerprint(), random.Random(14)
    files = auditor.unpack(data)[0]
    names = sorted(name for name in files if files[name])
    told = 0
    for number in range(many):
        changed, want = mutated(number % 5, data, dict(files), names, rng, auditor)
        verdicts, found, well = auditor.verify(changed, key)
        text = "\n".join([*(f"{name}: {one}" for name, one in verdicts.items()), said(found, "failed")])
        assert not well, (number, want)
        assert any(all(word in text for word in words) for words in want), (number, want, text)
        told += 1
    return told


def mutated(
    kind: int, data: bytes, files: dict[str, bytes], names: list[str], rng: random.Random, auditor: ModuleType
) -> tuple[bytes, list[tuple[str, ...]]]:  # fmt: skip
    """A changed pack, and what must be said of it: one of these, with all its words."""
    name, other = rng.sample([one for one in names if one != auditor.INDEX], 2)
    if kind == 0:  # a byte anywhere
        at = rng.randrange(len(data))
        changed = data[:at] + bytes([data[at] ^ rng.randrange(1, 256)]) + data[at + 1 :]
        return changed, [("archive: damaged at byte",), (auditor.INDEX, "altered"), ("keys.json: altered",)]
    if kind == 1:  # a byte of a file, in a pack that is whole
        at = rng.randrange(len(files[name]))
        files[name] = files[name][:at] + bytes([files[name][at] ^ rng.randrange(1, 256)]) + files[name][at + 1 :]
        return auditor.archive(files), [(f"{name}: altered",)]
    if kind == 2:
        files[name], files[other] = files[other], files[name]
        return auditor.archive(files), [(f"{name}: altered", f"{other}: altered"), ("keys.json: altered",)]
    if kind == 3:
        if rng.random() < 0.5:
            gone = rng.choice(names)
            del files[gone]
            return auditor.archive(files), [(f"{gone}: missing",), ("keys.json: altered or missing",)]
        extra = f"extra_{rng.randrange(10**6)}.md"
        return auditor.archive(files | {extra: b"x"}), [(f"{extra}: extra",)]
    stranger = Ed25519PrivateKey.from_private_bytes(
        rng.randbytes(32)
    )  # an index signed anew, over whatever is there now
    files[name] += b"\n"
    payload = auditor.decoded(json.loads(files[auditor.INDEX])["payload"])
    said = json.loads(payload)
    for one in said["subject"]:
        one["digest"]["sha256"] = hashlib.sha256(files[one["name"]]).hexdigest()
    payload = json.dumps(said).encode()
    public = stranger.public_key().public_bytes_raw()
    files[auditor.INDEX] = auditor.envelope(payload, public, stranger.sign(auditor.to_sign(payload)))
    return auditor.archive(files), [(auditor.INDEX, "another key"), ("keys.json: altered",)]


def forged(auditor: ModuleType, data: bytes, change: Callable[[dict[str, bytes]], object]) -> bytes:
    """A pack whose files were changed by whoever holds the key, and signed again."""
    files = auditor.unpack(data)[0]
    said = json.loads(auditor.decoded(json.loads(files.pop(auditor.INDEX))["payload"]))
    change(files)
    said["subject"] = [{"name": name, "digest": {"sha256": hashlib.sha256(files[name]).hexdigest()}} for name in files]
    payload, key = json.dumps(said).encode(), signing_key(anchor.folder(), checkpoint.KEY)
    files[auditor.INDEX] = auditor.envelope(
        payload, key.public_key().public_bytes_raw(), key.sign(auditor.to_sign(payload))
    )
    return auditor.archive(files)
