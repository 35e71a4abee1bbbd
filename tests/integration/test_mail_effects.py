"""Mails arrive at a real SMTP server, and in the file outbox, exactly once or not at all, whatever happens.

In every test the mails are counted where the server or the disk keeps them.
"""

from __future__ import annotations

import os
import runpy
import signal
import smtplib
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from baton.effects import outbox
from baton.effects.delivery import Delivery, decide, deliver
from baton.effects.mail import disclosure, mail_payload
from baton.effects.mail_folder import FileOutbox
from baton.effects.smtp import MailServer, SmtpPeer
from baton.errors import BatonError
from baton.record import ledger, tables, warehouse

PLACING: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "placing.py"))
SERVER: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("mail_server.py")))
FLOW, HOUR, SENDER = "document_intake", "2026-11-16T09:00:00", "desk@bank.example"
QUICK: dict[str, Any] = {"pause": 0.01, "lease": 3.0}
WORDS = "Zahlungsaufschub"  # in every body: must be nowhere but in the mail and the outbox


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Any]:
    with SERVER["running"](tmp_path / "post") as server:
        yield server


def mail(number: int, *to: str) -> tuple[str, dict[str, Any]]:
    body = f"Guten Tag,\n\n.{WORDS} Nummer {number} für Äpfel\n..\n.\n" + "lang " * 300
    return f"doc{number}", mail_payload(to or (f"ada{number}@example.org",), f"Ihre Anfrage № {number}", body)


def enqueue(*entries: tuple[str, dict[str, Any]]) -> outbox.Enqueued:
    return warehouse.transact(lambda conn: PLACING["enqueue"](conn, FLOW, HOUR, "mail", entries))


def send(post: Any, server: dict[str, Any] | None = None, timeout: float = 0.5, **options: Any) -> Delivery:
    given = {"host": "127.0.0.1", "port": post.port, "tls": "none", "sender": SENDER, **(server or {})}
    with SmtpPeer(MailServer(**given), timeout=timeout) as peer:
        return deliver("mail", peer, FLOW, HOUR, **{**QUICK, **options})


def key(number: int) -> str:
    return outbox.key_of(FLOW, HOUR, f"doc{number}", "mail")


def once(*numbers: int) -> Counter[str]:
    return Counter(key(number) for number in numbers)


def states() -> dict[str, str]:
    return {effect.entity_key: effect.state for effect in outbox.effects(FLOW, HOUR)}


# --- one fault at a time ---


def test_a_smooth_delivery_uses_one_connection_and_leaves_the_text_as_it_was(post: Any) -> None:
    enqueue(mail(1), mail(2, "ada@example.org", "bob@example.org"))
    assert send(post) == Delivery(2, 0, 0, 0, 0, [], [])
    assert post.counted() == once(1, 2)
    first, second = sorted(post.taken(), key=lambda one: len(one["to"]))
    assert (first["from"], first["to"]) == (SENDER, ["ada1@example.org"])
    assert sorted(second["to"]) == ["ada@example.org", "bob@example.org"]
    assert first["text"].isascii()
    assert max(map(len, first["text"].splitlines())) <= 998
    got = next(one for one in post.mails() if one["To"] == "ada1@example.org")
    assert got["Subject"] == "Ihre Anfrage № 1"
    wanted = mail(1)[1]
    assert got.get_content().replace("\r\n", "\n") == wanted["body"].rstrip("\n") + f"\n\n{disclosure(wanted)}\n"
    assert got["X-AI-Generated"] == "yes"
    assert got["Bcc"] is None
    effect = outbox.effects(FLOW, HOUR)[0]
    assert effect.answer is not None
    assert effect.answer["message_id"] == f"<{effect.key}@bank.example>"
    assert send(post).already == 2
    assert post.counted() == once(1, 2)
    assert ledger.verify().ok


@pytest.mark.parametrize("mood", ["drop_before_data", "greylist", "busy"])
def test_what_was_certainly_not_taken_is_sent_again(post: Any, mood: str) -> None:
    post.plan = [mood]
    enqueue(mail(1), mail(2))
    done = send(post)
    assert (done.sent, done.unknown, done.failed) == (2, 0, 0)
    assert post.counted() == once(1, 2)
    assert done.degraded


