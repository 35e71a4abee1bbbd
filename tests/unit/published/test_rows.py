"""Published rows by key: one row group is read and verified, keys lead to partitions, and nothing is lost on the way."""

from __future__ import annotations

import json
import runpy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa

from baton.data import datasets, objects, parts
from baton.errors import BatonError, DatasetCorrupt, StaleAttempt
from baton.evidence import proofs
from baton.published import carrying, index, keyed, writing
from baton.published.rows import DECISIONS, PREDICTIONS, find, in_force
from baton.record import migrations, tables, warehouse
from baton.recovery.verify import verify
from baton.stages import garbage
from baton.stages.slots import Slot, StageOutput, run_stage

PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "published_rows.py"))
seed, written, read_all = (PUBLISHED[name] for name in ("seed", "written", "read_all"))
FLOW, HOURS = "shop", [f"2026-01-01T{hour:02}:00:00" for hour in range(12)]


@pytest.fixture(autouse=True)
def tables_there(home: Path) -> None:
    warehouse.migrate()


@pytest.fixture
def grouped(monkeypatch: pytest.MonkeyPatch) -> datasets.DatasetRef:
    """A thousand rows, sorted, in groups of ten and parts of three hundred."""
    monkeypatch.setattr(parts, "GROUP", 10)
    monkeypatch.setattr(parts, "ROWS", 300)
    monkeypatch.setattr(parts, "STEP", 10)
    with datasets.DatasetWriter("x.parquet", key="k") as writer:
        writer.add(pa.table({"k": [f"{number // 2:04}" for number in range(1000)], "n": list(range(1000))}))
        return writer.close()


def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    seen: list[tuple[str, int]] = []
    get = objects.get

    def noted(uri: str, start: int | None = None, end: int | None = None) -> bytes:
        seen.append((uri.rpartition("/")[2], len(body := get(uri, start, end))))
        return body

    monkeypatch.setattr(objects, "get", noted)
    return seen


# --- row groups ---


def test_a_key_costs_one_row_group(grouped: datasets.DatasetRef, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = fetched(monkeypatch)
    assert keyed.find(grouped, "k", ["0123"]).to_pylist() == [{"k": "0123", "n": 246}, {"k": "0123", "n": 247}]
    names, sizes = [name for name, _ in seen], [size for _, size in seen]
    assert names == ["x.json", "x.00000.parquet", "x.00000.parquet"], (
        "the manifest, what Parquet says of the part, one group"
    )
    assert sizes[2] < objects.path_of(grouped.uri.replace(".json", ".00000.parquet")).stat().st_size / 20
    assert keyed.find(grouped, "k", ["0004", "0204", "nobody"], ["n"]).column("n").to_pylist() == [8, 9, 408, 409]
    assert keyed.find(grouped, "k", ["nobody"]).num_rows == 0
    assert datasets.read(grouped).shape == (1000, 2)


def test_each_row_group_leads_to_the_root_that_the_ledger_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "GROUP", 10)
    monkeypatch.setattr(parts, "ROWS", 30)
    monkeypatch.setattr(parts, "STEP", 10)
    made = written(FLOW, HOURS[0], decisions=[{"entity_key": f"{number:04}"} for number in range(95)])
    told = made.told["row_groups"][DECISIONS]
    warehouse.transact(lambda conn: made.enforce(conn, 1))
    there = in_force(FLOW, HOURS[0])
    assert there is not None
    ref = there.ref(DECISIONS)
    assert ref is not None
    assert made.told["datasets"] == {DECISIONS: ref.content_sha256}
    groups = [group for *_, group in keyed.row_groups(ref)]
    assert (len(groups), told["size"], groups[6].first) == (10, 10, "0060")
    for number, group in enumerate(groups):
        path = keyed.tree_of(groups).inclusion(number, len(groups))
        mine = proofs.leaf(bytes.fromhex(group.sha256))
        assert proofs.included(number, told["size"], mine, path, bytes.fromhex(told["root"]))
        assert not proofs.included(number - 1, told["size"], mine, path, bytes.fromhex(told["root"]))


def test_a_key_that_lies_across_groups_and_parts_is_found_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "GROUP", 10)
    monkeypatch.setattr(parts, "ROWS", 20)
    monkeypatch.setattr(parts, "STEP", 10)
    with datasets.DatasetWriter("y.parquet", key="k") as writer:
        writer.add(pa.table({"k": [1] * 5 + [2] * 40 + [3] * 5}))
        ref = writer.close()
    assert [keyed.find(ref, "k", [key]).num_rows for key in (1, 2, 3, 4)] == [5, 40, 5, 0]


