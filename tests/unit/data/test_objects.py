"""Objects in a store behind a network: a name is taken once, and a lost answer is no rival."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from baton.data import objects
from baton.data.objects import StoreError
from baton.settings import settings

MINE, OTHER = memoryview(b"mine"), memoryview(b"other")


class Refused(Exception):
    """As botocore's: what the server said is in `response`."""

    def __init__(self, code: str) -> None:
        self.response = {"Error": {"Code": code}}


def as_aws(_: Exception) -> Exception:
    return FileExistsError("the condition did not hold")


def as_seaweedfs(_: Exception) -> Exception:
    error = OSError(22, "at least one of the pre-conditions did not hold")
    error.__cause__ = Refused("PreconditionFailed")
    return error


def as_busy(_: Exception) -> Exception:
    error = OSError(22, "a conflicting operation is going on")
    error.__cause__ = Refused("ConditionalRequestConflict")
    return error


FORMS = [as_aws, as_seaweedfs, as_busy]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("BATON_HOME", str(tmp_path))
    monkeypatch.setenv("BATON_STORE_URL", f"memory://{os.getpid()}-{tmp_path.name}")
    settings.cache_clear()
    yield settings().store_url
    settings.cache_clear()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has the store answer in a server's way: with its error form, and after `lost` puts that nobody hears of."""
    plain = MemoryFileSystem.pipe_file

    def behaving(form: Callable[[Exception], Exception], lost: int = 0) -> None:
        left = [lost]

        def pipe_file(self: Any, path: str, value: bytes, mode: str = "overwrite", **given: Any) -> None:
            try:
                plain(self, path, value, mode=mode, **given)
                if left[0]:  # kept, and the answer never comes: the client's library sends it again
                    left[0] -= 1
                    plain(self, path, value, mode=mode, **given)
            except FileExistsError as error:
                raise form(error)  # noqa: B904 - the form has a cause of its own

        monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)

    return behaving


@pytest.mark.parametrize("form", FORMS)
def test_a_lost_answer_is_no_rival(server: Callable[..., None], form: Callable[[Exception], Exception]) -> None:
    server(form, lost=1)
    points: list[str] = []
    uri = objects.put("a/x.parquet", MINE, points.append)
    assert objects.get(uri) == b"mine"
    assert points == ["writing", "written", "synced"]


@pytest.mark.parametrize("form", FORMS)
def test_a_rival_keeps_the_name(server: Callable[..., None], form: Callable[[Exception], Exception]) -> None:
    server(form)
    uri = objects.put("a/x.parquet", OTHER)
    with pytest.raises(StoreError, match="exists already: the warehouse is older than its store"):
        objects.put("a/x.parquet", MINE)
    assert objects.get(uri) == b"other"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ConnectionResetError("gone"), "cannot be written: gone; nothing was committed"),
        (RuntimeError("no route"), "cannot be written: RuntimeError: no route; nothing was committed"),
        (as_busy(ValueError()), "cannot be written: it is not there though its name is taken"),
    ],
)
def test_what_a_driver_raises_says_which_object(monkeypatch: pytest.MonkeyPatch, error: Exception, says: str) -> None:
    def pipe_file(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)
    with pytest.raises(StoreError, match=says):
        objects.put("a/x.parquet", MINE)


def test_a_store_out_of_reach_is_no_missing_object(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    uri = objects.put("a/x.parquet", MINE)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no route")

    for name in ("cat_file", "find", "rm_file"):
        monkeypatch.setattr(MemoryFileSystem, name, fail)
    for call in (lambda: objects.get(uri), lambda: objects.delete(uri), lambda: list(objects.listed())):
        with pytest.raises(StoreError, match="does not answer: RuntimeError: no route"):
            call()


def test_what_is_beside_the_store_is_not_listed(store: str) -> None:
    uri = objects.put("a/x.parquet", MINE)
    MemoryFileSystem().pipe_file(f"{store.removeprefix('memory:/')}2/y.parquet", b"beside")
    assert [item.uri for item in objects.listed()] == [uri]
    assert [item.name for item in objects.listed(lambda name: name != "a/x.parquet")] == []


@pytest.mark.parametrize("url", ["nowhere://bucket/store", "dask://bucket/store"])
def test_a_store_without_its_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("BATON_STORE_URL", url)
    settings.cache_clear()
    with pytest.raises(StoreError, match=r"BATON_STORE_URL: no driver for \w+:// .*extra `production`"):
        objects.put("a/x.parquet", MINE)


def test_the_probe_leaves_nothing_and_finds_a_store_that_overwrites(monkeypatch: pytest.MonkeyPatch) -> None:
    objects.refuses_a_second_put()
    assert list(objects.listed()) == []
    plain = MemoryFileSystem.pipe_file
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", lambda self, path, value, mode: plain(self, path, value))
    with pytest.raises(StoreError, match="overwrites where it was told to create"):
        objects.refuses_a_second_put()
    assert list(objects.listed()) == []


def test_a_probe_that_meets_another_fault_does_not_call_the_store_good(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, done = MemoryFileSystem.pipe_file, []

    def once(self: MemoryFileSystem, path: str, value: bytes, mode: str) -> None:
        if done:
            raise PermissionError("read only by now")
        done.append(path)
        plain(self, path, value, mode)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", once)
    with pytest.raises(StoreError, match="read only by now"):
        objects.refuses_a_second_put()
