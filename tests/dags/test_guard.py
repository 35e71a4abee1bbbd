"""The guard of the registry's aliases wakes on a change, and says with a red task what it put back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from baton.airflow import notify
from baton.airflow.operators.guard import AliasesChanged, RegistryGuardOperator
from baton.errors import ServiceError
from baton.registry import client, guard

CHAMPION = {"name": "late", "aliases": [{"alias": "champion", "version": "1"}, {"alias": "challenger", "version": "2"}]}


def changed(version: str, alias: str = "champion") -> dict[str, Any]:
    return {"name": "late", "aliases": [{"alias": alias, "version": version}, *CHAMPION["aliases"]][::-1]}


def test_it_wakes_at_the_start_and_on_each_change_only(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = {**CHAMPION, "tags": [{"key": "baton.refused.1", "value": "{}"}]}
    looks: list[Any] = [
        ServiceError("down"),
        CHAMPION,
        CHAMPION,
        changed("3", "challenger"),
        tried,
        tried,
        changed("9"),
    ]

    class Registry:
        def __init__(self, **_: Any) -> None: ...

        def standing(self) -> Any:
            found = looks.pop(0)
            if isinstance(found, Exception):
                raise found
            return [found]

    monkeypatch.setattr(client, "Registry", Registry)

    async def first(events: int) -> list[int]:
        left = []
        async for _ in AliasesChanged(interval=0.0).run():
            left.append(len(looks))
            if len(left) == events:
                break
        return left

    assert asyncio.run(first(3)) == [5, 2, 0]


def test_the_task_is_red_once_something_was_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    moved, tried = (
        guard.MovedAlias("late", "champion", 3, 2),
        {"model": "late", "by": "admin", "operation": "SetAlias", "what": "x"},
    )
    told: list[str] = []
    passes = [guard.GuardPass([moved], [tried]), guard.GuardPass([], [tried]), guard.GuardPass()]
    monkeypatch.setattr(client, "Registry", lambda: None)
    monkeypatch.setattr(guard, "watch_over", lambda registry: passes.pop(0))
    monkeypatch.setattr(notify, "send", told.append)
    task = RegistryGuardOperator(task_id="put_back")
    with pytest.raises(
        AirflowFailException, match="late: champion was moved outside Baton to version 3, and put back to version 2"
    ):
        task.execute({})
    assert told == ["Baton: refused in MLflow: admin tried SetAlias on late: x"]
    assert task.execute({}) == {"refused": 1}
    assert task.execute({}) == {"refused": 0}
