"""Parts: a large dataset is many objects that read as one, of bounded size, checked one by one; a small one is as it was."""

import itertools
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from baton.data import datasets, objects, parts, stored
from baton.data.datasets import DatasetRef
from baton.data.objects import StoreError
from baton.errors import DatasetCorrupt
from baton.settings import settings

COLUMNS = ["number", "score", "text", "kind"]


@pytest.fixture(autouse=True)
def small(home, monkeypatch):
    """Parts of 20 rows, looked at every 5."""
    monkeypatch.setattr(parts, "ROWS", 20)
    monkeypatch.setattr(parts, "STEP", 5)
    monkeypatch.setattr(parts, "GROUP", 8)


def frame(rows=50, start=0):
    number = np.arange(start, start + rows)
    return pd.DataFrame(
        {
            "number": number,
            "score": np.where(number % 7 == 0, np.nan, number / 3),
            "text": [f"Zoë {n}" if n % 5 else None for n in number],
            "kind": pd.Categorical([["a", "b"][n % 2] for n in number], categories=["a", "b"]),
        }
    )


def streamed(name, *frames):
    with datasets.DatasetWriter(name, "p") as writer:
        for one in frames:
            writer.add(one)
        return writer.close()


def names():
    return [item.name for item in objects.listed()]


def test_many_rows_become_parts_that_read_as_one():
    ref = datasets.write(frame(), "f/x.parquet", "p")
    assert (ref.kind, ref.rows, ref.partition) == ("manifest", 50, "p")
    assert names() == ["f/x.00000.parquet", "f/x.00001.parquet", "f/x.00002.parquet", "f/x.json"]
    said, folder = json.loads(objects.get(ref.uri))["parts"], ref.uri.rpartition("/")[0]
    assert [one["rows"] for one in said] == [20, 20, 10]
    assert [one["bytes"] for one in said] == [len(objects.get(f"{folder}/{one['name']}")) for one in said]
    pd.testing.assert_frame_equal(datasets.read(ref), frame())
    assert list(datasets.read(ref, ["text", "number"]).columns) == ["text", "number"]
    assert datasets.verifies(DatasetRef.from_dict(ref.to_dict()))


@pytest.mark.parametrize("rows", [0, 1, 19, 20])
def test_what_fits_one_part_is_one_plain_object(rows):
    ref = datasets.write(frame().head(rows), "x.parquet")
    assert (ref.kind, names(), ref.rows) == ("parquet", ["x.parquet"], rows)
    assert datasets.read(ref)["number"].tolist() == list(range(rows))


@pytest.mark.parametrize("cuts", [[], [20], [1, 2, 3, 33], [7, 40, 40], range(1, 50)])
@pytest.mark.parametrize("rows", [12, 50])
def test_how_rows_come_makes_no_difference(rows, cuts):
    edges = [0, *(cut for cut in cuts if cut < rows), rows]
    ref = streamed("x.parquet", *(frame(end - start, start) for start, end in itertools.pairwise(edges)))
    whole = datasets.write(frame(rows), "another/name.parquet", "p")
    assert ref.content_sha256 == whole.content_sha256
    assert (ref.schema_fingerprint, ref.rows, ref.kind) == (whole.schema_fingerprint, rows, whole.kind)


@pytest.mark.parametrize("key", [None, "number"])
def test_a_part_is_encoded_group_by_group_while_its_rows_come(monkeypatch, key):
    monkeypatch.setattr(parts, "ROWS", 10_000)
    monkeypatch.setattr(parts, "GROUP", 1_000)
    most, one = 0, pa.Table.from_pandas(frame(350).assign(text="t" * 100), preserve_index=False)
    before = pa.total_allocated_bytes()
    with datasets.DatasetWriter("x.parquet", key=key) as writer:
        for _ in range(20):
            writer.add(one)
            most = max(most, pa.total_allocated_bytes() - before)
        ref = writer.close()
    (part,) = stored.held(ref)[1]
    about = pq.read_metadata(objects.path_of(part.uri))
    assert [about.row_group(number).num_rows for number in range(about.num_row_groups)] == [1_000] * 7
    assert most < 3 * one.nbytes  # of 20: a group, and what Parquet holds of it


