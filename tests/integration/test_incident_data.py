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
from baton.data.formats import frame_of_records
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


@pytest.mark.parametrize("source", ["events", "connections"])
def test_a_column_that_no_row_of_five_minutes_has_is_empty_where_it_may_be_and_else_stops_the_run(source: str) -> None:
    spec, cells = load_pack(PACK).contract(source), {"int": "4001", "float": "0.5", "str": "tcp"}
    must = {name: cells.get(one.type, "2026-11-20T09:00:01Z") for name, one in spec.columns.items() if not one.nullable}
    within = ("2026-11-20T09:00:00+00:00", "2026-11-20T09:05:00+00:00")

    def judged(rows: list[dict[str, str]]) -> Any:
        frame = identity.with_row_identity(frame_of_records(rows, source), source)
        return contracts.check(parsed := parsing.parse(frame, spec), spec, within), parsed

    verdict, parsed = judged([{**must, "metadata_uid": f"e{n}"} for n in range(3)])
    assert (verdict.status, verdict.violations) == ("passed", [])
    assert parsed.absent == [name for name in spec.columns if name not in must]
    assert f"{parsed.absent[0]}: no row has this column, its cells are empty" in verdict.info
    good = contracts.good_rows(parsed, verdict)
    assert good[parsed.absent].isna().all().all()
    assert set(good) >= set(spec.columns)
    verdict, _ = judged([{name: cell for name, cell in must.items() if name != "class_uid"}])
    assert verdict.broken_by == ["missing_column"]
    assert verdict.aggregate_failures[0].startswith("missing_column: class_uid did not arrive with 1 rows")


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