@pytest.mark.parametrize("at", ["group", "footer", "manifest"])
def test_other_bytes_than_were_committed_are_refused(grouped: datasets.DatasetRef, at: str) -> None:
    part = parts.of_manifest(grouped.uri, grouped.content_sha256)[0]
    path = objects.path_of(grouped.uri if at == "manifest" else part.uri)
    body = bytearray(path.read_bytes())
    place = {
        "group": part.groups[12].at + 20,
        "footer": part.groups[-1].at + 20,
        "manifest": body.find(b'"last":"0004"') + 9,
    }[at]
    body[place] ^= 1
    path.write_bytes(bytes(body))
    with pytest.raises(DatasetCorrupt, match=r"not those that were committed|other parts than were committed"):
        keyed.find(grouped, "k", ["0061"])
    if at == "group":
        assert keyed.find(grouped, "k", ["0001"]).num_rows == 2, "what was not touched is still good"
    assert not datasets.verifies(grouped)


# --- publishing ---


def test_many_rows_are_sorted_on_disk_and_a_second_one_of_an_entity_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ROWS", 100)
    monkeypatch.setattr(parts, "STEP", 10)
    keys = [f"{number * 7919 % 1000:04}" for number in range(1000)]
    rows = [{"entity_key": key, "model": model, "score": float(key)} for model in ("b", "a") for key in keys]
    seed(FLOW, HOURS[0], predictions=rows)
    found = read_all(PREDICTIONS, "entity_key", "model", "score")
    assert found == sorted((key, model, float(key)) for key in keys for model in "ab")
    assert [row["model"] for row in find(PREDICTIONS, FLOW, HOURS[0], ["0500"])] == ["a", "b"]
    place = in_force(FLOW, HOURS[0])
    assert place is not None
    assert place.entities == 1000
    before = sorted(item.name for item in objects.listed())
    with pytest.raises(BatonError, match="'0007' has two predictions by the model a"):
        written(FLOW, HOURS[0], predictions=[*rows, {"entity_key": "0007", "model": "a"}])
    assert sorted(item.name for item in objects.listed()) == before


def test_rows_that_are_gone_while_they_are_looked_up_are_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seed(FLOW, HOURS[0], decisions=[{"entity_key": "a", "route": "clear"}])
    look, replaced = keyed.find, list[Any]()

    def meanwhile(*args: Any) -> Any:
        if not replaced:
            replaced.append(in_force(FLOW, HOURS[0]))
            seed(FLOW, HOURS[0], commit_id=2, decisions=[{"entity_key": "a", "route": "review"}])
            datasets.delete(replaced[0].decisions)
        return look(*args)

    monkeypatch.setattr(keyed, "find", meanwhile)
    assert [row["route"] for row in find(DECISIONS, FLOW, HOURS[0], ["a"])] == ["review"]


# --- from keys to partitions ---


def segments() -> list[tuple[int, int]]:
    with warehouse.read() as conn:
        c = tables.segments.c
        return [(row.level, row.rows) for row in conn.execute(sa.select(c.level, c.rows).order_by(c.number))]


def places(key: str) -> list[str]:
    return [one.partition for one in index.candidates([key])]


def test_the_hash_is_the_same_for_ever() -> None:
    assert index.hashed(["a", "ß", ""]).tolist() == [6975175471489867752, 7493616298220547197, 880122920902532387]


def test_segments_are_merged_by_their_level_and_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "FAN", 4)
    for number, hour in enumerate(HOURS[:9]):
        seed(FLOW, hour, predictions=[{"entity_key": "always"}, {"entity_key": f"only {number}"}])
    assert segments() == [(1, 8), (1, 8), (0, 2)]
    assert places("always") == HOURS[:9]
    assert [places(f"only {number}") for number in range(9)] == [[hour] for hour in HOURS[:9]]
    assert places("nobody") == []
    assert [one.partition for one in index.newest("always")] == [HOURS[8]]
    assert garbage.gc(timedelta(0)).uris == [], "what was merged is gone already"
    for hour in HOURS[:3]:
        if hour == HOURS[2]:  # what no partition publishes any more is left out when it is merged
            with warehouse.write() as conn:
                conn.execute(tables.published.delete().where(tables.published.c.partition == HOURS[8]))
        seed("other", hour, decisions=[{"entity_key": "always"}])
    assert segments() == [(1, 8), (1, 8), (1, 3)]
    assert places("always") == [*HOURS[:3], *HOURS[:8]], "of each flow in order"


def test_segments_that_are_merged_while_they_are_searched_are_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "FAN", 4)
    monkeypatch.setattr(index, "AT_PUBLISH", 0)
    for hour in HOURS[:4]:
        seed(FLOW, hour, predictions=[{"entity_key": "a"}])
    look, merged = keyed.find, []

    def meanwhile(*args: Any) -> Any:
        merged.append(1)
        if len(merged) == 3:
            assert index.merge() == 1
        return look(*args)

    monkeypatch.setattr(keyed, "find", meanwhile)
    assert places("a") == HOURS[:4]