def test_rows_wait_while_a_column_holds_nothing_and_the_bytes_are_those_of_one_frame(monkeypatch):
    monkeypatch.setattr(parts, "GROUP", 4)
    rows = frame(18).assign(text=[None] * 11 + ["a"] * 7)
    ref = streamed("x.parquet", rows[:6], rows[6:11].reset_index(drop=True), rows[11:].reset_index(drop=True))
    assert ref.content_sha256 == datasets.write(rows, "y.parquet").content_sha256
    assert datasets.read(ref)["text"].tolist() == rows["text"].tolist()


def test_wide_rows_end_a_part_sooner(monkeypatch):
    monkeypatch.setattr(parts, "ROWS", 1000)
    monkeypatch.setattr(parts, "BYTES", 800)
    ref = datasets.write(frame(), "x.parquet")
    sizes = [one["rows"] for one in json.loads(objects.get(ref.uri))["parts"]]
    assert sum(sizes) == 50
    assert len(sizes) > 1
    assert all(size % 5 == 0 and size < 50 for size in sizes)
    assert ref.content_sha256 == streamed("y.parquet", frame(3), frame(47, 3)).content_sha256


@pytest.mark.parametrize(("bytes_", "rows"), [(80, 10), (81, 15)])
def test_a_part_ends_once_it_has_its_bytes(monkeypatch, bytes_, rows):
    monkeypatch.setattr(parts, "BYTES", bytes_)
    ref = datasets.write(pd.DataFrame({"number": np.arange(20)}), "x.parquet")  # 8 bytes each
    assert json.loads(objects.get(ref.uri))["parts"][0]["rows"] == rows


def test_batches_come_in_order_and_one_part_is_held_at_a_time(monkeypatch):
    ref = datasets.write(frame(), "x.parquet")
    fetched = []
    get = objects.get
    monkeypatch.setattr(objects, "get", lambda uri: fetched.append(uri) or get(uri))
    batches = datasets.read_batches(ref, ["text", "number"], rows=15)
    assert fetched == []
    seen = []
    for count, batch in enumerate(batches):
        assert batch.schema.names == ["text", "number"]
        assert len(fetched) == [2, 2, 3, 3, 4][count]  # the manifest, and a part when its turn comes
        seen += batch.column("number").to_pylist()
    assert seen == list(range(50))
    one = datasets.write(frame(10), "y.parquet")
    assert [batch.num_rows for batch in datasets.read_batches(one, rows=4)] == [4, 4, 2]
    with pytest.raises(StoreError, match=r"x\.json: no column nope; it has number, score, text, kind"):
        list(datasets.read_batches(ref, ["nope"]))


def test_more_rows_than_a_frame_may_have_are_refused_by_name_of_what_to_use(monkeypatch):
    monkeypatch.setenv("BATON_MAX_FRAME_ROWS", "49")
    settings.cache_clear()
    ref = datasets.write(frame(), "x.parquet")
    with pytest.raises(
        StoreError, match=r"50 rows are too many for one frame \(BATON_MAX_FRAME_ROWS=49\).*read_batches"
    ):
        datasets.read(ref)
    assert sum(batch.num_rows for batch in datasets.read_batches(ref)) == 50


