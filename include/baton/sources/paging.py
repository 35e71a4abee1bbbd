"""The pure parts of SQL and HTTP sources: window parameters, rows in an answer, the next page. No I/O."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from baton.data.partitions import window
from baton.errors import SourceError
from baton.specs.source import HttpSource, PagingSpec, SqlSource


@dataclass(frozen=True)
class PageRequest:
    """One request: path below the connection's host, query parameters, which one it is (from 1)."""

    endpoint: str
    params: dict[str, str] = field(default_factory=dict)
    number: int = 1
    offset: int = 0


def sql_parameters(source: SqlSource, partition: str) -> dict[str, str]:
    """The bind parameters :start (inclusive) and :end (exclusive) of a partition.

    Raises:
        SourceError: the key is no start of a partition of the source's step.
    """
    start, end = window(partition, source.step)
    return {"start": start.strftime(source.time_format), "end": end.strftime(source.time_format)}


def first_page(source: HttpSource, partition: str) -> PageRequest:
    """The first request for a partition.

    Raises:
        SourceError: the key is no start of a partition of the source's step.
    """
    start, end = window(partition, source.step)
    values = {"start": start.strftime(source.time_format), "end": end.strftime(source.time_format)}
    values["partition"] = partition
    params = {name: value.format(**values) for name, value in source.params.items()}
    paging = source.paging
    if paging is not None:
        if paging.size_param:
            params[paging.size_param] = str(paging.size)
        if paging.by in ("page", "offset"):
            params[paging.param] = str(paging.first)
    offset = paging.first if paging is not None and paging.by == "offset" else 0
    return PageRequest(source.endpoint.format(**values), params, offset=offset)


def records_at(payload: Any, dotted: str) -> list[dict[str, Any]]:
    """The rows in an answer: the list at a dotted path (`data.items`, `results.0.rows`), or all of it.

    Raises:
        SourceError: there is nothing at the path, it is no list, or an element is no object.
    """
    found = payload
    if dotted:
        found = _at(payload, dotted)
        if found is None:
            raise SourceError(f"records: nothing at `{dotted}` in the answer; it holds {_outline(payload)}")
    if not isinstance(found, list):
        raise SourceError(f"records: `{dotted or 'the answer'}` is no list but {_outline(found)}")
    for position, record in enumerate(found, start=1):
        if not isinstance(record, dict):
            raise SourceError(f"records: element {position} at `{dotted}` is no object but {_outline(record)}")
    return found


def next_page(
    source: HttpSource, page: PageRequest, payload: Any, records: Sequence[Any], base_url: str = ""
) -> PageRequest | None:
    """The request after this one, None after the last.

    Args:
        base_url: address of the connection; a `link` may only lead below it, because the log-in goes along.

    Raises:
        SourceError: a link leads to another host, the same page is named again, or there are too many pages.
    """
    paging = source.paging
    following = None if paging is None else _following(paging, page, payload, len(records), base_url)
    if following is None or paging is None:
        return None
    if (following.endpoint, following.params) == (page.endpoint, page.params):
        raise SourceError(f"source {source.name}: page {page.number} names itself as the next one")
    if following.number > paging.max_pages:
        raise SourceError(
            f"source {source.name}: more than {paging.max_pages} pages; raise paging.max_pages if it is "
            f"right, or look whether the server heeds `{paging.param}`"
        )
    return following


def _following(paging: PagingSpec, page: PageRequest, payload: Any, rows: int, base_url: str) -> PageRequest | None:
    if paging.by in ("page", "offset"):
        if rows == 0 or (paging.until == "short" and rows < paging.size):
            return None
        # the offset grows by what came, not by what was asked for: a server may cap the page size
        offset = page.offset + rows
        value = offset if paging.by == "offset" else paging.first + page.number
        return PageRequest(page.endpoint, {**page.params, paging.param: str(value)}, page.number + 1, offset)
    found = _at(payload, paging.next or "")
    if found in (None, "", False):
        return None
    if paging.by == "cursor":
        return PageRequest(page.endpoint, {**page.params, paging.param: str(found)}, page.number + 1)
    return PageRequest(_same_host(str(found), page.endpoint, base_url), {}, page.number + 1)


def _same_host(link: str, endpoint: str, base_url: str) -> str:
    base = base_url.rstrip("/")
    here, there = urlsplit(base), urlsplit(urljoin(f"{base}/{endpoint.lstrip('/')}", link))
    if (there.scheme, there.netloc) != (here.scheme, here.netloc):
        raise SourceError(f"paging.next leads to another host ({there.netloc}, not {here.netloc}): not followed")
    if _climbs(there.path) or not f"{there.path}/".startswith(f"{here.path}/"):
        raise SourceError(f"paging.next leads to {there.path}, not below {here.path}: not followed")
    return there.path.removeprefix(here.path) + (f"?{there.query}" if there.query else "")


def _climbs(path: str) -> bool:
    """Does a path hold `..` in any spelling? The client, and each server behind, may decode it once more."""
    for _ in range(4):
        if ".." in re.split(r"[/\\;]", path):
            return True
        encoded, path = path, unquote(path)
        if path == encoded:
            return False
    return True


def _at(payload: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        if isinstance(payload, dict):
            payload = payload.get(part)
        elif isinstance(payload, list) and part.isdigit() and int(part) < len(payload):
            payload = payload[int(part)]
        else:
            return None
    return payload


def _outline(value: Any) -> str:
    if isinstance(value, dict):
        return "an object with " + (", ".join(list(value)[:10]) or "no keys")
    return f"{type(value).__name__} {str(value)[:60]!r}"
