"""Which version scores: one that the ledger made champion, whatever an alias or the trigger form says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from baton.errors import BatonError, RegistryRefused
from baton.record import ledger, warehouse
from baton.registry.client import Registry
from baton.steps import ingest
from baton.steps.ingest import choose_models

FLOW, HOUR, MODEL = "shop_score", "2026-11-20T09:00:00", "late_order"
BY: Any = runpy.run_path(str(Path(__file__).parents[2] / "approving.py"))["by"]


class Shelf(Registry):
    """A registry whose aliases are a dictionary, as somebody with MLflow's rights may change it."""

    def __init__(self) -> None:
        self.there: dict[str, int] = {}
        self.broken: set[int] = set()
        self.rest = self  # type: ignore[assignment]

    def get(self, path: str, **_: Any) -> Any:
        return {"registered_model": {"aliases": [{"alias": k, "version": v} for k, v in self.there.items()]}}

    def post(self, path: str, **body: Any) -> Any:
        self.there[body["alias"]] = int(body["version"])

    def delete(self, path: str, **body: Any) -> Any:
        del self.there[body["alias"]]

    def download(self, model: str, version: int, consumer: str) -> Path:
        return self.verified(model, version)

    def verified(self, model: str, version: int) -> Path:
        if version in self.broken:
            raise RegistryRefused(f"{model} version {version}: not those that were signed")
        return Path()


def only_shop(model: str, consumer: str) -> None:
    if consumer != FLOW:
        raise RegistryRefused(f"flow {consumer} may not use model {model}: its consumers are {FLOW}")


@pytest.fixture
def shelf(home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    warehouse.migrate()
    made = Shelf()
    monkeypatch.setattr(ingest, "Registry", lambda: made)
    monkeypatch.setattr(ingest, "require_consumer", only_shop)
    made.promote(MODEL, 1, permit=BY())
    made.promote(MODEL, 2, 1, permit=BY())
    yield made
    warehouse.engine().dispose()


def choose(choice: str = "recorded", *, dry_run: bool = False) -> Any:
    return choose_models(FLOW, HOUR, [MODEL], choice, dry_run=dry_run)


def kinds() -> list[str]:
    return [entry.kind for entry in ledger.entries()]


def test_the_champion_scores_and_a_former_one_may_be_named(shelf: Shelf) -> None:
    assert choose() == (*choose("champion")[:2], False) == ({MODEL: 2}, [], False)
    assert choose(f"{MODEL}=1") == ({MODEL: 1}, [], True)


@pytest.mark.parametrize("how", [{}, {"dry_run": True}, {"fallbacks": [MODEL]}])
def test_a_flow_that_is_no_consumer_is_refused_whatever_it_asks_for(shelf: Shelf, how: dict[str, Any]) -> None:
    for choice in ("recorded", "champion", f"{MODEL}=1"):
        with pytest.raises(RegistryRefused, match="flow theirs may not use model late_order"):
            choose_models("theirs", HOUR, [MODEL], choice, **how)
    entry = ledger.entries()[0]
    assert (entry.kind, entry.subject, entry.payload["flow"]) == ("consume_refused", f"model:{MODEL}", "theirs")


def test_a_version_that_was_never_promoted_scores_in_a_dry_run_only(shelf: Shelf) -> None:
    with warehouse.write() as conn:  # an answer alone makes no champion: the gate may have said HOLD
        ledger.append(conn, "approval", f"{MODEL}/3", {"answer": "approved", "reviewer": "ada", "channel": "airflow"})
    with pytest.raises(RegistryRefused, match="version 3 was never promoted: the gate and a person"):
        choose(f"{MODEL}=3")
    assert kinds()[0] == "version_refused"
    assert choose(f"{MODEL}=3", dry_run=True) == ({MODEL: 3}, [], True)


@pytest.mark.parametrize("moved", [3, 1, None])
def test_an_alias_moved_by_hand_moves_nothing_and_is_said(shelf: Shelf, moved: int | None) -> None:
    shelf.there = {"champion": moved} if moved else {}
    for choice in ("recorded", "champion"):
        chosen, degraded, _ = choose(choice)
        assert chosen == {MODEL: 2}
        assert "moved outside Baton; the version of the ledger scores" in degraded[0]
    entry = ledger.entries(subject=MODEL)[0]
    assert (entry.kind, entry.payload) == ("foreign_alias", {"alias": "champion", "version": moved, "champion": 2})
    shelf.promote(MODEL, 4, 2, permit=BY())
    assert shelf.there["champion"] == 4, "the next promotion puts the alias right"
    assert choose() == ({MODEL: 4}, [], False)


def test_an_alias_that_nobody_promoted_makes_no_first_champion(shelf: Shelf) -> None:
    with pytest.raises(BatonError, match="set outside Baton; model 'other' has no champion yet"):
        choose_models(FLOW, HOUR, ["other"], "recorded")


def test_what_stands_in_for_a_refused_champion_was_promoted_too(shelf: Shelf) -> None:
    shelf.broken = {2}
    assert choose()[0] == {MODEL: 1}
    shelf.there["previous_champion"] = 3
    with pytest.raises(RegistryRefused, match="version 3 was never promoted"):
        choose()
    assert shelf.rollback(MODEL, actor="ada", reason="noise") == 1, (
        "what it replaced by the ledger, whatever the alias says"
    )


def test_a_promotion_that_was_interrupted_is_finished(shelf: Shelf) -> None:
    shelf.there["champion"] = 3  # the alias was moved, then the process died
    assert choose()[0] == {MODEL: 2}
    shelf.promote(MODEL, 3, 2, permit=BY())
    assert choose() == ({MODEL: 3}, [], False)
