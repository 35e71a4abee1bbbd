"""A mailbox as a source, and as an archive that tells what was sent: a real socket, Airflow connections."""

from __future__ import annotations

import json
import runpy
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from baton.airflow.connections.readers import read_mailbox
from baton.errors import BatonError, NoData, SourceError
from baton.sources.imap import ImapServer, holds
from baton.specs.source import MailboxSource

SERVER: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("imap_server.py")))
HOUR, START = "2026-11-20T23:00:00", datetime(2026, 11, 20, 23, tzinfo=UTC)
MAIL = b"From: ada@example.org\r\nMessage-ID: <key-1@bank.example>\r\nSubject: =?x?=\r\n\r\n\xff\x00 body\r\n.\r\n)"
EAST, WEST = timezone(timedelta(hours=13)), timezone(-timedelta(hours=9, minutes=30))


def messages() -> dict[int, tuple[datetime, bytes]]:
    """By arrival: before, first second, in the middle (two zones), last second, after."""
    times = [-1, 0, 600, 1200, 3599, 3600]
    zones = [UTC, UTC, EAST, WEST, UTC, EAST]
    return {10 + n: ((START + timedelta(seconds=s)).astimezone(zone), MAIL + b"%d" % n)
            for n, (s, zone) in enumerate(zip(times, zones, strict=True))}  # fmt: skip


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with SERVER["running"](messages()) as server:
        connect(monkeypatch, server.port)
        yield server


def connect(monkeypatch: pytest.MonkeyPatch, port: int, **changes: Any) -> None:
    fields = {"conn_type": "imap", "host": "127.0.0.1", "port": port, "login": SERVER["LOGIN"],
              "password": SERVER["PASSWORD"], "extra": {"use_ssl": False}}  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_INTAKE_MAIL", json.dumps(fields | changes))


def read(**changes: Any) -> Any:
    body = {"kind": "mailbox", "name": "mails", "description": "x", "conn_id": "intake_mail", "timeout": "2s"}
    return read_mailbox(None, MailboxSource.model_validate(body | changes), HOUR)  # type: ignore[arg-type]


def test_the_mails_of_the_partitions_time_and_nothing_is_changed_there(box: Any) -> None:
    batch = read()
    assert batch.frame["name"].tolist() == [f"INBOX-7-{uid}.eml" for uid in (11, 12, 13, 14)]
    assert batch.frame["content"].tolist() == [MAIL + b"%d" % n for n in (1, 2, 3, 4)]
    assert [(at - START).total_seconds() for at in batch.frame["received_at"]] == [0, 600, 1200, 3599]
    assert set(batch.frame["channel"]) == {"mailbox"}
    assert batch.frame["problem"].isna().all()
    assert read().sha256 == batch.sha256
    assert {line.split(" ")[0] for line in box.commands} <= {"CAPABILITY", "LOGIN", "EXAMINE", "UID", "LOGOUT"}
    assert not [line for line in box.commands if "FETCH" in line and "PEEK" not in line and "INTERNALDATE" not in line]


def test_a_mail_that_is_too_large_is_not_fetched(box: Any) -> None:
    box.messages[12] = (box.messages[12][0], b"x" * 5000)
    frame = read(max_bytes=1000).frame.set_index("name")
    assert frame.loc["INBOX-7-12.eml", "problem"] == "too_large"
    assert frame.loc["INBOX-7-12.eml", "content"] is None
    assert frame.loc["INBOX-7-12.eml", "size"] == 5000
    assert not [line for line in box.commands if line.startswith("UID FETCH 12 (BODY")]
    box.mood = "wrong_size"
    assert read(max_bytes=1000).frame["problem"].notna().sum() == 1


@pytest.mark.parametrize("limit", [{"max_documents": 3}, {"max_batch_bytes": 3 * len(MAIL) + 5}])
def test_mails_that_a_partition_cannot_hold_are_left_out_singly(box: Any, limit: dict[str, int]) -> None:
    assert read(**limit).frame["problem"].tolist() == [None, None, None, "not_read"]
    assert not [line for line in box.commands if line.startswith("UID FETCH 14 (BODY")]


def test_a_mail_is_the_same_wherever_it_lies(box: Any) -> None:
    before = read().frame.set_index("content")["document_id"]
    box.messages = {90 - uid: said for uid, said in box.messages.items()}  # a mailbox that was moved or rebuilt
    after = read().frame.set_index("content")["document_id"]
    assert after.to_dict() == before.to_dict()


def test_no_mail_is_no_data(box: Any) -> None:
    box.messages.clear()
    with pytest.raises(NoData, match="no mail in INBOX of intake_mail"):
        read()


def test_many_mails(box: Any) -> None:
    box.messages.update({100 + n: (START + timedelta(seconds=n), b"%d" % n) for n in range(450)})
    assert len(read().frame) == 454


def test_an_arrival_of_no_zone_is_utc_wherever_the_worker_is(box: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        expected = read().frame["received_at"].tolist()
        box.mood = "no_zone"
        assert read().frame["received_at"].tolist() == expected
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("mood", "message"),
    [("drop_at_fetch", "UID FETCH: "), ("garbage", "no date and size for 6 messages"), ("tangle", "UID FETCH: ")],
)
def test_an_answer_that_is_none_is_an_error_with_the_place(box: Any, mood: str, message: str) -> None:
    box.mood = mood
    with pytest.raises(SourceError, match=rf"source mails, partition .* \(connection intake_mail\): imap .*{message}"):
        read()


def test_what_is_wrong_with_a_connection_is_said_without_its_password(
    box: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceError, match=r"EXAMINE .*: no such folder"):
        read(mailbox="Elsewhere")
    with pytest.raises(SourceError, match="modified UTF-7"):
        read(mailbox='IN" BOX')
    connect(monkeypatch, box.port, password="s3cret-wrong")
    with pytest.raises(SourceError, match="log-in refused") as refused:
        read()
    assert "s3cret" not in str(refused.value)
    connect(monkeypatch, 9)
    with pytest.raises(SourceError, match="no connection"):
        read()
    for change, message in (({"conn_type": "http"}, "needs type imap"), ({"extra": {"ssl": False}}, "extra holds ssl"),
                            ({"host": "imap://x"}, "intake_mail: connection: set host")):  # fmt: skip
        connect(monkeypatch, box.port, **change)
        with pytest.raises(BatonError, match=message):
            read()


def test_an_archive_tells_whether_it_holds_a_mail(box: Any) -> None:
    server = ImapServer("127.0.0.1", box.port, SERVER["LOGIN"], SERVER["PASSWORD"], ssl=False)
    assert holds(server, "INBOX", "key-1", 2.0) is True
    assert holds(server, "INBOX", "key-12", 2.0) is False
    assert holds(server, "Sent", "key-1", 2.0) is None
    assert "pass-w0rd" not in repr(server)
