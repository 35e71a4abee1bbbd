"""Documents as rows: the drop folder, files that a person names, JSON records; bytes through store and row hashes."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from baton.data import datasets
from baton.data.identity import with_row_identity
from baton.data.partitions import format_key
from baton.errors import NoData, SourceError
from baton.packs.pack import Pack
from baton.record import warehouse
from baton.settings import settings
from baton.sources.documents import COLUMNS, BatchLimits, of_records
from baton.sources.folder import read_store
from baton.sources.reading import read_history, read_partition, state_of
from baton.sources.replay import replay_anchor
from baton.specs.source import DocumentFields, SourcesSpec

DROPS: dict[str, Any] = {
    "kind": "folder", "description": "documents", "path": "{landing}/documents/{partition}", "max_bytes": 100,
    "history": "{data}/history.parquet",
    "replay": {"path": "{data}/documents/{slot:02d}.parquet", "period": "2h", "clock": "seconds", "text_key": "document_id", "time": "received_at"},
}  # fmt: skip
PDF = b"%PDF-1.7\x00\xff\xfe\x1f binary"


@pytest.fixture
def place(home: Path) -> Iterator[Path]:
    warehouse.migrate()
    yield home / "landing"
    warehouse.engine().dispose()


def pack(**changes: Any) -> Pack:
    spec = SourcesSpec.model_validate({"documents": {**DROPS, **changes}}).root
    return Pack("test", "test", settings().home, sources=spec)  # type: ignore[arg-type]  # a union of more kinds


def hour(number: int) -> str:
    return format_key(replay_anchor() + timedelta(hours=number))


def drop(place: Path, name: str, content: bytes = PDF, number: int = 1) -> Path:
    path = place / "documents" / hour(number).replace(":", "-") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (1_800_000_000, 1_800_000_000))
    return path


def read(number: int = 1, *named: str, **changes: Any) -> pd.DataFrame:
    return read_partition(pack(**changes), "documents", hour(number), named).frame


def test_every_file_of_the_folder_is_a_document(place: Path) -> None:
    drop(place, "b.pdf")
    drop(place, "from ada/a.eml", b"Subject: x\n\ny")
    drop(place, "empty.txt", b"")
    for name in (".hidden", "c.pdf.part", "d.TMP", ".folder/e.pdf"):
        drop(place, name)
    frame = read()
    assert tuple(frame.columns) == COLUMNS
    assert frame["name"].tolist() == ["b.pdf", "empty.txt", "from ada/a.eml"]
    assert frame["content"].tolist() == [PDF, b"", b"Subject: x\n\ny"]
    assert frame["size"].tolist() == [len(PDF), 0, 13]
    assert frame["problem"].tolist() == [None, None, None]
    assert set(frame["channel"]) == {"folder"}
    assert frame["received_at"].tolist() == [pd.Timestamp(1_800_000_000, unit="s", tz="UTC")] * 3
    assert frame["document_id"].str.fullmatch("[0-9a-f]{20}").all()
    again = read(2) if drop(place, "b.pdf", number=2) else None
    assert again is not None
    assert again["document_id"].tolist() == frame["document_id"].tolist()[:1], "a redelivery is recognised"


def test_a_document_that_is_too_large_becomes_a_row_without_content(place: Path) -> None:
    drop(place, "just.bin", b"x" * 100)
    drop(place, "large.bin", b"x" * 101)
    drop(place, "larger.bin", b"y" * 5_000_000)
    frame = read()
    assert frame["problem"].tolist() == [None, "too_large", "too_large"]
    assert frame["content"].tolist() == [b"x" * 100, None, None]
    assert frame["size"].tolist() == [100, 101, 5_000_000]
    assert frame["document_id"].is_unique


@pytest.mark.parametrize("limit", [{"max_documents": 2}, {"max_batch_bytes": 150}])
def test_what_a_partition_cannot_hold_is_left_out_singly(place: Path, limit: dict[str, int]) -> None:
    drop(place, "a.bin", b"x" * 60)
    drop(place, "b.bin", b"y" * 90)
    drop(place, "c.bin", b"z" * 100)
    frame = read(**limit)
    assert frame["problem"].tolist() == [None, None, "not_read"]
    assert frame["content"].tolist() == [b"x" * 60, b"y" * 90, None]
    assert frame["size"].tolist() == [60, 90, 100]
    drop(place, "b.bin", b"y" * 91)
    drop(place, "c.bin", b"z" * 10)
    assert read(max_batch_bytes=150)["problem"].tolist() == [None, "not_read", None], "what is smaller may still fit"


def test_links_and_pipes_are_left_out_and_named(place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "x").write_text("secret")
    folder = drop(place, "a.pdf").parent
    (folder / "link.pdf").symlink_to(tmp_path / "secret")
    (folder / "links").symlink_to(tmp_path / "secrets")
    os.mkfifo(folder / "pipe.pdf")
    with caplog.at_level(logging.WARNING):
        assert read()["name"].tolist() == ["a.pdf"]
    assert [number for number in (2, 3, 4) if f"number {number} of 4 by name is left out" not in caplog.text] == []
    assert not any(name in caplog.text for name in ("a.pdf", "link.pdf", "pipe.pdf")), "names are personal data"


@pytest.mark.parametrize("linked", ["documents", "partition"])
def test_a_drop_folder_that_is_a_link_is_refused(place: Path, tmp_path: Path, linked: str) -> None:
    outside = tmp_path / "outside"
    (outside / hour(1).replace(":", "-")).mkdir(parents=True)
    (outside / "secret").write_text("secret")
    (outside / hour(1).replace(":", "-") / "secret").write_text("secret")
    folder = place / "documents"
    (folder if linked == "partition" else place).mkdir(parents=True)
    (folder / hour(1).replace(":", "-") if linked == "partition" else folder).symlink_to(outside)
    with pytest.raises(SourceError, match="leads over a link") as refused:
        read()
    assert not isinstance(refused.value, NoData)


def test_the_landing_folder_itself_may_be_a_link(place: Path, tmp_path: Path) -> None:
    drop(place, "a.pdf")
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert read()["name"].tolist() == ["a.pdf"]


def test_named_files_without_a_landing_folder_say_so(place: Path) -> None:
    with pytest.raises(SourceError, match=r"the landing folder .* cannot be read: No such file"):
        read(1, "a.pdf")


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "/etc/passwd",
        "documents/../../secret",
        "",
        "a//b",
        ".",
        "link/x",
        "link",
        "documents",
        "a\\b",
        "a\0",
    ],
)
def test_a_named_file_lies_below_the_landing_folder(place: Path, tmp_path: Path, name: str) -> None:
    place.mkdir()
    (place / "documents").mkdir()
    (place.parent / "secret").write_text("secret")
    (place.parent / "outside").mkdir()
    (place.parent / "outside" / "x").write_text("secret")
    (place / "link").symlink_to(place.parent / "outside")
    with pytest.raises(SourceError, match=r"should be a path below|cannot be read|no plain file") as refused:
        read(1, name)
    assert not isinstance(refused.value, NoData)
    assert "file 1 of 1" in str(refused.value)
    assert not any(word in str(refused.value) for word in ("secret", "passwd", "link/x"))


def test_named_files_are_taken_instead_of_the_partitions_folder(place: Path) -> None:
    drop(place, "a.pdf")
    (place / "letter.txt").write_bytes(b"hello")
    (place / "more").mkdir()
    (place / "more" / "letter.txt").write_bytes(b"x" * 101)
    frame = read(1, "letter.txt", "more/letter.txt")
    assert frame["name"].tolist() == ["letter.txt", "more/letter.txt"]
    assert frame["problem"].tolist() == [None, "too_large"]
    with pytest.raises(SourceError, match=r"file 2 of 2 is not below the landing folder"):
        read(1, "letter.txt", "missing.txt")
    with pytest.raises(SourceError, match="each once"):
        read(1, "letter.txt", "letter.txt")
    other = SourcesSpec.model_validate(
        {"documents": {"kind": "file", "description": "x", "path": "{landing}/{partition}.csv"}}
    )
    with pytest.raises(SourceError, match="for a source of kind folder, this is file"):
        read_partition(Pack("test", "test", place, sources=other.root), "documents", hour(1), ["a"])  # type: ignore[arg-type]


def test_the_state_follows_the_documents(place: Path) -> None:
    def state(*named: str) -> Any:
        given = pack()
        return state_of(given.source("documents"), read_partition(given, "documents", hour(1), named))

    path = drop(place, "a.pdf")
    first = state()
    assert state() == first
    assert first["delivered"]
    path.write_bytes(b"other")
    second = state()
    drop(place, "b.pdf")
    third = state()
    path.rename(path.with_name("c.pdf"))
    assert (
        len(
            {
                one["sha256"]
                for one in (first, second, third, state(), state("documents/" + path.parent.name + "/b.pdf"))
            }
        )
        == 5
    )
    assert read()["name"].tolist() == ["b.pdf", "c.pdf"]


def recording(content: list[bytes | None], seconds: float) -> pd.DataFrame:
    return pd.DataFrame({
        "document_id": [f"{n:020x}" for n in range(len(content))], "channel": "simulated", "name": "x.pdf", "content": content,
        "size": [len(one or b"") for one in content], "problem": None, "seconds": seconds,
    })  # fmt: skip


def test_a_recording_serves_where_nothing_was_dropped_and_repeats_as_other_documents(place: Path) -> None:
    with pytest.raises(SourceError, match=r"the recording .* is not there"):
        read()
    (settings().data_dir / "documents").mkdir(parents=True)
    recording([PDF, None], 3600.0).to_parquet(settings().data_dir / "documents" / "01.parquet")
    recording([PDF], -60.0).to_parquet(settings().data_dir / "history.parquet")
    first, later = read(1), read(3)
    assert first["content"].tolist() == [PDF, None]
    assert set(first["received_at"]) == {pd.Timestamp(hour(1), tz="UTC")}
    assert set(later["received_at"]) == {pd.Timestamp(hour(3), tz="UTC")}
    assert not set(first["document_id"]) & set(later["document_id"])
    with pytest.raises(NoData, match=r"no folder .*, and no recording"):
        read(2)
    assert read_history(pack(), "documents")["content"].tolist() == [PDF]
    drop(place, "a.pdf")
    assert read()["name"].tolist() == ["a.pdf"]
    with pytest.raises(NoData, match="no folder"):
        read(1, replay=None, path="{landing}/elsewhere/{date}")


def test_documents_in_an_object_store() -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    for name, content in {"a.pdf": PDF, "more/b.pdf": b"x" * 101, "c.part": PDF, ".d": PDF}.items():
        system.pipe_file(f"/drops/one/{name}", content)
    frame = read_store("memory://drops/one", "source x", BatchLimits(max_bytes=100))
    assert frame["name"].tolist() == ["a.pdf", "more/b.pdf"]
    assert frame["content"].tolist() == [PDF, None]
    assert frame["problem"].tolist() == [None, "too_large"]
    assert (datetime.now(UTC) - frame["received_at"]).max() < timedelta(minutes=1)
    with pytest.raises(NoData, match="no file below"):
        read_store("memory://drops/two", "source x", BatchLimits())


@pytest.mark.parametrize(
    "path", ["{landing}/documents", "{landing}/*/{partition}", "documents/{partition}", "{landing}/{day}"]
)
def test_a_folder_belongs_to_one_partition(path: str) -> None:
    with pytest.raises(ValidationError):
        SourcesSpec.model_validate({"documents": {**DROPS, "path": path}})


def test_records_with_base64_become_documents() -> None:
    fields, start = (
        DocumentFields(name="file", content="data", received_at="at", max_bytes=100),
        datetime(2026, 11, 20, tzinfo=UTC),
    )
    rows: list[dict[str, Any]] = [
        {"file": "a.pdf", "data": base64.b64encode(PDF).decode(), "at": "2026-11-20T09:30:00+01:00"},
        {"file": "b.pdf", "data": "not base64!"}, {"file": "c.pdf", "data": base64.b64encode(b"x" * 101).decode()},
        {"file": "d.pdf", "data": None}, {"file": "e.pdf", "data": base64.encodebytes(b"x" * 100).decode()},
    ]  # fmt: skip
    frame = of_records(rows, fields, start, "source x", BatchLimits(max_bytes=100))
    assert frame["content"].tolist() == [PDF, None, None, None, b"x" * 100]
    assert frame["problem"].tolist() == [None, "damaged", "too_large", "damaged", None]
    assert frame["received_at"].tolist()[0] == pd.Timestamp("2026-11-20T08:30:00Z")
    assert set(frame["received_at"][1:]) == {pd.Timestamp(start)}
    bad: list[tuple[dict[str, Any], str]] = [
        ({"data": ""}, "record 1: `file`"),
        ({"file": "a", "data": "", "at": "soon"}, "ISO 8601"),
    ]
    for record, message in bad:
        with pytest.raises(SourceError, match=message):
            of_records([record], fields, start, "source x", BatchLimits())


def test_bytes_go_through_row_hashes_and_store(place: Path) -> None:
    drop(place, "a.pdf")
    drop(place, "b.pdf", b"\x1f\x00\x1e")
    drop(place, "c.pdf", b"x" * 101)
    frame = with_row_identity(read(), "documents")
    assert frame["_row_sha"].is_unique
    back = datasets.read(datasets.write(frame, "test/documents.parquet", hour(1)))
    pd.testing.assert_frame_equal(back, frame)
    assert [type(one) for one in back["content"]] == [bytes, bytes, type(None)]
    assert [one is None for one in back["problem"]] == [True, True, False]
