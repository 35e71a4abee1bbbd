"""Where a Spark cluster is: what would travel unencrypted is refused, and a secret is never shown."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from baton.engines.spark import SparkCluster
from baton.errors import SpecError


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.0.1"])
def test_loopback_goes_without_tls(host: str) -> None:
    assert SparkCluster(host, tls=False).local


@pytest.mark.parametrize("host", ["spark.example.org", "10.0.0.7", "localhost.example.org", "0.0.0.0", "[2001:db8::1]"])
def test_nothing_else_does(host: str) -> None:
    with pytest.raises(SpecError, match=r"code and token would travel unencrypted; set use_ssl"):
        SparkCluster(host, tls=False, token="secret-word")
    assert not SparkCluster(host, token="secret-word").local


def test_a_secret_is_not_shown() -> None:
    cluster = SparkCluster("spark.example.org", token="secret-word", headers={"x-key": "other-word"})
    assert "word" not in repr(cluster)


def test_without_the_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str, *more: Any) -> Any:
        if name.startswith("pyspark"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return found(name, *more)

    found = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SpecError, match=r"needs the extra `spark`: pip install 'baton-orchestra\[spark\]'"):
        next(SparkCluster("127.0.0.1", tls=False).each("{}", 1))
