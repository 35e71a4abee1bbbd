"""SQL and HTTP sources through Airflow connections: a real SQLite, Postgres where its binaries are, a real HTTP server."""

from __future__ import annotations

import base64
import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from baton.airflow.connections.readers import read_http, read_sql
from baton.errors import NoData, SourceError
from baton.specs.source import HttpSource, SqlSource

HOUR = "2026-11-20T09:00:00"
QUERY = "SELECT id, amount, at FROM payments WHERE at >= :start AND at < :end ORDER BY id"
ROWS = [(1, 10.5, "2026-11-20 09:00:00"), (2, None, "2026-11-20 09:59:59"), (3, 7.0, "2026-11-20 10:00:00")]


def sql(**fields: Any) -> SqlSource:
    return SqlSource.model_validate({"kind": "sql", "name": "payments", "description": "x", "conn_id": "baton_db",
                                     "query": QUERY, **fields})  # fmt: skip


@pytest.fixture
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "payments.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE payments (id INTEGER, amount REAL, at TEXT)")
        db.executemany("INSERT INTO payments VALUES (?, ?, ?)", ROWS)
    monkeypatch.setenv("AIRFLOW_CONN_BATON_DB", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    return path


def test_sql_reads_the_partitions_window_only(sqlite: Path) -> None:
    batch = read_sql(None, sql(), HOUR)  # type: ignore[arg-type]
    assert batch.frame["id"].tolist() == ["1", "2"]
    assert batch.frame["amount"].tolist() == ["10.5", None]
    assert batch.format == "sql"
    assert read_sql(None, sql(), HOUR).sha256 == batch.sha256  # type: ignore[arg-type]


def test_sql_chunks_give_the_same_rows(sqlite: Path) -> None:
    assert read_sql(None, sql(chunk_rows=1), HOUR).frame["id"].tolist() == ["1", "2"]  # type: ignore[arg-type]


def test_sql_says_what_the_database_said(sqlite: Path) -> None:
    broken = sql(query=QUERY.replace("payments", "payment"))
    with pytest.raises(SourceError, match=r"source payments \(connection baton_db\).*no such table: payment"):
        read_sql(None, broken, HOUR)  # type: ignore[arg-type]


def test_sql_without_rows_is_no_data(sqlite: Path) -> None:
    with pytest.raises(NoData, match="no rows"):
        read_sql(None, sql(), "2026-11-21T09:00:00")  # type: ignore[arg-type]


def test_sql_reads_postgres_with_its_own_types(postgres: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlalchemy as sa

    with sa.create_engine(postgres.url).begin() as db:
        db.execute(sa.text("CREATE TABLE payments (id bigint, amount numeric(10,2), at timestamp)"))
        db.execute(sa.text("INSERT INTO payments VALUES (:id, :amount, :at)"),
                   [{"id": i, "amount": a, "at": at} for i, a, at in ROWS])  # fmt: skip
    connection = {"conn_type": "postgres", "login": "baton", "schema": "baton", "host": str(postgres.folder)}
    monkeypatch.setenv("AIRFLOW_CONN_BATON_DB", json.dumps(connection))
    batch = read_sql(None, sql(), HOUR)  # type: ignore[arg-type]
    assert batch.frame["id"].tolist() == ["1", "2"]
    assert batch.frame["amount"].tolist() == ["10.50", None]
    assert batch.frame["at"].tolist() == ["2026-11-20T09:00:00", "2026-11-20T09:59:59"]


class Payments(BaseHTTPRequestHandler):
    """An interface with pages, log-in and moods: `plan` holds the statuses of the next answers."""

    plan: ClassVar[list[int]] = []
    seen: ClassVar[list[dict[str, list[str]]]] = []
    rows: ClassVar[list[dict[str, float]]] = [{"id": n, "amount": n / 2} for n in range(5)]

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        type(self).seen.append(query)
        expected = "Basic " + base64.b64encode(b"baton:secret").decode()
        if self.headers.get("Authorization") != expected:
            return self._answer(401, {"error": "log in"})
        if type(self).plan and (status := type(self).plan.pop(0)) != 200:
            return self._answer(status, {"error": "mood"})
        page, size = int(query.get("page", ["1"])[0]), int(query.get("size", ["2"])[0])
        return self._answer(200, {"data": {"items": self.rows[(page - 1) * size : page * size]}})

    def _answer(self, status: int, payload: Any) -> None:
        body = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def http(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Payments]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Payments)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Payments.plan, Payments.seen = [], []
    connection = {"conn_type": "http", "host": "127.0.0.1", "port": server.server_address[1], "schema": "http",
                  "login": "baton", "password": "secret"}  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_BATON_API", json.dumps(connection))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield Payments
    server.shutdown()
    server.server_close()


def api(**fields: Any) -> HttpSource:
    return HttpSource.model_validate({
        "kind": "http", "name": "payments", "description": "x", "conn_id": "baton_api", "endpoint": "v1/payments",
        "params": {"from": "{start}", "to": "{end}"}, "records": "data.items",
        "paging": {"by": "page", "param": "page", "size_param": "size", "size": 2},
        "retry": {"attempts": 3, "wait": "1s"}, **fields,
    })  # fmt: skip


def test_http_reads_all_pages_with_the_log_in_of_the_connection(http: type[Payments]) -> None:
    batch = read_http(None, api(), HOUR)  # type: ignore[arg-type]
    assert batch.frame["id"].tolist() == ["0", "1", "2", "3", "4"]
    assert http.seen[0]["from"] == ["2026-11-20T09:00:00Z"]
    assert [query["page"] for query in http.seen] == [["1"], ["2"], ["3"], ["4"]]


def test_http_retries_what_is_worth_it(http: type[Payments]) -> None:
    http.plan = [503, 200]
    assert len(read_http(None, api(), HOUR).frame) == 5  # type: ignore[arg-type]


def test_http_gives_up_with_the_reason(http: type[Payments]) -> None:
    http.plan = [503, 503, 503]
    with pytest.raises(SourceError, match=r"source payments \(connection baton_api\), page 1: 503.*after 3 tries"):
        read_http(None, api(), HOUR)  # type: ignore[arg-type]


def test_http_does_not_retry_a_refusal(http: type[Payments], monkeypatch: pytest.MonkeyPatch) -> None:
    http.plan = [404]
    with pytest.raises(SourceError, match=r"404.*not worth another try"):
        read_http(None, api(), HOUR)  # type: ignore[arg-type]
    assert len(http.seen) == 1


def test_http_names_a_wrong_path_to_the_rows(http: type[Payments]) -> None:
    with pytest.raises(SourceError, match="partition 2026-11-20T09:00:00, page 1: records: nothing at `rows`"):
        read_http(None, api(records="rows"), HOUR)  # type: ignore[arg-type]


def test_http_brings_documents_that_the_intake_reads(http: type[Payments], monkeypatch: pytest.MonkeyPatch) -> None:
    from baton_packs.customer_experience.intake.parse import parse

    mail = b"From: Ann <ann@example.org>\r\nSubject: My order\r\n\r\nWhere is the order that I placed last week, please?\r\n"
    kept = [
        ("one.eml", mail),
        ("two.txt", b"Please cancel my subscription at the end of this month, thank you."),
        ("cut.pdf", b"%PDF-1.7"),
    ]
    monkeypatch.setattr(http, "rows", [
        {"name": name, "body": base64.b64encode(content).decode(), "at": "2026-11-20T09:05:00Z"} for name, content in kept
    ])  # fmt: skip
    fields = {"name": "name", "content": "body", "received_at": "at"}
    batch = read_http(None, api(documents=fields), HOUR)  # type: ignore[arg-type]
    assert dict(zip(batch.frame["name"], batch.frame["content"], strict=True)) == dict(kept)
    assert batch.frame["received_at"].astype(str).unique().tolist() == ["2026-11-20 09:05:00+00:00"]
    parsed = parse(batch.frame).set_index("name")
    assert parsed.loc["one.eml", ["sender", "subject", "media"]].tolist() == ["ann@example.org", "My order", "mail"]
    assert "cancel my subscription" in parsed.loc["two.txt", "text"]
    assert parsed["problem"].fillna("").to_dict() == {"one.eml": "", "two.txt": "", "cut.pdf": "damaged"}
