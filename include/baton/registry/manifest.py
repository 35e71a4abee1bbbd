"""Signed manifests of model folders: nothing opens a model before `verify` has passed.

A model folder carries `manifest.json` (every other file with size and SHA-256, and whose model this is) and
`manifest.sig` (Ed25519 over the manifest's bytes). MLflow's own pickle switch is no boundary: a folder's
`loader_module` or `code/` still runs on load, so the check happens here, on bytes, with none of the model
libraries imported. A valid signature alone is not enough either: what the files *are* must be on the
allow-list of `registry.content`, so that a training run cannot sign a pickle.

The identity inside the manifest (model, run, MLflow's logged model, training data) is what stops a replay:
an old version, correctly signed, is refused under any other name, run or logged model.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from baton.errors import RegistryRefused
from baton.registry.content import check_content, refuse_names
from baton.registry.identity import Identity

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
FORMAT = 1
# a prefix of its own: a signature over anything else by the same key is never a manifest signature
DOMAIN = b"baton-model-manifest-v1\n"
MAX_FILES = 200
MAX_BYTES = 2 * 1024**3
MAX_MANIFEST_BYTES = 1024**2


@dataclass(frozen=True)
class Manifest:
    """A verified manifest.

    Attributes:
        identity: whose model the folder is.
        files: POSIX path inside the folder -> (bytes, SHA-256 hex).
        digest: SHA-256 of `manifest.json`, the short name of the whole folder.
    """

    identity: Identity
    files: dict[str, tuple[int, str]]
    digest: str


def public_key(keys_dir: Path) -> Ed25519PublicKey:
    """Return the public key in `keys_dir/signing.pub`.

    Raises:
        RegistryRefused: there is none, so that no model can be trusted.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    path = keys_dir / "signing.pub"
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except FileNotFoundError:
        raise RegistryRefused(
            f"{path}: no public key, so no model can be verified; copy it from where models are trained"
        ) from None
    except ValueError as error:
        raise RegistryRefused(f"{path}: not a PEM public key ({error})") from error
    if not isinstance(key, Ed25519PublicKey):
        raise RegistryRefused(f"{path}: not an Ed25519 key")
    return key


def sign(folder: Path, key: Ed25519PrivateKey, identity: Identity) -> str:
    """Write `manifest.json` and `manifest.sig` into `folder`; return the manifest's SHA-256.

    The content check runs first: a folder that would be refused on load is never signed.

    Raises:
        RegistryRefused: the folder holds something that is not allowed.
    """
    for name in (MANIFEST, SIGNATURE):
        (folder / name).unlink(missing_ok=True)
    files = _files(folder)
    check_content(folder, sorted(files), identity)
    document = {
        "format": FORMAT,
        "identity": asdict(identity),
        "files": {
            name: dict(zip(("bytes", "sha256"), _hash(path), strict=True)) for name, path in sorted(files.items())
        },
    }
    raw = json.dumps(document, indent=1, sort_keys=True).encode()
    (folder / MANIFEST).write_bytes(raw)
    (folder / SIGNATURE).write_bytes(key.sign(DOMAIN + raw))
    return hashlib.sha256(raw).hexdigest()


def verify(folder: Path, key: Ed25519PublicKey, expected: Mapping[str, str] | None = None) -> Manifest:
    """Return the folder's manifest when every check passes; no model library opens anything before.

    Args:
        folder: the model folder, private to this process until the caller has loaded it.
        key: the public key that must have signed it.
        expected: fields of `Identity` that the registry vouches for: `model`, `run_id`, `logged_model`.

    Raises:
        RegistryRefused: with the reason, naming the file.
    """
    files = _files(folder)
    manifest = _read_manifest(files, key)
    for field, value in (expected or {}).items():
        signed = getattr(manifest.identity, field)
        if signed != value:
            raise RegistryRefused(
                f"{MANIFEST}: signed for {field} {signed!r}, the registry says {value!r}: a replayed version"
            )
    found = files.keys() - {MANIFEST, SIGNATURE}
    if extra := sorted(found - manifest.files.keys()):
        raise RegistryRefused(f"{extra[0]}: file is not in the signed manifest")
    if missing := sorted(manifest.files.keys() - found):
        raise RegistryRefused(f"{missing[0]}: file of the signed manifest is missing")
    for name in sorted(found):
        if _hash(files[name], manifest.files[name][0]) != manifest.files[name]:
            raise RegistryRefused(f"{name}: bytes are not those that were signed")
    check_content(folder, sorted(found), manifest.identity)
    return manifest


def _files(folder: Path) -> dict[str, Path]:
    """Return every file below `folder` by POSIX path; refuse links, special files and odd names."""
    if folder.is_symlink() or not folder.is_dir():
        raise RegistryRefused(f"{folder}: not a model folder")
    found: dict[str, Path] = {}
    total, pending = 0, [folder]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                name = path.relative_to(folder).as_posix()
                refuse_names(name)
                if entry.is_symlink():
                    raise RegistryRefused(f"{name}: symbolic link; a model folder holds plain files only")
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                    continue
                status = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode):
                    raise RegistryRefused(f"{name}: not a regular file")
                found[name], total = path, total + status.st_size
                if len(found) > MAX_FILES or total > MAX_BYTES:
                    raise RegistryRefused(f"{folder.name}: more than {MAX_FILES} files or {MAX_BYTES} bytes")
    return found


def _read_manifest(files: Mapping[str, Path], key: Ed25519PublicKey) -> Manifest:
    from cryptography.exceptions import InvalidSignature

    for name in (MANIFEST, SIGNATURE):
        if name not in files:
            raise RegistryRefused(f"{name}: missing; only versions that Baton has signed are loaded")
        if files[name].stat().st_size > MAX_MANIFEST_BYTES:
            raise RegistryRefused(f"{name}: larger than {MAX_MANIFEST_BYTES} bytes")
    raw = files[MANIFEST].read_bytes()
    try:
        key.verify(files[SIGNATURE].read_bytes(), DOMAIN + raw)
    except InvalidSignature:
        raise RegistryRefused(
            f"{SIGNATURE}: signature does not belong to {MANIFEST} and the key in signing.pub"
        ) from None
    try:
        document: dict[str, Any] = json.loads(raw)
        if document["format"] != FORMAT:
            raise RegistryRefused(f"{MANIFEST}: format {document['format']!r}, this version reads {FORMAT}")
        identity = Identity(**document["identity"])
        listed = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in document["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegistryRefused(f"{MANIFEST}: not a manifest ({error})") from error
    for name in listed:
        refuse_names(name)
        if PurePosixPath(name).as_posix() != name:
            raise RegistryRefused(f"{MANIFEST}: {name!r} is not a plain relative path")
    return Manifest(identity, listed, hashlib.sha256(raw).hexdigest())


def _hash(path: Path, expected_bytes: int | None = None) -> tuple[int, str]:
    """Return (bytes, SHA-256) of a file; a file of another size than expected is not read."""
    size = path.stat().st_size
    if expected_bytes is not None and size != expected_bytes:
        return size, ""
    with path.open("rb") as file:
        return size, hashlib.file_digest(file, "sha256").hexdigest()