@pytest.mark.parametrize("part", [0, 2])
@pytest.mark.parametrize("how", ["gone", "changed"])
def test_a_part_that_is_gone_or_changed_is_named(part, how):
    ref = datasets.write(frame(), "x.parquet")
    path = objects.path_of(ref.uri).with_name(f"x.0000{part}.parquet")
    body = bytearray(path.read_bytes())
    path.unlink()
    if how == "changed":
        body[len(body) // 2] ^= 1
        path.write_bytes(body)
    assert not datasets.verifies(ref)
    for reading in (datasets.read, lambda one: list(datasets.read_batches(one))):
        with pytest.raises(DatasetCorrupt, match=f"x.0000{part}.parquet: the (object is missing|bytes have SHA-256)"):
            reading(ref)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda said: said["parts"].pop(), "names other parts than were committed"),
        (lambda said: said["parts"].reverse(), "names other parts than were committed"),
        (lambda said: said["parts"][0].update(rows=19), "names other parts than were committed"),
        (lambda said: said["parts"][0].pop("sha256"), "is no manifest"),
        (lambda said: said.clear(), "is no manifest"),
    ],
)
def test_another_manifest_than_was_committed_is_refused(change, says):
    ref = datasets.write(frame(), "x.parquet")
    said = json.loads(objects.get(ref.uri))
    change(said)
    objects.path_of(ref.uri).write_text(json.dumps(said))
    assert not datasets.verifies(ref)
    with pytest.raises(DatasetCorrupt, match=says):
        datasets.read(ref)
    objects.delete(ref.uri)
    with pytest.raises(DatasetCorrupt, match="is missing; run its stage again"):
        datasets.read(ref)


@pytest.mark.parametrize("at", range(4))
def test_what_was_written_goes_when_the_rest_cannot_be(at):
    puts = []

    def fails(point):
        puts.append(point)
        if puts.count("written") == at + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        datasets.write(frame(), "x.parquet", at=fails)
    assert names() == []


def test_rows_of_other_columns_or_types_are_refused_and_nothing_stays():
    for other in (frame(30).drop(columns="text"), frame(30).assign(number="nine")):
        with pytest.raises(StoreError, match=r"x\.parquet: the frame does not fit"):
            streamed("x.parquet", frame(30), other)
    with pytest.raises(StoreError, match=r"x\.parquet: no frame was added"):
        streamed("x.parquet")
    assert names() == []


def test_rows_without_a_key_are_written_anew():
    ref = datasets.write(frame(), "x.parquet")
    keys, values = [("number",), ("nothing",)], ["3", "25", "26", "99"]
    assert datasets.held(ref, keys, values) == 3
    rest = datasets.without(ref, keys, values, "y.parquet")
    assert (rest.kind, rest.rows) == ("manifest", 47)
    left = frame()[~frame()["number"].isin([3, 25, 26])].reset_index(drop=True)
    pd.testing.assert_frame_equal(datasets.read(rest), left)
    assert rest.content_sha256 == datasets.write(left, "z.parquet").content_sha256
    assert datasets.verifies(ref), "who wants the old one gone deletes it"


def test_a_dataset_goes_whole_and_twice_does_no_harm():
    ref, other = datasets.write(frame(), "x.parquet"), datasets.write(frame(7), "other.parquet")
    datasets.delete(ref)
    datasets.delete(ref)
    assert names() == ["other.parquet"]
    assert list(datasets.read(other).columns) == COLUMNS


def test_the_parts_move_with_their_manifest(home, monkeypatch):
    ref = datasets.write(frame(), "f/x.parquet")
    store = objects.path_of(settings().store_url)
    store.rename(store.with_name("moved"))
    moved = DatasetRef.from_dict({**ref.to_dict(), "uri": ref.uri.replace("/store/", "/moved/")})
    pd.testing.assert_frame_equal(datasets.read(moved), frame())


@pytest.mark.parametrize("cuts", [[50], [7, 40], range(1, 50)])
def test_a_part_ends_where_it_is_told_to_however_the_rows_come(cuts):
    edges = [0, *(cut for cut in cuts if cut < 50), 50]
    with datasets.DatasetWriter("x.parquet", "p", ends=[8, 30, 50]) as writer:
        for start, end in itertools.pairwise(edges):
            writer.add(frame(end - start, start))
        ref = writer.close()
    assert [one["rows"] for one in json.loads(objects.get(ref.uri))["parts"]] == [8, 20, 2, 20]
    assert stored.ends(ref) == [8, 28, 30, 50]
    pd.testing.assert_frame_equal(datasets.read(ref), frame())
    assert [len(one) for one in datasets.read_frames(ref, 15, ends=[8, 30, 50])] == [8, 15, 7, 15, 5]


