"""A version's files on this machine: fetched once, and verified on every use before they are opened."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from baton.errors import RegistryRefused
from baton.registry.content import refuse_names
from baton.registry.identity import ModelVersion
from baton.registry.manifest import MAX_BYTES, MAX_FILES, Manifest, public_key, verify
from baton.tracking.rest import Rest, RestError


def verified_folder(rest: Rest, home: Path, known: ModelVersion, first_of: Callable[[], int]) -> tuple[Path, Manifest]:
    """Return a version's local folder and manifest; it is fetched into `home/models/<model>/<version>` once.

    Args:
        rest: connection to the server that holds the files.
        home: Baton's home, with keys and cache.
        known: the version as the registry describes it.
        first_of: number of the first version that this upload was registered as; asked when fetching only.

    Raises:
        RegistryRefused: tampered with, replayed, not signed, or holding something that could run.
        ServiceError: the server is down.
    """
    title, expected = _expected(known)
    final = home / "models" / known.model / str(known.version)
    if not final.is_dir():
        _require_first(known, first_of())
        _fetch(rest, home, known, final, expected)
    try:
        return final, verify(final, public_key(home / "keys"), expected)
    except RegistryRefused as refusal:
        raise RegistryRefused(
            f"{title}: {refusal} (cached copy {final}; delete it to fetch the registry's)"
        ) from refusal


def stored(rest: Rest, home: Path, known: ModelVersion, first: int) -> Manifest:
    """Verify the files that the registry holds of a version, whatever copy is on this machine; nothing is kept.

    Args:
        first: number of the first version that this upload was registered as.

    Raises:
        RegistryRefused, ServiceError: as `verified_folder`.
    """
    title, expected = _expected(known)
    _require_first(known, first)
    with tempfile.TemporaryDirectory(prefix="baton-verify-") as scratch:  # mode 0700
        _fetch_files(rest, known, Path(scratch))
        try:
            return verify(Path(scratch), public_key(home / "keys"), expected)
        except RegistryRefused as refusal:
            raise RegistryRefused(f"{title}: {refusal}") from refusal


def _expected(known: ModelVersion) -> tuple[str, dict[str, str]]:
    """What a version is called, and what its manifest must have been signed for."""
    title = f"{known.model} version {known.version}"
    if not known.run_id or not known.logged_model:
        raise RegistryRefused(f"{title}: has no run or no upload of its own, so Baton did not register it")
    return title, {"model": known.model, "run_id": known.run_id, "logged_model": known.logged_model}


def _require_first(known: ModelVersion, first: int) -> None:
    if first != known.version:
        raise RegistryRefused(f"{known.model} version {known.version}: is version {first} registered once more")


def _fetch(rest: Rest, home: Path, known: ModelVersion, final: Path, expected: Mapping[str, str]) -> None:
    final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    incoming = Path(tempfile.mkdtemp(dir=final.parent, prefix=".incoming-"))  # mode 0700
    try:
        _fetch_files(rest, known, incoming)
        try:
            verify(incoming, public_key(home / "keys"), expected)
        except RegistryRefused as refusal:
            raise RegistryRefused(f"{known.model} version {known.version}: {refusal}") from refusal
        try:
            incoming.rename(final)
        except OSError:
            if not final.is_dir():  # else a parallel task was faster, and its copy is verified next
                raise
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _fetch_files(rest: Rest, known: ModelVersion, target: Path) -> None:
    title = f"{known.model} version {known.version}"
    try:
        location = rest.get(f"/logged-models/{known.logged_model}")["model"]["info"]["artifact_uri"]
    except RestError as error:
        if error.code == "RESOURCE_DOES_NOT_EXIST":
            raise RegistryRefused(f"{title}: its upload {known.logged_model} is gone") from None
        raise
    listed = list(rest.artifacts(location))
    if len(listed) > MAX_FILES or sum(size for _, size in listed) > MAX_BYTES:
        raise RegistryRefused(f"{title}: more than {MAX_FILES} files or {MAX_BYTES} bytes")
    for path, _ in listed:
        refuse_names(path)  # the server names the files: none may leave the folder
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(rest.fetch(location, path))
