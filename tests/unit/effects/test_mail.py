"""What a mail may hold, the message that is made of it, and the file outbox. No network."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baton.effects.mail import (
    EDITED,
    MACHINE,
    READ,
    disclosure,
    is_address,
    mail_payload,
    mail_problem,
    message,
    message_id,
)
from baton.effects.mail_folder import FileOutbox
from baton.effects.peer import Outcome
from baton.effects.smtp import MailServer
from baton.errors import BatonError

KEY = "mail-2026-11-16-" + "doc1-" * 12 + "babcee3967c83c7169e4b90dbe0ac541"
GOOD: dict[str, Any] = {"to": ["ada@example.org"], "subject": "Your enquiry", "body": "Good morning,\n\nall is well."}
SENDER, AT = "desk@bank.example", datetime(2026, 11, 16, 9, 30, tzinfo=UTC)


def parsed(payload: dict[str, Any]) -> EmailMessage:
    return message_from_bytes(message(KEY, payload, SENDER, AT), policy=SMTP)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"to": []}, "1 to 5 addresses, this is 0"),
        ({"to": [f"a{n}@example.org" for n in range(6)]}, "1 to 5 addresses, this is 6"),
        ({"to": "ada@example.org"}, "this is no list"),
        ({"to": ["ada@example.org", "ADA@example.org"]}, "stands there twice"),
        ({"to": ["Ada <ada@example.org>"]}, "number 1 is no bare address"),
        ({"to": ["ada@example.org\r\nBcc: eve@example.org"]}, "number 1 is no bare address"),
        ({"to": ["ada@example.org", "eve@example.org,bob@example.org"]}, "number 2 is no bare address"),
        ({"subject": " "}, "subject: should be a text of 1 to 250"),
        ({"subject": "x" * 251}, "subject: should be a text of 1 to 250"),
        ({"subject": "hello\nBcc: eve@example.org"}, "one line without control"),
        ({"subject": "hello\u2028Bcc: eve@example.org"}, "one line without control"),
        ({"subject": "hello\x00"}, "one line without control"),
        ({"subject": None}, "subject: should be"),
        ({"body": "\n"}, "body: should be a text"),
        ({"body": "x" * 100_001}, "body: should be a text"),
        ({"body": "a\x00b"}, "body: holds control"),
        ({"body": "half \ud800"}, "body: holds control"),
        ({"in_reply_to": "<a@b>\r\nBcc: eve@example.org"}, "1 fields are none of a mail"),
        ({"bcc": ["eve@example.org"]}, "1 fields are none of a mail"),
        ({"attachments": []}, "1 fields are none of a mail"),
        ({"written": "person"}, "written: should be one of machine, read, edited"),
        ({"written": ""}, "written: should be one of"),
        ({"language": "eve"}, "language: should be one of en, de, fr, nl"),
    ],
)
def test_what_a_mail_may_not_hold_is_refused_and_not_repeated(change: dict[str, Any], rule: str) -> None:
    said = mail_problem({**GOOD, **change}) or ""
    assert rule in said
    assert "eve" not in said
    if set(change) <= set(GOOD):
        with pytest.raises(BatonError, match="mail: ") as refused:
            mail_payload(**{**GOOD, **change})
        assert "eve" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        {"to": [f"a{n}@example.org" for n in range(5)]}, {"subject": "x" * 250}, {"body": "x" * 100_000},
        {"to": ["x" * 64 + "@b.org"]}, {"to": ["a@" + ".".join(["b" * 61] * 4) + ".org"]}, {"body": "a\tb\r\nc"},
    ],
)  # fmt: skip
def test_what_a_mail_may_hold_goes_up_to_the_limit(change: dict[str, Any]) -> None:
    assert mail_payload(**{**GOOD, **change}) == {**GOOD, **change}
    assert is_address("a@" + ".".join(["b" * 61] * 4) + ".org")
    assert len("a@" + ".".join(["b" * 61] * 4) + ".org") == 253
    assert is_address("aa@" + ".".join(["b" * 61] * 4) + ".org")
    assert not is_address("aaa@" + ".".join(["b" * 61] * 4) + ".org")


@pytest.mark.parametrize("text", ["a@b", "a@b..org", ".a@b.org", "a b@c.org", '"a b"@c.org', "ä@b.org", "a@bücher.org",
                                  "a@[127.0.0.1]", "a@-b.org", "x" * 65 + "@b.org", "a@b.org\n", "", None])  # fmt: skip
def test_what_is_no_address(text: object) -> None:
    assert not is_address(text)


def test_a_mail_is_known_by_its_key_and_stops_automata() -> None:
    mail = parsed(mail_payload(**GOOD))
    assert mail["Message-ID"] == message_id(KEY, SENDER) == f"<{KEY}@bank.example>"
    assert (mail["Auto-Submitted"], mail["From"], mail["Bcc"], mail["Cc"]) == ("auto-generated", SENDER, None, None)
    assert mail["Date"].datetime == AT


@pytest.mark.parametrize("language", ["en", "de", "fr", "nl", "", "xx", "nan"])
@pytest.mark.parametrize(
    ("written", "mark", "mode"),
    [
        (MACHINE, "yes", "mode=machine-generated"),
        (READ, "yes; approved-by=person", "mode=ai-originated"),
        (EDITED, "yes; edited-by=person", "mode=ai-originated"),
    ],
)
def test_every_mail_says_in_header_and_last_line_how_it_was_written(
    language: str, written: str, mark: str, mode: str
) -> None:
    payload = mail_payload(**GOOD, written=written, language=language)
    mail = parsed(payload)
    assert (mail.get_all("X-AI-Generated"), mail.get_all("AI-Disclosure")) == ([mark], [mode])
    last = cast("bytes", mail.get_payload(decode=True)).decode().rstrip("\r\n").splitlines()[-1]
    assert last == disclosure(payload)
    assert "AI" in last or "KI" in last or "IA" in last
    assert last.endswith(".")


@pytest.mark.parametrize("change", [{"written": None}, {"written": False}, {"written": "none"}, {"language": None}, {"language": []}])  # fmt: skip
def test_nothing_in_a_payload_leaves_the_line_out(change: dict[str, Any], tmp_path: Path) -> None:
    said = FileOutbox(tmp_path, SENDER).place(KEY, {**GOOD, **change})
    assert (said.kind, said.words.partition(":")[0]) == ("failed", next(iter(change)))
    assert not list(tmp_path.iterdir())


def test_a_text_that_ends_with_the_line_still_gets_its_own() -> None:
    payload = {**GOOD, "body": f"{GOOD['body']}\n\n{disclosure(GOOD)}"}
    assert parsed(payload).get_content().count(disclosure(GOOD)) == 2


_WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=250)


@settings(max_examples=30, deadline=None)
@given(subject=_WORDS.filter(str.strip), body=st.lists(_WORDS, min_size=1, max_size=5).map("\n.".join))
def test_any_text_arrives_as_it_was_in_seven_bits(subject: str, body: str) -> None:
    payload = {**GOOD, "subject": subject, "body": body if body.strip() else "x"}
    assert mail_problem(payload) is None
    raw = message(KEY, payload, SENDER, AT)
    assert raw.isascii()
    assert all(len(line) <= 998 and b"\n" not in line and b"\r" not in line for line in raw.split(b"\r\n"))
    mail = parsed(payload)
    assert list(mail.keys()).count("To") == 1
    assert "Bcc" not in mail
    assert mail["Subject"].split() == subject.split()
    got = cast("bytes", mail.get_payload(decode=True)).decode().replace("\r\n", "\n")
    assert got.rstrip("\n") == payload["body"].rstrip("\n") + f"\n\n{disclosure(payload)}"


def test_the_file_outbox_takes_a_name_once(tmp_path: Path) -> None:
    box = FileOutbox(tmp_path / "outbox" / "flow", SENDER)
    assert box.find(KEY, GOOD) == Outcome("absent")
    first = box.place(KEY, GOOD)
    path = box.folder / f"{KEY}.eml"
    held, inode = path.read_bytes(), path.stat().st_ino
    assert first.kind == "done"
    assert first.answer == {"message_id": f"<{KEY}@bank.example>", "peer": "file outbox", "file": path.name}
    assert box.place(KEY, GOOD) == box.find(KEY, GOOD) == first
    assert (path.read_bytes(), path.stat().st_ino) == (held, inode)
    other = {**GOOD, "body": "something else"}
    assert box.place(KEY, other).kind == box.find(KEY, other).kind == "conflict"
    assert "else" not in box.find(KEY, other).words.replace("another mail", "")
    assert [one.name for one in box.folder.iterdir()] == [path.name], "nothing unfinished is left"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(box.folder.stat().st_mode) == 0o700
    assert box.place("other", {**GOOD, "to": []}).kind == "failed"


def test_a_mail_is_on_the_disk_as_a_whole_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, int, list[str]]] = []

    def sync(descriptor: int) -> None:
        known = os.fstat(descriptor)
        names = sorted(path.suffix for path in tmp_path.iterdir())
        synced.append((stat.S_ISDIR(known.st_mode), known.st_size, names))

    monkeypatch.setattr(os, "fsync", sync)
    FileOutbox(tmp_path, SENDER).place(KEY, GOOD)
    size = (tmp_path / f"{KEY}.eml").stat().st_size
    assert synced[0] == (False, size, [".tmp"])
    assert [folder for folder, _, _ in synced] == [False, True], "then the folder, for the name"


def test_a_full_disk_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("a file where the folder should be")
    said = FileOutbox(tmp_path / "outbox", SENDER).place(KEY, GOOD)
    assert (said.kind, "cannot be written" in said.words) == ("later", True)


def test_a_mail_server_hides_its_password() -> None:
    assert "s3cret" not in repr(MailServer("mail.example", password="s3cret"))
    for host in ("", "smtp://mail.example", "ada@mail.example"):
        with pytest.raises(BatonError, match="set host to the mail server's name"):
            MailServer(host)