def test_an_entity_that_was_published_once_is_no_longer(home: Path) -> None:
    for hour in HOURS[:2]:
        seed(FLOW, hour, decisions=[{"entity_key": "a"}])
    seed(FLOW, HOURS[1], commit_id=2, decisions=[{"entity_key": "b"}])
    assert [one.partition for one in index.newest("a")] == [HOURS[0]]
    assert [row["entity_key"] for row in find(DECISIONS, FLOW, HOURS[1], ["a", "b"])] == ["b"]


def test_a_segment_that_took_too_long_is_refused() -> None:
    made = written(FLOW, HOURS[0], decisions=[{"entity_key": "a"}])
    garbage.gc(timedelta(0))
    with pytest.raises(StaleAttempt, match="given up by `baton gc`"):
        warehouse.transact(lambda conn: made.enforce(conn, 1))


def test_what_is_published_no_more_is_garbage_and_the_rest_is_not() -> None:
    def publish(risk: float) -> None:
        frame = pd.DataFrame({"entity_key": ["a"], "risk": risk, "route": "clear", "money": 0.0})
        made = writing.Publication(FLOW, HOURS[0], {}, 1, decisions=lambda: [frame])
        output = StageOutput(frame, {}, made.enforce, beside=made.write)
        run_stage(Slot(FLOW, "publish", HOURS[0]), lambda _: output, inputs={}, params={"risk": risk}, models={}, code="c",
                  run_id="r")  # fmt: skip

    publish(0.1)
    before = {item.name for item in objects.listed(lambda name: ".decisions." in name)}
    publish(0.2)
    gone = garbage.gc(timedelta(0))
    assert {uri.rpartition("/")[2] for uri in gone.uris} == {name.rpartition("/")[2] for name in before}
    assert [row["risk"] for row in find(DECISIONS, FLOW, HOURS[0], ["a"])] == [0.2]
    assert garbage.gc(timedelta(0)).uris == []


def test_verify_looks_at_what_is_published_and_at_the_index() -> None:
    seed(FLOW, HOURS[0], decisions=[{"entity_key": "a"}])
    well = verify(None)
    assert (well.faults, well.datasets) == ([], 2)
    for item in list(objects.listed(lambda name: name.endswith(".parquet"))):
        objects.delete(item.uri)
    assert [fault.where for fault in verify(None).faults] == [
        f"{FLOW}/{HOURS[0]}: decisions",
        "index of published keys",
    ]
    assert verify(None, new=True).faults, "nothing is remembered as well that was not"


# --- an earlier warehouse ---


def test_rows_of_an_earlier_warehouse_are_carried_into_the_store() -> None:
    from alembic import command

    frame = pd.DataFrame({"entity_key": ["a", "b"]})
    done = {
        hour: run_stage(Slot(FLOW, "publish", hour), lambda _: StageOutput(frame), inputs={}, params={}, models={}, code="c", run_id="r")
        for hour in HOURS[:2]
    }  # fmt: skip
    at = "2026-11-20T10:00:00.000000Z"
    with warehouse.engine().connect().execution_options(baton_write=True) as conn, conn.begin():
        command.downgrade(migrations.configured(conn), "1004")
        for hour, result in done.items():
            one = {"flow": FLOW, "partition": hour, "commit_id": result.commit_id}
            conn.execute(carrying.DECISIONS.insert(), [
                {**one, "entity_key": key, "risk": 0.5, "route": "clear", "money": None, "models": {"m": 3}, "decided_at": at}
                for key in ("b", "a")
            ])  # fmt: skip
            conn.execute(carrying.PREDICTIONS.insert(), [
                {**one, "entity_key": key, "model": "m", "version": 3, "score": 0.25, "category": None, "accepted": 1, "strangeness": None,
                 "quantiles": {"0.1": 1.5} if key == "a" else None, "reasons": [["x", 1.0]], "scored_at": at}
                for key in ("a", "b", "c")
            ])  # fmt: skip
    with pytest.raises(BatonError, match="upgrade it with `baton up`"):
        warehouse.migrate()
    carrying.migrate()
    assert read_all(DECISIONS, partition=HOURS[1]) == [
        (FLOW, HOURS[1], key, 0.5, "clear", None, {"m": 3}, done[HOURS[1]].commit_id, at) for key in ("a", "b")
    ]
    assert read_all(PREDICTIONS, "entity_key", "version", "score", "accepted", "quantiles", "reasons", "scored_at", partition=HOURS[0]) == [
        (key, 3, 0.25, 1, {"0.1": 1.5} if key == "a" else None, [["x", 1.0]], at) for key in ("a", "b", "c")
    ]  # fmt: skip
    assert [one.partition for one in index.candidates(["c"])] == HOURS[:2]
    assert garbage.gc(timedelta(0)).uris == []
    assert json.loads(json.dumps(in_force(FLOW, HOURS[0]).models)) == {"m": 3}  # type: ignore[union-attr]
