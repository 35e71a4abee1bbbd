"""The stage that delivers mails, with Airflow connections: file outbox, mail server, archive; nothing personal leaks."""

from __future__ import annotations

import json
import logging
import runpy
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from baton.airflow.connections.lookup import AirflowConnections
from baton.airflow.connections.peers import mail_server
from baton.cli import outbox as cli_outbox
from baton.data.datasets import read
from baton.effects import outbox
from baton.effects.mail import mail_payload
from baton.effects.smtp import MailServer
from baton.errors import BatonError, SpecError
from baton.record import ledger, warehouse
from baton.stages import run as stages
from baton.stages.job import StageJob

PLACING: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "placing.py"))

HERE = Path(__file__).parent
MAIL: dict[str, Any] = runpy.run_path(str(HERE / "mail_server.py"))
IMAP: dict[str, Any] = runpy.run_path(str(HERE / "imap_server.py"))
FLOW, HOUR = "document_intake", "2026-11-16T09:00:00"
OPTIONS = {"effect": "mail", "conn_id": "outgoing", "timeout": 0.5, "rounds": 3, "pause": 0.01}
JOB = StageJob("customer_experience", FLOW, "deliver", HOUR, "baton.steps.deliver:deliver", options=OPTIONS,
               connections=AirflowConnections())  # fmt: skip
PERSONAL = ("ada.lovelace@", "Kontostand", "Lovelace")


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


@pytest.fixture
def post(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with MAIL["running"](tmp_path / "post") as server:
        connect(monkeypatch, port=server.port)
        yield server


def connect(monkeypatch: pytest.MonkeyPatch, conn_type: str = "smtp", **fields: Any) -> None:
    extra = {"from_email": "desk@bank.example", "disable_ssl": True, "disable_tls": True, **fields.pop("extra", {})}
    body = {"conn_type": conn_type, "host": "127.0.0.1", "extra": {k: v for k, v in extra.items() if v is not None}}
    monkeypatch.setenv("AIRFLOW_CONN_OUTGOING", json.dumps(body | fields))


def enqueue(*names: str) -> None:
    entries = [(name, mail_payload(["ada.lovelace@example.org"], f"Kontostand {name}", "Sehr geehrte Frau Lovelace"))
               for name in names]  # fmt: skip
    warehouse.transact(lambda conn: PLACING["enqueue"](conn, FLOW, HOUR, "mail", entries))


def files(home: Path) -> list[Path]:
    return sorted((home / "outbox").rglob("*.eml"))


def test_without_a_connection_mails_become_files_and_the_facts_say_so(home: Path) -> None:
    enqueue("doc1", "doc2")
    first = stages.run(JOB)
    assert first.facts == {"sent": 2, "already": 0, "adopted": 0, "failed": 0, "unknown": 0, "peer": "file outbox"}
    frame = read(first.ref)
    assert frame["receipt"].tolist() == [f"<{key}@baton.invalid>" for key in frame["key"]]
    assert [path.parent.relative_to(home / "outbox").as_posix() for path in files(home)] == [
        f"{FLOW}/2026-11-16T09-00-00"
    ] * 2
    assert (stages.run(JOB).facts["already"], stages.run(JOB).cached) == (2, True)
    assert len(files(home)) == 2
    sent = stages.run(replace(JOB, dry_run=True)).facts
    assert sent == {"sent": 0, "dry_run": True}


def test_a_file_connection_names_another_folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue("doc1")
    monkeypatch.setenv(
        "AIRFLOW_CONN_OUTGOING", json.dumps({"conn_type": "fs", "extra": {"path": str(tmp_path / "hand")}})
    )
    job = replace(JOB, options={**OPTIONS, "sender": "desk@bank.example", "required": True})
    assert stages.run(job).facts["peer"] == "file outbox"
    (path,) = (tmp_path / "hand").rglob("*.eml")
    assert b"From: desk@bank.example" in path.read_bytes()
    assert not files(home)


def test_a_flow_that_needs_a_connection_says_so(home: Path) -> None:
    enqueue("doc1")
    with pytest.raises(BatonError, match="there is none, and the stage's option `required` is set"):
        stages.run(replace(JOB, options={**OPTIONS, "required": True}))
    assert not files(home)


def test_a_mail_server_takes_each_once(home: Path, post: Any) -> None:
    enqueue("doc1", "doc2")
    facts = stages.run(JOB).facts
    assert (facts["sent"], facts["peer"]) == (2, "smtp")
    stages.run(JOB)
    assert set(post.counted().values()) == {1}
    assert not files(home)


def test_nothing_personal_leaves_mail_and_outbox(post: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="baton")
    post.plan = ["refuse_text", "drop_after_data"]
    enqueue("doc1", "doc2", "doc3")
    with pytest.raises(BatonError, match=r"of 3 effects `mail` 1 are delivered, 1 refused, 1 not yet") as undelivered:
        stages.run(JOB)
    baton_log = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("baton"))
    assert "doc1" in baton_log
    said = f"{undelivered.value} {baton_log} {ledger.entries()} {[one.error for one in outbox.effects(FLOW)]}"
    assert [word for word in PERSONAL if word in said] == []
    assert "doc" in str(undelivered.value)


