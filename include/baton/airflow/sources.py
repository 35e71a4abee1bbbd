"""Readers of SQL and HTTP sources: address, log-in and secrets stay in Airflow connections.

Importing this module registers both with `baton.sources`. Cells go on as text, as from any text format: the
contract types them, and a cell that does not convert is quarantined with its row instead of failing the query.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from baton.errors import NoData, SourceError
from baton.sources import RawBatch, register_reader

if TYPE_CHECKING:
    from baton.packs import Pack
    from baton.source_requests import Page
    from baton.specs import HttpSource, SqlSource


def read_sql(pack: Pack, source: SqlSource, partition: str) -> RawBatch:
    """Run the source's SELECT with the partition's window bound as :start and :end.

    Raises:
        SourceError: the connection or the query fails; carries the database's own words.
        NoData: the window holds no rows.
    """
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    from baton.source_requests import digest, sql_parameters

    hook = BaseHook.get_hook(source.conn_id)
    records: list[dict[str, Any]] = []
    try:
        with hook.get_sqlalchemy_engine().connect().execution_options(stream_results=True) as connection:
            result = connection.execute(text(source.query), sql_parameters(source, partition)).mappings()
            for chunk in result.partitions(source.chunk_rows):
                records += [dict(row) for row in chunk]
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise SourceError(
            f"source {source.name} (connection {source.conn_id}), partition {partition}: {reason}"
        ) from error
    return _batch(records, f"{source.conn_id}:{partition}", "sql", digest(records), source.name, partition)


def read_http(pack: Pack, source: HttpSource, partition: str) -> RawBatch:
    """Ask for the partition page by page; each page is retried as the source's spec says.

    Raises:
        SourceError: no answer after all tries, an error status, or an answer that is not what the spec says.
        NoData: the answer holds no rows.
    """
    from baton.source_requests import digest

    records: list[dict[str, Any]] = []
    for _, rows in _pages(source, partition):
        records += rows
    return _batch(records, f"{source.conn_id}/{source.endpoint}", "http", digest(records), source.name, partition)


def _pages(source: HttpSource, partition: str) -> Iterator[tuple[Page, list[dict[str, Any]]]]:
    from airflow.providers.http.hooks.http import HttpHook

    from baton.source_requests import first_page, next_page, records_at

    hook = HttpHook(method="GET", http_conn_id=source.conn_id)
    page: Page | None = first_page(source, partition)
    while page is not None:
        payload = _get(hook, source, page)
        try:
            rows = records_at(payload, source.records)
            following = next_page(source, page, payload, rows, str(hook.base_url))
        except SourceError as error:
            raise SourceError(f"source {source.name}, partition {partition}, page {page.number}: {error}") from error
        yield page, rows
        page = following


def _get(hook: Any, source: HttpSource, page: Page) -> Any:
    import requests
    import tenacity

    def worth_another_try(error: BaseException) -> bool:
        response = getattr(error, "response", None)
        if response is not None:
            return response.status_code in source.retry.statuses
        return isinstance(error, requests.ConnectionError | requests.Timeout)

    def ask() -> requests.Response:
        answer: requests.Response = hook.run(
            page.endpoint, data=page.params,
            extra_options={"timeout": source.timeout.total_seconds(), "check_response": False},
        )  # fmt: skip
        answer.raise_for_status()
        return answer

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(worth_another_try), stop=tenacity.stop_after_attempt(source.retry.attempts),
        wait=tenacity.wait_exponential(multiplier=source.retry.wait.total_seconds()), reraise=True,
    )  # fmt: skip
    try:
        return retrying(ask).json()
    except ValueError as error:
        raise SourceError(f"source {source.name}, page {page.number}: the answer is no JSON: {error}") from error
    except requests.RequestException as error:
        tries = f"after {source.retry.attempts} tries" if worth_another_try(error) else "not worth another try"
        raise SourceError(
            f"source {source.name} (connection {source.conn_id}), page {page.number}: {error} ({tries})"
        ) from error


def _batch(records: list[dict[str, Any]], uri: str, kind: str, sha256: str, source: str, partition: str) -> RawBatch:
    from baton.readers import frame_of_records

    if not records:
        raise NoData(f"source {source}, partition {partition}: no rows from {uri}")
    return RawBatch(frame_of_records(records, source), kind, uri, sha256)


register_reader("sql", read_sql)  # type: ignore[arg-type]  # the kind is what it says
register_reader("http", read_http)  # type: ignore[arg-type]
