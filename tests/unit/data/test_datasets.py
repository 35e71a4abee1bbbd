"""Datasets: what is read is what was written; nothing partial, nothing overwritten, nothing unverified."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from baton.data import datasets, objects, stored
from baton.data.datasets import DatasetRef
from baton.data.objects import StoreError
from baton.errors import DatasetCorrupt
from baton.settings import settings


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BATON_HOME", str(tmp_path / "a home"))  # a space: addresses quote it
    settings.cache_clear()
    yield tmp_path / "a home"
    settings.cache_clear()


@pytest.fixture(params=["file", "memory"])
def store(request, home, monkeypatch):
    if request.param == "memory":
        monkeypatch.setenv("BATON_STORE_URL", f"memory://{os.getpid()}-{id(request)}")
        settings.cache_clear()
    return settings().store_url


def frame(rows=50):
    rng = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "number": np.arange(rows),
            "small": np.arange(rows, dtype="int8"),
            "score": np.where(np.arange(rows) % 7 == 0, np.nan, rng.normal(size=rows)),
            "half": np.linspace(0, 1, rows).astype("float16"),
            "single": np.linspace(0, 1, rows).astype("float32"),
            "text": [f"Zoë {n}" if n % 5 else None for n in range(rows)],
            "flag": np.arange(rows) % 2 == 0,
            "maybe": pd.array([None if n % 3 == 0 else n for n in range(rows)], dtype="Int64"),
            "when": pd.date_range("2026-01-01", periods=rows, freq="h", tz="UTC"),
            "naive": pd.date_range("2026-01-01", periods=rows, freq="ns"),
            "kind": pd.Categorical([["a", "b"][n % 2] for n in range(rows)]),
        }
    )


def test_values_and_dtypes_come_back(store):
    ref = datasets.write(frame(), "f/s/p/-1/x.parquet", "2026-01-01T00:00:00")
    assert (ref.rows, ref.partition) == (50, "2026-01-01T00:00:00")
    pd.testing.assert_frame_equal(datasets.read(ref), frame())
    assert datasets.verifies(ref)


@pytest.mark.parametrize("dtype", ["object", "string"])
@pytest.mark.parametrize("index", [None, "key"])
def test_a_column_of_texts_has_its_type_whether_these_repeat_or_not(dtype, index):
    texts = pd.array([f"a{n}" if n % 3 else None for n in range(1_500)], dtype=dtype)
    known = pd.DataFrame({"a": texts, "n": range(1_500), "same": "x", "b": texts, "key": texts[::-1]})
    table = pa.Table.from_pandas(known.set_index(index) if index else known)
    found = stored.frame_of(table)
    pd.testing.assert_frame_equal(found, table.to_pandas())
    assert (found.dtypes[["a", "b"]] == dtype).all()


def test_columns_may_share_a_name():
    texts = pa.array([f"a{n}" for n in range(1_500)])
    table = pa.Table.from_arrays([texts, pa.nulls(1_500, pa.int64()), texts], ["a", "a", "a"])
    pd.testing.assert_frame_equal(stored.frame_of(table), table.to_pandas())


def test_the_same_rows_have_the_same_hash_whatever_their_index(store):
    one = datasets.write(frame(), "one.parquet")
    two = datasets.write(frame().set_index(pd.Index(range(100, 150))), "two.parquet")
    other = datasets.write(frame().assign(score=0.0), "three.parquet")
    assert one.content_sha256 == two.content_sha256 != other.content_sha256
    assert one.schema_fingerprint == two.schema_fingerprint == other.schema_fingerprint
    retyped = datasets.write(frame().astype({"small": "int64"}), "four.parquet")
    renamed = datasets.write(frame().rename(columns={"small": "tiny"}), "five.parquet")
    assert len({ref.schema_fingerprint for ref in (one, retyped, renamed)}) == 3
    assert len(one.schema_fingerprint) == 16


def test_columns_are_read_in_the_order_asked_for(store):
    ref = datasets.write(frame(), "x.parquet")
    assert list(datasets.read(ref, ["text", "number"]).columns) == ["text", "number"]
    assert datasets.read(ref, []).shape == (50, 0)
    with pytest.raises(StoreError, match=r"no column nope; it has number, small"):
        datasets.read(ref, ["nope"])


@pytest.mark.parametrize("empty", [frame(0), pd.DataFrame()])
def test_a_dataset_may_be_empty(store, empty):
    ref = datasets.write(empty, "x.parquet")
    assert ref.rows == 0
    assert list(datasets.read(ref).columns) == list(empty.columns)


def test_a_reference_survives_json(store):
    ref = datasets.write(frame(), "x.parquet", "p")
    assert DatasetRef.from_dict(json.loads(json.dumps(ref.to_dict()))) == ref
    with pytest.raises(TypeError):
        DatasetRef.from_dict({**ref.to_dict(), "extra": 1})


def test_an_object_is_never_overwritten(store):
    ref = datasets.write(frame(), "x.parquet")
    with pytest.raises(StoreError, match="older than its store"):
        datasets.write(frame(3), "x.parquet")
    assert len(datasets.read(ref)) == 50


def test_a_column_of_mixed_types_is_named(home):
    with pytest.raises(StoreError, match="mixed"):
        datasets.write(pd.DataFrame({"mixed": [1, "a", b"x"]}), "x.parquet")
    assert list(objects.listed()) == []


@pytest.mark.parametrize("damage", ["flip", "truncate", "append", "empty", "remove"])
def test_damage_is_noticed_before_a_row_is_parsed(home, damage):
    ref = datasets.write(frame(), "x.parquet")
    path = objects.path_of(ref.uri)
    body = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        body[len(body) // 2] ^= 1
        changed = {"flip": body, "truncate": body[:-9], "append": path.read_bytes() + b"x", "empty": b""}
        path.write_bytes(changed[damage])
    assert not datasets.verifies(ref)
    with pytest.raises(DatasetCorrupt, match=r"x\.parquet.*run its stage again"):
        datasets.read(ref)


def test_file_and_folders_are_synced_before_the_write_returns(home, monkeypatch):
    synced = []
    real = os.fsync

    def note(descriptor):
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    ref = datasets.write(frame(), "f/s/p/x.parquet")
    path = objects.path_of(ref.uri)
    assert synced[0] == str(path)
    created = [str(path.parents[n]) for n in range(5)]  # p, s, f, store, home: all new, and what they were made in
    assert set(synced[1:]) == {*created, str(home.parent)}


def failing_write(error, after):
    """An os.write that takes `after` bytes and then fails, as a disk that fills up does."""
    real, left = os.write, [after]

    def write(descriptor, body):
        if left[0] <= 0:
            raise OSError(error, os.strerror(error))
        done = real(descriptor, bytes(body)[: left[0]])
        left[0] -= done
        return done

    return write


@pytest.mark.parametrize("after", [0, 100, 3000])
def test_a_full_disk_leaves_nothing_behind_and_says_so(home, monkeypatch, after):
    with monkeypatch.context() as patch:
        patch.setattr(objects.os, "write", failing_write(errno.ENOSPC, after))
        with pytest.raises(StoreError, match=r"disk is full; nothing was committed"):
            datasets.write(frame(), "f/x.parquet")
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert datasets.read(datasets.write(frame(), "f/x.parquet")).equals(frame())  # same name, once there is space


def test_an_interrupted_write_leaves_nothing_behind(home):
    def timeout(point):
        if point == "writing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        datasets.write(frame(), "x.parquet", at=timeout)
    assert list(objects.listed()) == []


def test_short_writes_are_completed(home, monkeypatch):
    real = os.write
    monkeypatch.setattr(objects.os, "write", lambda descriptor, body: real(descriptor, bytes(body)[:1000]))
    assert datasets.verifies(datasets.write(frame(5000), "x.parquet"))


def test_objects_are_listed_with_the_address_they_were_written_under(store):
    refs = [datasets.write(frame(n), f"f/s/2026-01-01T00:00:00/-1/{n}.parquet") for n in (1, 2)]
    listed = {item.uri: item for item in objects.listed()}
    assert set(listed) == {ref.uri for ref in refs}
    assert all(item.size > 0 and abs(objects.age(item)) < 60 for item in listed.values())
    objects.delete(refs[0].uri)
    objects.delete(refs[0].uri)
    assert [item.uri for item in objects.listed()] == [refs[1].uri]


def test_a_store_that_does_not_exist_yet_has_no_objects(home):
    assert list(objects.listed()) == []


def test_texts_have_a_dictionary_and_floats_are_split_by_byte_whatever_else_is_there(home):
    def encodings(**columns):
        ref = datasets.write(pd.DataFrame(columns), f"{'-'.join(columns)}.parquet")
        group = pq.ParquetFile(objects.path_of(ref.uri)).metadata.row_group(0)
        return {name: set(group.column(place).encodings) for place, name in enumerate(columns)}

    for found in (
        encodings(i=[1, 2]),
        encodings(f=[1.0, 2.0]),
        encodings(t=["a", "b"]),
        encodings(i=[1], f=[1.0], t=["a"]),
    ):
        for name, used in found.items():
            assert ("RLE_DICTIONARY" in used, "BYTE_STREAM_SPLIT" in used) == (name == "t", name == "f"), found


def test_rows_without_a_key_of_one_or_several_columns(home: Path) -> None:
    frame = pd.DataFrame({"item": ["a", "a", "b"], "week": ["w1", "w2", "w1"], "entity_key": ["1", "2", "3"]})
    ref = datasets.write(frame, "x.parquet")
    keys = [("item", "week"), ("entity_key",), ("nothing", "week")]
    for values, left in ((["a@w2"], [0, 2]), (["3", "a@w1"], [1]), (["a"], None)):
        assert datasets.held(ref, keys, values) == (3 - len(left) if left is not None else 0)
        rest = datasets.read(datasets.without(ref, keys, values, f"{len(values)}{values[0]}.parquet"))
        pd.testing.assert_frame_equal(rest, frame.iloc[left or range(3)].reset_index(drop=True))
