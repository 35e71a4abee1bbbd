"""BATON_PACKS: the packs that run on this machine, of those that are installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from baton.authoring.new_pack import new_pack
from baton.errors import SpecError
from baton.packs import pack as room
from baton.packs.pack import packs
from baton.settings import settings


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_only_those_that_are_named_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(packs()) >= 3
    monkeypatch.setenv("BATON_PACKS", "supply_chain, financial_crime")
    settings.cache_clear()
    assert packs() == ["financial_crime", "supply_chain"]


def test_a_misspelt_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATON_PACKS", "suply_chain")
    settings.cache_clear()
    with pytest.raises(SpecError, match="no pack `suply_chain` is installed, did you mean `supply_chain`"):
        packs()


def test_no_pack_is_called_like_all_of_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="`all` are the packs together: choose another name"):
        new_pack("all", tmp_path)
    room._installed.cache_clear()
    monkeypatch.setattr(room, "entry_points", lambda group: [EntryPoint("all", "baton_all", group)])
    try:
        with pytest.raises(SpecError, match=r"baton_all.*a pack is called `all`"):
            packs()
    finally:
        room._installed.cache_clear()
