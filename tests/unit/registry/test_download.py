"""Fetching a version: how much a server may hand over is known before a byte is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from baton.errors import RegistryRefused
from baton.keys import signing_key
from baton.registry.download import verified_folder
from baton.registry.identity import ModelVersion
from baton.registry.manifest import FORMAT, MAX_BYTES, MAX_FILES, MAX_MANIFEST_BYTES
from baton.tracking.rest import RestError


class Server:
    """Lists what it is told to, and notes what is fetched."""

    def __init__(self, listed: list[tuple[str, int]], code: str = "") -> None:
        self.listed, self.code, self.fetched = listed, code, 0

    def get(self, path: str) -> dict[str, Any]:
        if self.code:
            raise RestError("no such thing", self.code)
        return {"model": {"info": {"artifact_uri": "mlflow-artifacts:/m"}}}

    def artifacts(self, location: str) -> Iterator[tuple[str, int]]:
        yield from self.listed

    def fetch(self, location: str, path: str) -> bytes:
        self.fetched += 1
        return b""


def version() -> ModelVersion:
    plain: dict[str, Any] = {field.name: "" for field in fields(ModelVersion)}
    return ModelVersion(**{**plain, "model": "m", "version": 2, "run_id": "r", "logged_model": "l"})


@pytest.mark.parametrize("listed", [[("f", 1)] * (MAX_FILES + 1), [("f", MAX_BYTES), ("g", 1)]])
def test_more_than_a_model_holds_is_not_fetched(tmp_path: Path, listed: list[tuple[str, int]]) -> None:
    server: Any = Server(listed)
    with pytest.raises(RegistryRefused, match=f"more than {MAX_FILES} files or {MAX_BYTES} bytes"):
        verified_folder(server, tmp_path, version(), lambda: 2)
    assert server.fetched == 0
    assert not list((tmp_path / "models" / "m").iterdir()), "nothing is left of it"


def test_files_in_folders_are_fetched_and_then_verified(tmp_path: Path) -> None:
    server: Any = Server([("parts/one/trees.txt", 1), ("MLmodel", 1)])
    signing_key(tmp_path / "keys")
    with pytest.raises(RegistryRefused, match="manifest"):
        verified_folder(server, tmp_path, version(), lambda: 2)
    assert server.fetched == 2


def test_an_upload_that_is_gone_is_told_from_a_server_that_refuses(tmp_path: Path) -> None:
    gone: Any = Server([], "RESOURCE_DOES_NOT_EXIST")
    with pytest.raises(RegistryRefused, match="its upload l is gone"):
        verified_folder(gone, tmp_path, version(), lambda: 2)
    closed: Any = Server([], "PERMISSION_DENIED")
    with pytest.raises(RestError):
        verified_folder(closed, tmp_path, version(), lambda: 2)


def test_the_limits_are_those_that_are_promised() -> None:
    promise = (Path(__file__).parents[3] / "SECURITY.md").read_text(encoding="utf-8")
    files, folder, text = MAX_FILES, MAX_BYTES / 1024**3, MAX_MANIFEST_BYTES / 1024**2
    assert f"at most {files} files of {folder:g} GiB together, their manifest {text:g} MiB" in promise
    assert FORMAT == 1, "folders that were signed stay readable"
