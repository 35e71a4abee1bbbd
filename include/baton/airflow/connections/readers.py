"""Readers of SQL and HTTP sources and of mailboxes: address, log-in and secrets stay in Airflow connections.

Cells go on as text, as from any text format: the
contract types them, and a cell that does not convert is quarantined with its row instead of failing the query.
Documents go on as bytes.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
import tenacity
from airflow.sdk import BaseHook
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from baton.data.formats import frame_of_records
from baton.data.partitions import window
from baton.errors import BatonError, NoData, SourceError
from baton.packs.pack import Pack
from baton.sources.documents import BatchLimits, of_records
from baton.sources.documents import digest as digest_of_documents
from baton.sources.imap import ImapFolder, ImapServer
from baton.sources.mailbox import read_mails
from baton.sources.paging import PageRequest, first_page, next_page, records_at, sql_parameters
from baton.sources.reading import RawBatch
from baton.sources.received import LargeRows, Received
from baton.specs.source import DocumentFields, HttpSource, MailboxSource, SqlSource


def imap_server(conn_id: str) -> ImapServer:
    """Return address and log-in of an IMAP connection: host, port, login, password; extra `use_ssl`, `ssl_context`.

    Raises:
        BatonError: it is of another type, or its fields cannot work; never repeats a secret.
        AirflowNotFoundException: there is no such connection.
    """
    connection = BaseHook.get_connection(conn_id)
    if connection.conn_type != "imap":
        raise BatonError(f"connection {conn_id}: a mailbox needs type imap, this is {connection.conn_type}")
    extra: dict[str, Any] = connection.extra_dejson
    if unknown := sorted(set(extra) - {"use_ssl", "ssl_context"}):
        raise BatonError(f"connection {conn_id}: extra holds {', '.join(unknown)}; known are use_ssl, ssl_context")
    encrypted = str(extra.get("use_ssl", True)).lower() != "false"
    verify = extra.get("ssl_context", "default") != "none"
    try:
        return ImapServer(
            connection.host or "", connection.port or 0, connection.login or "", connection.password or "", encrypted, verify
        )  # fmt: skip
    except BatonError as error:
        raise BatonError(f"{conn_id}: {error}") from error


def read_sql(pack: Pack, source: SqlSource, partition: str) -> RawBatch | LargeRows:
    """Run the source's SELECT with the partition's window bound as :start and :end.

    Raises:
        SourceError: the connection or the query fails; carries the database's own words.
        NoData: the window holds no rows.
    """
    hook, received = BaseHook.get_hook(source.conn_id), Received()
    try:
        with hook.get_sqlalchemy_engine().connect().execution_options(stream_results=True) as connection:
            result = connection.execute(text(source.query), sql_parameters(source, partition)).mappings()
            for chunk in result.partitions(source.chunk_rows):
                received.add(chunk)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise SourceError(
            f"source {source.name} (connection {source.conn_id}), partition {partition}: {reason}"
        ) from error
    return _batch(received, f"{source.conn_id}:{partition}", "sql", source.name, partition)


def read_http(pack: Pack, source: HttpSource, partition: str) -> RawBatch | LargeRows:
    """Ask for the partition page by page; each page is retried as the source's spec says.

    Raises:
        SourceError: no answer after all tries, an error status, a redirect, more than the source's `max_batch_bytes`, or
            an answer that is not what the spec says.
        NoData: the answer holds no rows.
    """
    pages = (rows for _, rows in _pages(source, partition))
    if source.documents is not None and (records := [row for rows in pages for row in rows]):
        return _documents(source, source.documents, partition, records)
    received = Received()
    for rows in pages:
        received.add(rows)
    return _batch(received, f"{source.conn_id}/{source.endpoint}", "http", source.name, partition)


def _documents(source: HttpSource, fields: DocumentFields, partition: str, records: list[dict[str, Any]]) -> RawBatch:
    where, start = f"source {source.name}, partition {partition}", window(partition, source.step)[0]
    frame = of_records(records, fields, start, where, BatchLimits(max_bytes=fields.max_bytes))
    return RawBatch(frame, "http", f"{source.conn_id}/{source.endpoint}", digest_of_documents(frame))


def read_mailbox(pack: Pack, source: MailboxSource, partition: str) -> RawBatch:
    """Read the mails that arrived in the partition's time; they stay as they are, also unseen.

    Raises:
        SourceError: no connection, log-in or folder refused.
        NoData: no mail arrived then.
    """
    (start, end), where = window(partition, source.step), f"source {source.name}, partition {partition}"
    limits = BatchLimits(source.max_bytes, source.max_documents, source.max_batch_bytes)
    try:
        with ImapFolder(imap_server(source.conn_id), source.mailbox, source.timeout.total_seconds()) as folder:
            frame = read_mails(folder, start, end, limits)
    except SourceError as error:
        if str(error).startswith(where):
            raise
        raise SourceError(f"{where} (connection {source.conn_id}): {error}") from error
    if frame.empty:
        raise NoData(f"{where}: no mail in {source.mailbox} of {source.conn_id}")
    return RawBatch(frame, "mailbox", f"{source.conn_id}/{source.mailbox}", digest_of_documents(frame))


def _pages(source: HttpSource, partition: str) -> Iterator[tuple[PageRequest, list[dict[str, Any]]]]:
    from airflow.providers.http.hooks.http import HttpHook

    hook = HttpHook(method="GET", http_conn_id=source.conn_id)
    page: PageRequest | None = first_page(source, partition)
    left = source.max_batch_bytes
    while page is not None:
        body = _get(hook, source, page, left)
        left -= len(body)
        try:
            payload = json.loads(body)
        except ValueError as error:
            raise SourceError(f"source {source.name}, page {page.number}: the answer is no JSON: {error}") from error
        try:
            rows = records_at(payload, source.records)
            following = next_page(source, page, payload, rows, str(hook.base_url))
        except SourceError as error:
            raise SourceError(f"source {source.name}, partition {partition}, page {page.number}: {error}") from error
        yield page, rows
        page = following


def _get(hook: Any, source: HttpSource, page: PageRequest, most: int) -> bytes:
    """The body of one page, of at most so many bytes; a redirect is none, since log-in and headers would go along."""
    where = f"source {source.name} (connection {source.conn_id}), page {page.number}"
    # whatever the connection's extra says: what is passed here comes first
    options = {
        "timeout": source.timeout.total_seconds(),
        "check_response": False,
        "allow_redirects": False,
        "stream": True,
    }

    def worth_another_try(error: BaseException) -> bool:
        response = getattr(error, "response", None)
        if response is not None:
            return response.status_code in source.retry.statuses
        return isinstance(error, requests.ConnectionError | requests.Timeout)

    def ask() -> bytes:
        answer: requests.Response = hook.run(page.endpoint, data=page.params, extra_options=options)
        with answer:
            answer.raise_for_status()
            if answer.status_code >= 300:
                there = urlsplit(answer.headers.get("Location", "")).netloc or "the same host"
                raise SourceError(f"{where}: {answer.status_code}, a redirect to {there}: not followed, because the log-in "
                                  "would go along; give the connection the final address")  # fmt: skip
            body = bytearray()
            for chunk in answer.iter_content(1 << 16):
                body += chunk
                if len(body) > most:
                    raise SourceError(f"{where}: more than {source.max_batch_bytes:,} bytes in a partition; ask for less "
                                      "at a time, or raise the source's max_batch_bytes")  # fmt: skip
            return bytes(body)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(worth_another_try), stop=tenacity.stop_after_attempt(source.retry.attempts),
        wait=tenacity.wait_exponential(multiplier=source.retry.wait.total_seconds()), reraise=True,
    )  # fmt: skip
    try:
        return retrying(ask)
    except requests.RequestException as error:
        tries = f"after {source.retry.attempts} tries" if worth_another_try(error) else "not worth another try"
        raise SourceError(f"{where}: {error} ({tries})") from error


def _batch(received: Received, uri: str, kind: str, source: str, partition: str) -> RawBatch | LargeRows:
    if many := received.many(kind, uri):
        return many
    if not received.few:
        raise NoData(f"source {source}, partition {partition}: no rows from {uri}")
    return RawBatch(frame_of_records(received.few, source), kind, uri, received.sha256)
