"""Champions and the way back: a rollback goes back, never forward again, unless the version is named."""

from __future__ import annotations

import hashlib
import runpy
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from baton.actions.promotions import line, moves
from baton.actions.votes import Voter
from baton.cli import models as cli
from baton.cli.app import app
from baton.errors import RegistryRefused, ServiceError
from baton.record import ledger, warehouse
from baton.registry.client import Registry

MODEL = "late_order"
BY: Any = runpy.run_path(str(Path(__file__).parents[2] / "approving.py"))["by"]


class Shelf(Registry):
    """A registry whose aliases and tags are dictionaries."""

    def __init__(self) -> None:
        self.there: dict[str, int] = {}
        self.said: dict[str, str] = {"baton.gate_at": "t1", "baton.review": "pending"}
        self.rest = self  # type: ignore[assignment]

    def get(self, path: str, **_: Any) -> Any:
        return {"registered_model": {"aliases": [{"alias": k, "version": v} for k, v in self.there.items()]}}

    def post(self, path: str, **body: Any) -> Any:
        if path.endswith("alias"):
            self.there[body["alias"]] = int(body["version"])
        else:
            self.said[body["key"]] = body["value"]

    def delete(self, path: str, **body: Any) -> Any:
        del self.there[body["alias"]]

    def tags(self, model: str, version: int) -> dict[str, str]:
        return self.said

    def verified(self, model: str, version: int) -> Path:
        return Path()


@pytest.fixture
def shelf(home: Path) -> Shelf:
    warehouse.migrate()
    return Shelf()


def test_a_second_rollback_goes_further_back_and_not_to_what_was_left(shelf: Shelf) -> None:
    for version in (1, 2, 3):
        shelf.promote(MODEL, version, version - 1 or None, permit=BY())
    assert shelf.there == {"champion": 3, "previous_champion": 2}
    assert shelf.rollback(MODEL, actor="ada", reason="noise") == 2
    assert shelf.there == {"champion": 2, "previous_champion": 1}
    assert shelf.rollback(MODEL, actor="ada", reason="more noise") == 1
    assert shelf.there == {"champion": 1}
    said = r"no previous champion to go back to; version 2 was left by ada \(more noise\): --to 2 restores it"
    with pytest.raises(RegistryRefused, match=said):
        shelf.rollback(MODEL)
    assert shelf.rollback(MODEL, 3, actor="ada", reason="it was right") == 3
    assert shelf.there == {"champion": 3, "previous_champion": 1}
    moves = ledger.entries(subject=MODEL)
    assert [(move.payload["version"], move.payload.get("rollback", False)) for move in reversed(moves)] == [
        (1, False), (2, False), (3, False), (2, True), (1, True), (3, True),
    ]  # fmt: skip


def test_a_registry_that_is_away_makes_nobody_go_back_twice(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is what counts: an error for an alias that lags would have people repeat what is done."""
    for version in (1, 2, 3):
        shelf.promote(MODEL, version, version - 1 or None, permit=BY())

    def away(*_: Any, **__: Any) -> None:
        raise ServiceError("MLflow did not answer within 30 s")

    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(shelf, "post", away)
        assert shelf.rollback(MODEL, actor="ada", reason="noise", report=said.append) == 2
    assert [line(moves(MODEL))[-1], shelf.there["champion"]] == [2, 3]
    (told,) = said
    assert "version 2 is champion by the ledger" in told
    assert "MLflow did not answer" in told
    assert "do not roll back again" in told
    assert "registry_guard" in told


def test_an_account_that_many_use_is_told_how_to_say_who_it_is(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.promote(MODEL, 1, permit=BY())
    shelf.promote(MODEL, 2, 1, permit=BY())
    monkeypatch.setattr(cli, "person", lambda: Voter("baton", "baton", "command line"))
    for how in ([], ["--by", "service"]):
        done = CliRunner().invoke(app, ["rollback", MODEL, "--reason", "noise", *how])
        assert done.exit_code == 1
        assert "--by NAME" in str(done.exception) + done.output


def test_only_what_was_champion_can_be_named(shelf: Shelf) -> None:
    shelf.promote(MODEL, 1, permit=BY())
    with pytest.raises(RegistryRefused, match="version 2 was never promoted"):
        shelf.rollback(MODEL, 2)
    with pytest.raises(RegistryRefused, match="version 1 is champion already"):
        shelf.rollback(MODEL, 1)


def test_the_champion_is_no_challenger_any_more(shelf: Shelf) -> None:
    shelf.there["challenger"] = 2
    shelf.promote(MODEL, 1, permit=BY())
    assert shelf.there == {"challenger": 2, "champion": 1}
    shelf.promote(MODEL, 2, 1, permit=BY())
    shelf.promote(MODEL, 2, 1, permit=BY())  # an interrupted one is finished
    assert shelf.there == {"champion": 2, "previous_champion": 1}


def test_a_misspelt_model_is_named(home: Path) -> None:
    warehouse.migrate()
    said = CliRunner().invoke(app, ["rollback", "card_frud", "--reason", "noise"])
    assert said.exit_code == 1
    assert "no model `card_frud`" in said.stderr
    assert "card_fraud" in said.stderr


def test_an_answer_given_elsewhere_is_on_the_version_and_a_misspelt_one_is_answered(shelf: Shelf) -> None:
    shelf.said["baton.review"] = "aproved"
    assert shelf.heard(MODEL, 2, "t1") is None
    assert shelf.said["baton.review_says"] == "'aproved' is no answer: set baton.review to approved or rejected"
    shelf.show_answer(MODEL, 2, "approved", "ada in Airflow")
    assert (shelf.said["baton.review"], shelf.said["baton.review_says"]) == ("approved", "approved by ada in Airflow")
    assert shelf.heard(MODEL, 2, "t1") == "approved"
    shelf.ask(MODEL, 2, shelf.said)
    assert (shelf.heard(MODEL, 2, "t1"), shelf.said["baton.review_says"]) == (None, "asked again: no answer yet")


def test_a_move_says_what_was_signed_of_the_version(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifest.json").write_bytes(b"signed")
    monkeypatch.setattr(shelf, "verified", lambda model, version: tmp_path)
    shelf.promote(MODEL, 1, permit=BY())
    assert ledger.entries(subject=MODEL)[0].payload["manifest"] == hashlib.sha256(b"signed").hexdigest()