@pytest.mark.parametrize("mood", ["drop_after_data", "drop_in_data", "slow"])
def test_what_is_in_doubt_is_never_sent_again_until_a_person_says_so(post: Any, mood: str) -> None:
    post.plan = [mood]
    enqueue(mail(1), mail(2))
    for _ in range(2):
        done = send(post)
        assert done.unknown == 1
        assert "in doubt" in done.problems[0]
        assert "baton outbox settle" in done.problems[0]
    assert sorted(states().values()) == ["sent", "unknown"]
    assert max(post.counted().values()) == 1
    assert post.seen == 2
    (name,) = [entity for entity, state in states().items() if state == "unknown"]
    number = int(name[3:])
    with pytest.raises(BatonError, match="not in doubt"):
        decide(key(3 - number), arrived=True, by="ada")
    arrived = mood != "drop_in_data"
    decide(key(number), arrived=arrived, by="ada")
    assert send(post).sent == (0 if arrived else 1)
    assert post.counted() == once(1, 2)
    (entry,) = ledger.entries(kind="effect_decided")
    assert entry.payload == {"key": key(number), "arrived": arrived, "by": "ada"}
    assert set(states().values()) == {"sent"}
    assert ledger.verify().ok


def test_in_doubt_with_repeat_it_goes_out_again_under_the_same_message_id(post: Any) -> None:
    post.plan = ["drop_after_data"]
    enqueue(mail(1))
    assert send(post, {"repeat": True}).sent == 1
    assert post.counted() == Counter({key(1): 2}), "the connection says that the receiver drops a repetition"


@pytest.mark.parametrize("mood", ["drop_after_data", "drop_in_data"])
def test_in_doubt_with_an_archive_it_is_looked_up(post: Any, mood: str) -> None:
    post.plan, answers = [mood], [None, mood == "drop_after_data"]
    enqueue(mail(1))
    done = send(post, {"archive": lambda key, timeout: answers.pop(0), "archive_delay": 0.0})
    assert (done.sent, done.adopted) == (1, int(mood == "drop_after_data"))
    assert post.counted() == once(1)