def test_some_rows_are_read_from_the_parts_that_hold_them(monkeypatch):
    ref = datasets.write(frame(), "x.parquet", "p")
    first, second, third = stored.windows(ref, [0, 20, 25, 50])
    fetched = []
    get = objects.get
    monkeypatch.setattr(objects, "get", lambda uri: fetched.append(uri.rpartition(".0")[2]) or get(uri))
    pd.testing.assert_frame_equal(datasets.read(second), frame(5, 20))
    assert [one for one in fetched if one.startswith("000")] == ["0001.parquet"]
    for rows in (3, 25, 100):
        assert pd.concat(datasets.read_frames(third, rows))["number"].tolist() == list(range(25, 50))
        assert sum(one.num_rows for one in datasets.read_batches(third, ["text"], rows)) == 25
    assert (stored.ends(third), stored.ends(first)) == ([15, 25], [20])
    again = DatasetRef.from_dict(json.loads(json.dumps(third.to_dict())))
    assert again == third
    assert "of" not in ref.to_dict()
    with pytest.raises(ValueError, match="no rows 50 to 60 in a dataset of 50"):
        stored.windows(ref, [0, 50, 60])


def test_the_hash_of_some_rows_is_that_of_their_parts_wherever_these_stand():
    one = stored.windows(datasets.write(frame(), "x.parquet"), [0, 20, 40, 50])
    with datasets.DatasetWriter("y.parquet", ends=[3, 23, 43]) as writer:
        writer.add(pd.concat([frame(3, 900), frame(40)]))
        other = stored.windows(writer.close(), [0, 3, 23, 33, 43])
    assert one[0].content_sha256 == other[1].content_sha256
    assert len({ref.content_sha256 for ref in (*one, other[2], other[3])}) == 5
    small = stored.windows(datasets.write(frame(9), "z.parquet"), [0, 4, 9])
    assert datasets.read(small[1])["number"].tolist() == [4, 5, 6, 7, 8]
    objects.delete(small[1].uri)
    assert not datasets.verifies(small[1])


def test_rows_that_are_others_by_now_are_not_read():
    ref = stored.windows(datasets.write(frame(), "x.parquet"), [0, 20, 50])[1]
    path = objects.path_of(ref.uri)
    said = json.loads(path.read_text())
    path.write_text(json.dumps({"parts": said["parts"][:1] + said["parts"][:2]}))
    with pytest.raises(DatasetCorrupt, match="its rows from 20 are others by now"):
        datasets.read(ref)


def test_no_rows_are_one_frame_with_the_columns():
    empty = [datasets.write(frame(0), f"{n}.parquet") for n in range(2)]
    for ref in (*empty, stored.union(empty, "all.parquet"), streamed("none.parquet", frame(0), frame(0))):
        (found,) = datasets.read_frames(ref)
        pd.testing.assert_frame_equal(found, datasets.read(ref))


def test_a_column_that_holds_nothing_in_some_parts_has_the_type_that_others_know():
    nothing = frame(20).assign(text=None)
    ref = streamed("x.parquet", nothing, frame(20, 20), nothing.assign(number=range(40, 60)))
    assert datasets.read(ref)["text"].isna().sum() == 20 + 4 + 20
    assert [one["text"].notna().sum() for one in datasets.read_frames(ref, 30)] == [8, 8]
    union = stored.union(
        [datasets.write(nothing, "y.parquet"), datasets.write(frame(50, 20), "z.parquet")], "u.parquet"
    )
    assert (union.rows, union.kind) == (70, "manifest")
    assert datasets.read(union)["number"].tolist() == list(range(70))
    datasets.delete(union)
    assert "y.parquet" in names()