def test_an_archive_settles_what_is_in_doubt(post: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue("doc1", "doc2")
    with IMAP["running"]({}, folder="Sent Items") as box:
        login = {"login": IMAP["LOGIN"], "password": IMAP["PASSWORD"], "extra": {"use_ssl": False}}
        monkeypatch.setenv(
            "AIRFLOW_CONN_SENT", json.dumps({"conn_type": "imap", "host": "127.0.0.1", "port": box.port} | login)
        )
        folder = {"archive": "sent", "archive_folder": "Sent Items", "archive_delay": "0"}
        connect(monkeypatch, port=post.port, extra=folder)
        post.plan = ["drop_after_data", "drop_in_data"]
        first = sorted(outbox.effects(FLOW, HOUR), key=lambda one: one.key)[0]  # the mail server files what it took
        box.messages[1] = (datetime.now(UTC), f"Message-ID: <{first.key}@bank.example>\r\n\r\nx".encode())
        facts = stages.run(JOB).facts
    assert (facts["sent"], facts["adopted"]) == (2, 1)
    assert set(post.counted().values()) == {1}
    assert len(post.counted()) == 2


def test_a_person_settles_what_is_in_doubt_on_the_command_line(post: Any) -> None:
    enqueue("doc1")
    post.plan = ["drop_after_data"]
    with pytest.raises(BatonError, match="baton outbox settle"):
        stages.run(JOB)
    command, (effect,) = CliRunner(), outbox.effects(FLOW)
    listed = command.invoke(cli_outbox.app, ["list", FLOW]).output
    assert f"unknown  mail  {HOUR}  doc1\n    {effect.key}\n    in doubt" in listed
    assert [word for word in PERSONAL if word in listed] == []
    said = command.invoke(cli_outbox.app, ["settle", effect.key, "--arrived", "--actor", "grace"]).output
    assert "document_intake/2026-11-16T09:00:00/doc1: on record as arrived; it is never sent again" in said
    assert "0 effects" in command.invoke(cli_outbox.app, ["list", FLOW]).output
    assert stages.run(JOB).facts["already"] == 1
    assert set(post.counted().values()) == {1}
    for key in (effect.key, "nothing"):
        again = command.invoke(cli_outbox.app, ["settle", key, "--send-again"])
        assert isinstance(again.exception, BatonError)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"conn_id": ""}, "option conn_id is missing"), ({"archive": "x"}, "unknown option archive"),
     ({"sender": "Desk <desk@bank.example>"}, "option sender is no bare address"),
     ({"receipt": "id"}, "option endpoint is missing"), ({"endpoint": "x", "receipt": "id", "sender": "y"}, "unknown option sender")],
)  # fmt: skip
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        stages.run(replace(JOB, options={**OPTIONS, **options}))


# --- connections ---


def test_an_smtp_connection_says_what_airflows_own_provider_would(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(**fields: Any) -> MailServer:
        connect(monkeypatch, **fields)
        server = mail_server("outgoing")
        assert isinstance(server, MailServer)
        return server

    assert found(extra={"disable_ssl": False}).tls == "implicit"
    assert found(extra={"disable_ssl": "true", "disable_tls": "False"}).tls == "starttls"
    assert found().tls == "none"
    form = {"timeout": 30, "retry_limit": 5, "auth_type": "basic", "subject_template": "", "access_token": None}
    assert found(extra=form) == found()
    made = found(
        login="ada@bank.example",
        password="pass",
        port=587,
        extra={"from_email": None, "ssl_context": "none", "repeat": True},
    )
    assert (made.sender, made.login, made.password, made.port) == ("ada@bank.example", "ada@bank.example", "pass", 587)
    assert (made.verify, made.repeat, made.archive_delay) == (False, True, 600.0)
    assert found(extra={"archive_delay": 90}).archive_delay == 90.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"conn_type": "http"}, "need type smtp or file, this is http"), ({"host": ""}, "outgoing: .*set host"),
     ({"extra": {"token": "s3cret"}}, "extra holds token"), ({"extra": {"from_email": "Desk <s3cret@x.org>"}}, "no bare address"),
     ({"extra": {"disable_tls": "s3cret"}}, "extra.disable_tls should be true or false"),
     ({"extra": {"archive_delay": "s3cret"}}, "extra.archive_delay should be seconds, 0 to 86400"),
     ({"extra": {"archive_delay": "nan"}}, "extra.archive_delay should be seconds"),
     ({"extra": {"auth_type": "oauth2"}}, "auth_type should be basic"), ({"extra": {"scope": "s3cret"}}, "extra holds scope"),
     ({"extra": {"repeat": True, "archive": "sent"}}, "keep one")],
)  # fmt: skip
def test_a_connection_that_cannot_work_is_explained(monkeypatch: pytest.MonkeyPatch, fields: Any, message: str) -> None:
    imap = {"conn_type": "imap", "host": "127.0.0.1"}
    monkeypatch.setenv("AIRFLOW_CONN_SENT", json.dumps(imap))
    connect(monkeypatch, **fields)
    with pytest.raises(BatonError, match=message) as refused:
        mail_server("outgoing")
    assert "s3cret" not in str(refused.value)


def test_a_mail_needs_a_sender(post: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, port=post.port, extra={"from_email": None})
    enqueue("doc1")
    with pytest.raises(BatonError, match="say who the mails come from"):
        stages.run(JOB)
    assert stages.run(replace(JOB, options={**OPTIONS, "sender": "desk@bank.example"})).facts["sent"] == 1