@pytest.mark.parametrize("filed", [True, False])
def test_an_archive_may_be_late_so_what_it_lacks_is_repeated_only_after_a_while(post: Any, filed: bool) -> None:
    post.plan = ["drop_after_data" if filed else "drop_in_data"]
    enqueue(mail(1))
    known = False
    server = {"archive": lambda key, timeout: known}
    for _ in range(2):
        done = send(post, server, rounds=3)
        assert (done.sent, done.unknown) == (0, 1)
        assert "in doubt: not found, but it may be filed late: ask again in" in done.problems[0]
    assert post.seen == 1
    (effect,) = outbox.effects(FLOW, HOUR)
    assert effect.answer is not None
    known = filed
    if not filed:  # asking did not make the attempt younger: ten minutes after it, it is repeated
        said = datetime.fromisoformat(effect.answer["in_doubt_since"])
        assert said < datetime.now(UTC)
        earlier = (said - timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        with warehouse.write() as conn:
            conn.execute(tables.outbox.update().values(answer={"in_doubt_since": earlier}))
    done = send(post, server)
    assert (done.sent, done.adopted) == (1, int(filed))
    assert post.counted() == once(1)


def test_a_killed_worker_counts_as_at_it_until_its_lease_ended(post: Any) -> None:
    enqueue(mail(1))
    killed(str(post.port), "posted")
    server = {"archive": lambda key, timeout: False, "archive_delay": 60.0}
    assert send(post, server, rounds=2).unknown == 1
    assert post.counted() == once(1)


def test_a_refusal_is_kept_without_address_and_stops_no_other_mail(post: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, connect = [], smtplib.SMTP.connect
    monkeypatch.setattr(smtplib.SMTP, "connect", lambda *args, **named: opened.append(1) or connect(*args, **named))
    post.plan = ["refuse", "refuse_text"]
    enqueue(mail(1, "ada@example.org", "gone@example.org"), mail(2, "gone@example.org"), mail(3))
    done = send(post)
    assert (done.sent, done.failed, len(opened)) == (1, 2, 1), "the connection is good for the mails behind it"
    assert post.seen == 3
    said = f"{done} {[effect.error for effect in outbox.effects(FLOW, HOUR)]} {ledger.entries()}"
    assert "550 5.1.1 about an address" in said
    assert "554 5.7.1 about security or policy" in said
    assert "@example.org" not in said
    assert WORDS not in said
    assert "lang" not in said
    assert send(post).sent == 2, "what the server refused may be tried again: it has it for certain not"
    assert post.counted() == once(1, 2, 3)


def test_an_invalid_payload_is_refused_before_anything_is_sent(post: Any) -> None:
    entity, payload = mail(1)
    enqueue((entity, {**payload, "subject": "hello\r\nBcc: eve@example.org"}), mail(2))
    done = send(post)
    assert (done.sent, done.failed) == (1, 1)
    assert "one line without control characters" in done.problems[0]
    assert "eve" not in str(done)
    assert post.counted() == once(2)


def test_a_server_that_is_down_or_closed_meanwhile(post: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Noted(smtplib.SMTP):
        def connect(self, *arguments: Any, **options: Any) -> Any:
            clients.append(self)
            return super().connect(*arguments, **options)

    clients: list[smtplib.SMTP] = []
    monkeypatch.setattr(smtplib, "SMTP", Noted)
    enqueue(mail(1))
    done = send(post, {"port": 9}, rounds=2)
    assert "no connection" in done.problems[0]
    assert states() == {"doc1": "pending"}
    peer = SmtpPeer(MailServer("127.0.0.1", post.port, "none", sender=SENDER), timeout=0.5)
    with peer:
        assert deliver("mail", peer, FLOW, HOUR, **QUICK).sent == 1
        assert clients[-1].sock is not None
        clients[-1].sock.close()  # idle for too long
        enqueue(mail(1), mail(2))
        assert deliver("mail", peer, FLOW, HOUR, **QUICK) == Delivery(1, 1, 0, 0, 0, [], [])
    assert post.counted() == once(1, 2)


# --- log-in and encryption ---


def test_log_in_over_tls(tmp_path: Path) -> None:
    context, authority = tls(tmp_path)
    with SERVER["running"](tmp_path / "post", auth=True, context=context) as post:
        enqueue(mail(1), mail(2))
        login = {"tls": "starttls", "login": SERVER["LOGIN"], "password": SERVER["PASSWORD"]}
        done = send(post, login, rounds=3)
        assert "certificate" in str(done.problems)
        assert post.seen == 0
        wrong = send(post, {**login, "password": "s3cret-wrong", "verify": False}, rounds=3)
        assert "log-in refused (535 5.7.8 bad password ***)" in str(wrong.problems)
        assert "s3cret" not in str(wrong)
        assert post.logins <= 2, "both ways to log in, once: a wrong password is not tried for every mail"
        assert set(states().values()) == {"pending"}
        os.environ["SSL_CERT_FILE"] = str(authority)
        try:
            assert send(post, {**login, "host": "localhost"}).sent == 2
        finally:
            del os.environ["SSL_CERT_FILE"]
        assert post.counted() == once(1, 2)


def test_without_starttls_nothing_goes_in_the_clear(post: Any) -> None:
    enqueue(mail(1))
    done = send(post, {"tls": "starttls", "login": "desk", "password": "pass-word"})
    assert "STARTTLS" in done.problems[0]
    assert (post.seen, post.logins) == (0, 0)


def tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A context with a certificate for localhost that signs itself."""
    cert, private = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", private, "-out", cert, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, private)
    return context, cert


# --- killed workers ---

WORKER = """
import os, signal, sys
from pathlib import Path
from baton.effects import delivery
from baton.effects.mail_folder import FileOutbox
from baton.effects.smtp import MailServer, SmtpPeer
where, point = sys.argv[1:]
def fault(name):
    if name == point:
        os.kill(os.getpid(), signal.SIGKILL)
delivery.FAULT = fault
sender = "desk@bank.example"
peer = SmtpPeer(MailServer("127.0.0.1", int(where), "none", sender=sender)) if where.isdigit() else FileOutbox(Path(where), sender)
with peer:
    print(delivery.deliver("mail", peer, "document_intake", "2026-11-16T09:00:00", pause=0.01, lease=0.5))
"""
POINTS = ["claimed", "posted", "before_commit", "settled"]


def killed(where: str, point: str) -> None:
    done = subprocess.run([sys.executable, "-c", WORKER, where, point], env=dict(os.environ), capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_worker_leaves_one_file(tmp_path: Path, point: str) -> None:
    folder = tmp_path / "out"
    enqueue(mail(1), mail(2))
    killed(str(folder), point)
    peer = FileOutbox(folder, SENDER)
    done = deliver("mail", peer, FLOW, HOUR, **QUICK)
    assert (done.sent + done.already, done.unknown, done.failed) == (2, 0, 0)
    assert done.adopted == (point in ("posted", "before_commit"))
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{key(number)}.eml" for number in (1, 2))
    assert set(states().values()) == {"sent"}


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_worker_never_makes_two_mails(post: Any, point: str) -> None:
    enqueue(mail(1), mail(2))
    killed(str(post.port), point)
    before = post.counted()
    assert sum(before.values()) == (0 if point == "claimed" else 1)
    done = send(post, lease=0.5, rounds=3)
    if point == "settled":
        assert (done.sent, done.already, done.unknown) == (1, 1, 0)
        assert post.counted() == once(1, 2)
        return
    assert (done.sent, done.unknown) == (1, 1), "the one that was under way is in doubt, the other one is sent"
    assert max(post.counted().values()) == 1
    (doubtful,) = [effect for effect in outbox.effects(FLOW, HOUR) if effect.state == "unknown"]
    decide(doubtful.key, arrived=before[doubtful.key] == 1, by="ada")
    send(post)
    assert post.counted() == once(1, 2)
