"""Seeded sequences around an effect that people have to agree to; `make bench NAME=actions` plays 2,000."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from baton.record import warehouse


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def test_no_random_sequence_sends_what_people_did_not_agree_to_or_sends_it_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "faults"))
    from effect_sequences import play

    figures = play(range(25))
    for name in ("effect_sequences", "outbox_crashes", "forked"):
        sys.modules.pop(name)
    assert (figures.let_through, figures.kept_out) == ([], [])
    assert figures.sent >= 15
    assert figures.refused >= 30
