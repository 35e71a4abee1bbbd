"""Aliases that were moved past the promotion go back; attempts go on the ledger; nothing else is touched."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baton.errors import ServiceError
from baton.record import ledger, tables, warehouse
from baton.registry import guard
from baton.registry.client import Registry

MODEL = "late_order"
BY: Any = runpy.run_path(str(Path(__file__).parents[2] / "approving.py"))["by"]


class Shelf(Registry):
    """A registry whose aliases and tags are dictionaries."""

    def __init__(self) -> None:
        self.there: dict[str, int] = {}
        self.kept: dict[str, str] = {}
        self.looks = 0
        self.settles: dict[str, int] | None = None  # what a promotion that is under way makes of the aliases
        self.down = False
        self.rest = self  # type: ignore[assignment]

    def standing(self) -> Iterator[dict[str, Any]]:
        self.looks += 1
        if self.looks == 2 and self.settles is not None:
            self.there = self.settles
        aliases = [{"alias": name, "version": str(at)} for name, at in self.there.items()]
        tags = [{"key": key, "value": value} for key, value in self.kept.items()]
        yield {"name": MODEL, "aliases": aliases, "tags": [*tags, {"key": "team"}]}
        yield {"name": "theirs", "aliases": [{"alias": "champion", "version": "7"}]}

    def get(self, path: str, **_: Any) -> Any:
        return {"registered_model": next(self.standing())}

    def post(self, path: str, **body: Any) -> Any:
        if self.down:
            raise ServiceError("MLflow did not answer")
        self.there[body["alias"]] = int(body["version"])

    def delete(self, path: str, **body: Any) -> Any:
        if path.endswith("tag"):
            del self.kept[body["key"]]
        else:
            del self.there[body["alias"]]

    def verified(self, model: str, version: int) -> Path:
        return Path()


@pytest.fixture
def shelf(home: Path) -> Shelf:
    warehouse.migrate()
    made = Shelf()
    made.promote(MODEL, 1, None, permit=BY())
    made.promote(MODEL, 2, 1, permit=BY())
    made.looks = 0
    return made


def test_what_is_in_order_is_left_alone(shelf: Shelf) -> None:
    assert guard.watch_over(shelf, settle=0) == guard.GuardPass()
    assert shelf.looks == 1


@pytest.mark.parametrize(
    ("aliases", "moved"),
    [
        ({"champion": 3, "previous_champion": 1}, [("champion", 3, 2)]),
        ({"champion": 1, "previous_champion": 1}, [("champion", 1, 2)]),  # a former champion is no exception
        ({"previous_champion": 1, "challenger": 3}, [("champion", None, 2)]),
        ({}, [("champion", None, 2), ("previous_champion", None, 1)]),
    ],
)
def test_a_moved_alias_goes_back_and_is_on_the_ledger(
    shelf: Shelf, aliases: dict[str, int], moved: list[tuple[str, int | None, int]]
) -> None:
    shelf.there = dict(aliases)
    found = guard.watch_over(shelf, settle=0)
    assert [(one.alias, one.at, one.recorded) for one in found.reverted] == moved
    assert shelf.there == {**aliases, "champion": 2, "previous_champion": 1}
    said = [entry.payload for entry in reversed(ledger.entries(subject=MODEL, kind="alias_reverted"))]
    assert [(one["alias"], one["from"], one["to"], one["by"]) for one in said] == [(*one, None) for one in moved]
    assert "nothing was scored with it" in str(found.reverted[0])
    assert shelf.recorded_champion(MODEL) == 2
    assert guard.watch_over(shelf, settle=0) == guard.GuardPass()


def test_a_champion_that_was_never_recorded_is_taken_away(home: Path) -> None:
    warehouse.migrate()
    shelf = Shelf()
    shelf.there = {"champion": 1}
    assert guard.watch_over(shelf, settle=0) == guard.GuardPass()  # of a model that is not Baton's
    with warehouse.write() as conn:
        ledger.append(conn, "version_registered", f"{MODEL}/1", {})
    assert [(one.at, one.recorded) for one in guard.watch_over(shelf, settle=0).reverted] == [(1, None)]
    assert shelf.there == {}


def test_a_promotion_under_way_is_waited_for(shelf: Shelf) -> None:
    shelf.there, shelf.settles = {"champion": 3, "previous_champion": 2}, {"champion": 2, "previous_champion": 1}
    assert guard.watch_over(shelf, settle=0) == guard.GuardPass()
    assert ledger.entries(subject=MODEL, kind="alias_reverted") == []


def test_what_cannot_be_put_back_is_on_the_ledger_and_tried_again(shelf: Shelf) -> None:
    shelf.there["champion"], shelf.down = 3, True
    with pytest.raises(ServiceError, match="did not answer"):
        guard.watch_over(shelf, settle=0)
    assert ledger.entries(subject=MODEL, kind="foreign_alias")[0].payload["version"] == 3
    shelf.down = False
    assert len(guard.watch_over(shelf, settle=0).reverted) == 1


def test_what_was_scored_meanwhile_is_named_with_what_repeats_it(shelf: Shelf) -> None:
    row = {"flow": "orders", "model": MODEL, "version": 3}
    with warehouse.write() as conn:
        rows = [
            {**row, "partition": "p0", "recorded_at": "2020"},
            {**row, "partition": "p1", "recorded_at": warehouse.now()},
        ]
        conn.execute(tables.partition_models.insert(), rows)
    shelf.there["champion"] = 3
    (moved,) = guard.watch_over(shelf, settle=0).reverted
    assert moved.scored == (("orders", "p1"),)
    assert "partition_from = partition_to and model=champion: orders p1" in str(moved)


def test_attempts_go_from_the_tags_to_the_ledger(shelf: Shelf) -> None:
    shelf.kept = {"baton.refused.1": '{"by": "admin", "times": 2}', "baton.refused.2": "no JSON", "team": "x"}
    found = guard.watch_over(shelf, settle=0)
    assert found.refused == [{"model": MODEL, "by": "admin", "times": 2}, {"model": MODEL, "what": "no JSON"}]
    assert shelf.kept == {"team": "x"}
    assert [entry.payload for entry in ledger.entries(kind="alias_refused")][-1] == {"by": "admin", "times": 2}
