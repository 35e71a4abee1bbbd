"""The simulated hour against the pack's contracts: what is put aside is what was planted, and nothing stops the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.contracts import check as contracts
from baton.data import identity
from baton.data import typed as parsing
from baton.data.partitions import window
from baton.packs.demos import prepare_data
from baton.packs.pack import load_pack
from baton.record import warehouse
from baton.settings import settings
from baton.sources.reading import read_history, read_partition
from baton.sources.replay import replay_anchor
from baton_demo.incident_response import simulate
from baton_demo.incident_response.playbook import slots
from baton_demo.incident_response.simulation import hour

PACK = "incident_response"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with the prepared data."""
    home = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    patch.setenv("BATON_HOME", str(home))
    settings.cache_clear()
    warehouse.migrate()
    prepare_data(PACK)
    yield settings().data_dir / PACK
    warehouse.engine().dispose()
    patch.undo()
    settings.cache_clear()


@pytest.fixture(autouse=True)
def _its_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATON_HOME", str(folder.parents[1]))
    settings.cache_clear()


def verdict(source: str, partition: str) -> tuple[pd.DataFrame, Any]:
    pack = load_pack(PACK)
    spec = pack.contract(source)
    frame = read_partition(pack, source, partition).frame
    start, end = window(partition, "5m")
    parsed = parsing.parse(identity.with_row_identity(frame, source), spec)
    return frame, contracts.check(parsed, spec, (start.isoformat(), end.isoformat()))


def test_the_prepared_data_are_small_and_made_once(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 30_000_000
    before = (folder / "manifest.json").stat().st_mtime_ns
    prepare_data(PACK)
    assert (folder / "manifest.json").stat().st_mtime_ns == before


def test_recorded_rows_pass_but_for_the_clock_that_is_ahead(folder: Path) -> None:
    for number, partition in enumerate(slots(0, hour.SLOTS)):
        frame, events = verdict("events", partition)
        assert {one.rule for one in events.violations} <= {"clock_ahead"}, partition
        assert bool(events.violations) == (number in (6, 7)), partition
        assert events.rows_good + len(events.violations) == len(frame)
        frame, connections = verdict("connections", partition)
        assert (connections.violations, connections.rows_good) == ([], len(frame)), partition


@pytest.mark.parametrize(
    ("source", "contract"), [("connections", "labelled_connections"), ("log_counts", "labelled_log_counts")]
)
def test_what_models_learn_from_passes(folder: Path, source: str, contract: str) -> None:
    pack = load_pack(PACK)
    frame, spec = read_history(pack, source), pack.contract(contract)
    found = contracts.check(parsing.parse(identity.with_row_identity(frame, contract), spec), spec)
    assert (found.status, found.rows_good) == ("passed", len(frame))


def test_each_bad_row_is_put_aside_for_its_own_reason(folder: Path) -> None:
    partition = slots(2, 3)[0]
    frame = read_partition(load_pack(PACK), "events", partition).frame
    content, planted = simulate.bad_events(frame, partition, 7)
    simulate.deliver("events", partition, content)
    delivered, found = verdict("events", partition)
    assert len(delivered) == len(frame) + len(planted)
    assert found.rows_good == len(frame)
    rules = {"clock ahead": "clock_ahead", "clock behind": "clock_behind", "class": "class_unknown", "type": "type"}
    told = {(one.key, one.rule) for one in found.violations}
    wanted = {(row.metadata_uid, rules[row.kind]) for row in planted.itertuples() if row.kind in rules}
    # a line of 10 MB, binary and half a line are put aside before anybody knows their key
    assert {*wanted, (None, "too_long"), (None, "json")} <= told, sorted(map(str, told))


def test_the_hour_begins_at_the_replays_anchor(folder: Path) -> None:
    frame, _ = verdict("events", slots(3, 4)[0])
    times = pd.to_datetime(frame["time"], utc=True)
    start = pd.Timestamp(replay_anchor()) + pd.Timedelta(minutes=15)
    assert times.between(start, start + pd.Timedelta(minutes=5)).mean() > 0.95
