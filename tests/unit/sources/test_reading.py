"""Reading partitions of file sources, and the pure parts of SQL and HTTP sources."""

import hashlib
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from baton.data.partitions import format_key
from baton.errors import NoData, SourceError, SpecError
from baton.packs.pack import Pack
from baton.record import warehouse
from baton.settings import settings
from baton.sources.paging import PageRequest, first_page, next_page, records_at, sql_parameters
from baton.sources.reading import RawBatch, history_state, read_history, read_partition, sample, state_of
from baton.sources.received import Received
from baton.sources.replay import replay_anchor
from baton.specs.source import SourcesSpec

ROWS = {
    "kind": "file",
    "description": "rows",
    "path": "{landing}/rows/{partition}.*",
    "history": "{data}/history.parquet",
    "replay": {
        "path": "{data}/rows/{slot:02d}.parquet",
        "period": "2h",
        "clock": "seconds",
        "time": "at",
        "key": "id",
        "keys_per_period": 100,
    },
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BATON_HOME", str(tmp_path))
    settings.cache_clear()
    warehouse.migrate()
    for folder in ("data/rows", "landing/rows"):
        (tmp_path / folder).mkdir(parents=True)
    for slot in (0, 1):
        recorded = pd.DataFrame({"id": [1 + slot, 2 + slot], "seconds": [slot * 3600.0, slot * 3600 + 0.25]})
        recorded.to_parquet(tmp_path / f"data/rows/{slot:02d}.parquet")
    history = pd.DataFrame({"id": [1, 2, 3], "seconds": [0.0, 1.0, 4000.0], "label": [0, 1, 0]})
    history.to_parquet(tmp_path / "data/history.parquet")
    yield tmp_path
    warehouse.engine().dispose()
    settings.cache_clear()


def pack(**changes):
    spec = SourcesSpec.model_validate({"rows": {**ROWS, **changes}}).root
    return Pack("test", "test", settings().home, sources=spec)


def hour(number):
    return format_key(replay_anchor() + timedelta(hours=number))


def deliver(home, partition, ending, text):
    path = home / "landing" / "rows" / f"{partition.replace(':', '-')}.{ending}"
    path.write_text(text)
    return path


def test_a_recording_is_laid_on_the_calendar_and_repeats_with_new_keys(home):
    first, later = read_partition(pack(), "rows", hour(1)), read_partition(pack(), "rows", hour(5))
    assert not first.delivered
    assert first.frame["id"].tolist() == [2, 3]
    assert later.frame["id"].tolist() == [202, 203]
    assert first.frame["at"].tolist() == [pd.Timestamp(hour(1), tz="UTC") + pd.Timedelta(s, "s") for s in (0, 0.25)]
    assert (later.frame["at"] - first.frame["at"]).unique().tolist() == [pd.Timedelta(hours=4)]


@pytest.mark.parametrize(
    ("ending", "text"),
    [("csv", "id,seconds\n7,1\n"), ("json", '[{"id": "7", "seconds": "1"}]'), ("jsonl", '{"id": 7, "seconds": 1}\n')],
)
def test_a_delivered_file_supersedes_the_recording(home, ending, text):
    path = deliver(home, hour(1), ending, text)
    batch = read_partition(pack(), "rows", hour(1))
    assert batch.delivered
    assert batch.format == ("csv" if ending == "csv" else "json")
    assert batch.frame[["id", "seconds"]].to_numpy().tolist() == [["7", "1"]]  # text stays text
    assert batch.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert batch.uri.endswith(path.name)


def test_delivered_parquet_keeps_types_and_large_keys_beside_gaps(home):
    path = deliver(home, hour(0), "parquet", "")
    pd.DataFrame({"id": pd.array([2**60 + 1, None], dtype="Int64")}).to_parquet(path)
    assert read_partition(pack(), "rows", hour(0)).frame["id"].iloc[0] == 2**60 + 1


def test_a_parquet_column_with_a_name_of_the_engine_is_refused(home):
    pd.DataFrame({"id": [1], "_row": [5]}).to_parquet(deliver(home, hour(0), "parquet", ""))
    with pytest.raises(SourceError, match="_row"):
        read_partition(pack(), "rows", hour(0))


def test_parquet_columns_are_named_as_those_of_other_files(home):
    pd.DataFrame({"id": [1], "": [5]}).to_parquet(deliver(home, hour(0), "parquet", ""))
    with pytest.raises(SourceError, match=r"rows.*parquet: column 2 has no name"):
        read_partition(pack(), "rows", hour(0))


@pytest.mark.parametrize("ending", ["tmp", "part", "partial", "filepart", "crdownload", "CRDOWNLOAD"])
def test_an_upload_under_way_is_left_alone_whoever_sends_it(home, ending):
    deliver(home, hour(1), f"csv.{ending}", "id\n")
    assert not read_partition(pack(), "rows", hour(1)).delivered


def test_an_unfinished_upload_is_not_read_but_an_unknown_format_is_named(home):
    deliver(home, hour(1), "csv.part", "id\n")
    assert not read_partition(pack(), "rows", hour(1)).delivered
    deliver(home, hour(1), "xlsx", "x")
    with pytest.raises(SourceError, match=r"\.xlsx is no known format; allowed are parquet, csv"):
        read_partition(pack(), "rows", hour(1))


def test_two_files_for_one_partition_are_refused(home):
    deliver(home, hour(1), "csv", "id\n1\n")
    deliver(home, hour(1), "json", "[]")
    with pytest.raises(SourceError, match="several files"):
        read_partition(pack(), "rows", hour(1))


def test_nothing_delivered_names_both_places(home):
    with pytest.raises(NoData, match=r"no file .*landing/rows/.*\.\*, and partition .* where the replay starts"):
        read_partition(pack(), "rows", hour(-1))
    (home / "data/rows/01.parquet").unlink()
    with pytest.raises(NoData, match=r"no file .*landing.*no recording .*01\.parquet"):
        read_partition(pack(), "rows", hour(1))
    with pytest.raises(NoData, match="no file"):
        read_partition(pack(replay=None), "rows", hour(1))


def test_a_recording_that_was_never_made_is_an_error_not_an_empty_hour(home):
    for path in (home / "data/rows").iterdir():
        path.unlink()
    with pytest.raises(SourceError, match="baton data"):
        read_partition(pack(), "rows", hour(1))


def test_damaged_files_are_named(home):
    (home / "data/rows/01.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(SourceError, match=r"01\.parquet.*Parquet"):
        read_partition(pack(), "rows", hour(1))
    pd.DataFrame({"id": [1]}).to_parquet(home / "data/rows/01.parquet")
    with pytest.raises(SourceError, match="no column seconds"):
        read_partition(pack(), "rows", hour(1))
    with pytest.raises(SourceError, match="start at"):
        read_partition(pack(), "rows", hour(1)[:-5] + "30:00")


def test_a_folder_with_wildcard_signs_in_its_name_is_taken_literally(tmp_path, monkeypatch):
    odd = tmp_path / "home [1]*"
    (odd / "landing" / "rows").mkdir(parents=True)
    monkeypatch.setenv("BATON_HOME", str(odd))
    settings.cache_clear()
    deliver(odd, "2026-11-20T09:00:00", "csv", "id\n1\n")
    assert read_partition(pack(replay=None), "rows", "2026-11-20T09:00:00").delivered
    settings.cache_clear()


@pytest.mark.parametrize("there", ["2026-11-20T09:00:00.csv", "2026-11-20.csv", "rows_2026-11-20T09-00-00.csv"])
def test_a_file_with_almost_the_right_name_is_named(home, there):
    for name in (there, "2026-11-20T10-00-00.csv", "notes.txt"):
        (home / "landing" / "rows").mkdir(parents=True, exist_ok=True)
        (home / "landing" / "rows" / name).touch()
    with pytest.raises(NoData, match=rf"no file .*\(there is {there}\)"):
        read_partition(pack(replay=None), "rows", "2026-11-20T09:00:00")
    (home / "landing" / "rows" / there).unlink()
    with pytest.raises(NoData, match=r"no file [^ ]*$"):
        read_partition(pack(replay=None), "rows", "2026-11-20T09:00:00")


def test_ones_own_history_is_not_fetched_by_a_command(home):
    own = pack(history="{data}/rows/history.csv", replay=None)
    (home / "data" / "rows" / "histroy.csv").touch()
    with pytest.raises(SourceError, match=r"history.csv is not there; put it there \(there is histroy.csv\)"):
        read_history(own, "rows")


def test_object_stores_are_read_like_folders(home):
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe_file("/bucket/rows/2026-11-20/09.csv", b"id\n5\n")
    remote = pack(path="memory://bucket/rows/{date}/{hour}.csv", replay=None)
    assert read_partition(remote, "rows", "2026-11-20T09:00:00").frame["id"].tolist() == ["5"]


def test_the_state_is_that_of_the_rows_read_next(home):
    def look(pack: Pack) -> tuple[Any, RawBatch]:
        batch = read_partition(pack, "rows", hour(1))
        return state_of(pack.source("rows"), batch), batch

    before, batch = look(pack())
    assert before == look(pack())[0]
    deliver(home, hour(1), "csv", "id\n1\n")
    assert not batch.delivered  # what the state was made from
    after, batch = look(pack())
    assert after != before
    assert batch.sha256 == after["sha256"]
    assert look(pack(description="other words"))[0] == after


def test_history_comes_with_calendar_time_and_a_state(home):
    frame = read_history(pack(), "rows")
    assert frame["at"].iloc[2] == pd.Timestamp(hour(0), tz="UTC") + pd.Timedelta(4000, "s")
    assert list(frame.columns) == ["id", "at", "seconds", "label"]
    before = history_state(pack(), "rows")
    frame.drop(columns="at").head(2).to_parquet(home / "data/history.parquet")
    assert history_state(pack(), "rows") != before
    with pytest.raises(SourceError, match="no `history`"):
        read_history(pack(history=None), "rows")


def test_a_sample_needs_no_warehouse_and_says_where_rows_would_come_from(home):
    (home / "warehouse.db").unlink()
    assert len(sample(pack(), "rows")) == 3
    assert len(sample(pack(history=None), "rows")) == 2
    with pytest.raises(SourceError, match="deliver a file"):
        sample(pack(history=None, replay=None), "rows")


def test_unknown_names_and_kinds_without_a_reader_are_explained(home):
    with pytest.raises(SpecError, match="did you mean `rows`"):
        read_partition(pack(), "row", hour(0))
    sql = {
        "kind": "sql",
        "description": "d",
        "conn_id": "db",
        "query": "select * from t where a >= :start and a < :end",
    }
    database = Pack("test", "test", home, sources=SourcesSpec.model_validate({"db": sql}).root)
    with pytest.raises(SourceError, match="Airflow connection"):
        read_partition(database, "db", hour(0))


def http(**changes):
    values = {"kind": "http", "description": "d", "conn_id": "api", "endpoint": "rows",
              "params": {"from": "{start}", "to": "{end}"}, "records": "data.rows", **changes}  # fmt: skip
    return SourcesSpec.model_validate({"api": values}).root["api"]


def test_windows_become_parameters():
    sql = {
        "kind": "sql",
        "description": "d",
        "conn_id": "db",
        "query": "select a from t where a >= :start and a < :end",
    }
    source = SourcesSpec.model_validate({"db": sql}).root["db"]
    assert sql_parameters(source, "2026-11-20T09:00:00") == {
        "start": "2026-11-20 09:00:00",
        "end": "2026-11-20 10:00:00",
    }
    page = first_page(http(), "2026-11-20T09:00:00")
    assert page == PageRequest("rows", {"from": "2026-11-20T09:00:00Z", "to": "2026-11-20T10:00:00Z"})


def test_records_are_found_and_anything_else_is_explained():
    assert records_at({"data": {"rows": [{"a": 1}]}}, "data.rows") == [{"a": 1}]
    assert records_at([{"a": 1}], "") == [{"a": 1}]
    assert records_at({"pages": [{"rows": []}]}, "pages.0.rows") == []
    for payload, dotted, said in [
        ({"error": "no"}, "data.rows", "an object with error"),
        ({"data": {"rows": {"a": 1}}}, "data.rows", "no list"),
        ({"data": {"rows": [{"a": 1}, 5]}}, "data.rows", "element 2"),
    ]:
        with pytest.raises(SourceError, match=said):
            records_at(payload, dotted)


def walk(source, answers, base_url="https://host/api"):
    """Follows the pages through prepared answers; returns the requests, and the one after them."""
    page, asked = first_page(source, "2026-11-20T09:00:00"), []
    for answer in answers:
        assert page is not None, "asked for fewer pages than there are"
        asked.append((page.endpoint, page.params))
        page = next_page(source, page, answer, records_at(answer, source.records), base_url)
    return asked, page


def rows(count, **more):
    return {"data": {"rows": [{"a": n} for n in range(count)]}, **more}


def test_pages_are_counted_until_one_is_empty():
    source = http(params={}, paging={"by": "page", "param": "p", "size_param": "n", "size": 3})
    asked, after = walk(source, [rows(3), rows(2), rows(0)])
    assert [params for _, params in asked] == [{"n": "3", "p": "1"}, {"n": "3", "p": "2"}, {"n": "3", "p": "3"}]
    assert after is None


def test_offsets_grow_by_what_came_so_that_a_capped_page_loses_nothing():
    source = http(params={}, paging={"by": "offset", "param": "skip", "first": 0, "size": 100})
    asked, after = walk(source, [rows(40), rows(40), rows(0)])
    assert [params["skip"] for _, params in asked] == ["0", "40", "80"]
    assert after is None


def test_a_short_page_can_be_the_last_where_the_spec_says_so():
    source = http(params={}, paging={"by": "page", "until": "short", "size": 3})
    assert walk(source, [rows(3), rows(2)])[1] is None


def test_cursors_are_followed_and_a_stuck_one_is_refused():
    source = http(params={}, paging={"by": "cursor", "param": "after", "next": "meta.next"})
    asked, after = walk(source, [rows(1, meta={"next": "x"}), rows(1, meta={"next": None})])
    assert ([params for _, params in asked], after) == ([{}, {"after": "x"}], None)
    with pytest.raises(SourceError, match="names itself"):
        walk(source, [rows(1, meta={"next": "x"}), rows(1, meta={"next": "x"})])


def test_links_are_followed_only_below_the_connection():
    source = http(params={}, paging={"by": "link", "next": "next"})
    for link in ("https://host/api/rows?page=2", "/api/rows?page=2", "?page=2"):
        asked, _ = walk(source, [rows(1, next=link), rows(1, next=None)])
        assert asked[1][0] == "/rows?page=2"
    for link in ("https://evil.example/api/rows", "//evil.example/rows", "http://host/api/rows", "/other/rows"):
        with pytest.raises(SourceError, match="not followed"):
            walk(source, [rows(1, next=link)])


@pytest.mark.parametrize("climbing", ["%2e%2e/admin", ".%2E/admin", "%252e%252e/admin", "%25%32e./admin", "%2e%2e%2fadmin",
                                      "..%5cadmin", "x/%2e%2e/%2e%2e/admin", "..;/admin", "%" + "25" * 9 + "41"])  # fmt: skip
def test_a_link_that_climbs_in_any_spelling_is_not_followed(climbing):
    source = http(params={}, paging={"by": "link", "next": "next"})
    for link in (f"/api/{climbing}", f"https://host/api/{climbing}", climbing):
        with pytest.raises(SourceError, match="not followed"):
            walk(source, [rows(1, next=link)])


def test_a_link_may_hold_what_only_looks_like_it():
    source = http(params={}, paging={"by": "link", "next": "next"})
    for link in ("rows/a..b", "rows/100%25", "rows/a%2Fb", "rows?file=../x"):
        asked, _ = walk(source, [rows(1, next=f"/api/{link}"), rows(1, next=None)])
        assert asked[1][0] == f"/{link}"


def test_endless_pages_are_an_error_never_a_cut():
    source = http(params={}, paging={"by": "page", "max_pages": 3})
    with pytest.raises(SourceError, match="more than 3 pages"):
        walk(source, [rows(1)] * 4)


def test_a_digest_ignores_the_order_of_keys_but_not_of_rows():
    def digest(records: list[dict[str, Any]]) -> str:
        received = Received()
        received.add(records)
        return received.sha256

    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert digest([one, {"a": 3}]) == digest([other, {"a": 3}])
    assert digest([one, {"a": 3}]) != digest([{"a": 3}, one])
