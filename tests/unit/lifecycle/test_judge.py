"""What the gate's verdict takes into its commit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from baton.lifecycle import promote
from baton.record import warehouse


def test_mlflow_is_asked_before_the_commit_and_not_within(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing gigabytes, or a server that is away, inside the transaction would hold up every other writer."""
    asked: list[str] = []

    def registry() -> Any:
        answers = {"recorded_champion": None, "version_url": "u", "record_gate": "t", "manifest": "files"}
        return SimpleNamespace(**{name: lambda *_, n=name: asked.append(n) or answers[n] for name in answers})

    verdict = SimpleNamespace(decision="PROMOTE", reasons=[], table=[{"a": 1}], to_dict=lambda: {"decision": "PROMOTE"})
    monkeypatch.setattr(promote, "Registry", registry)
    monkeypatch.setattr(promote, "compare", lambda *_: verdict)
    warehouse.migrate()
    work: Any = promote.judge.func
    output = work(SimpleNamespace(options=SimpleNamespace(model="card_fraud"), partition="version-2"))
    assert "manifest" in asked
    asked.clear()
    warehouse.transact(lambda conn: output.on_commit(conn, 1))
    assert asked == []
    record = promote.record_of("card_fraud", 2) or {}
    assert record["verdict"]["manifest"] == "files"
    warehouse.engine().dispose()
