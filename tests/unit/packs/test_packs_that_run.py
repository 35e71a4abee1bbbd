"""BATON_PACKS: the packs that run on this machine, of those that are installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from baton.errors import SpecError
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
