"""Records that are received page by page: few of them are held, many give the same rows from a disk."""

from __future__ import annotations

import gc
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from baton.data.cells import PROBLEM
from baton.data.formats import frame_of_records
from baton.data.identity import with_row_identity
from baton.errors import SourceError
from baton.packs.pack import Pack
from baton.settings import settings
from baton.sources import large
from baton.sources.reading import RawBatch, look, read_partition
from baton.sources.received import LargeRows, Received
from baton.specs.source import SourcesSpec

RECORDS: list[dict[str, Any]] = [
    {"id": 1, "amount": 2.5, "at": datetime(2026, 1, 1, tzinfo=UTC), "price": Decimal("1.10")},
    {"id": 2**60, "note": "ä\u2028\n", "flag": True, "nested": {"a": [1, 2.5]}},
    {"id": None, "late": "nul\0", "amount": float("nan")},
    {"id": "\ud800", "nul\0name": 1},
    *({"id": number} for number in range(9)),
]


def received(page: int) -> Received:
    taken = Received()
    for start in range(0, len(RECORDS), page):
        taken.add(RECORDS[start : start + page])
    return taken


@pytest.mark.parametrize("page", [1, 4, 100])
def test_many_records_are_the_rows_that_few_would_be(monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    few = received(page)
    assert few.many("sql", "db") is None
    known = with_row_identity(frame_of_records(few.few, "feed"), "feed")
    monkeypatch.setattr(large, "ROWS", 3)
    many = received(page).many("sql", "db")
    assert many is not None
    assert many.sha256 == few.sha256
    for _ in range(2):
        tables = list(many.tables("feed"))
        assert max(table.num_rows for table in tables) <= 3
        read = pd.concat([table.to_pandas() for table in tables], ignore_index=True)
        pd.testing.assert_frame_equal(read[list(known)], known)
        assert read[PROBLEM].notna().sum() == 2
    spool = many.spool
    del many, tables
    gc.collect()
    assert spool.closed


def test_a_stage_takes_many_and_what_wants_a_frame_is_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATON_HOME", str(tmp_path))
    settings.cache_clear()
    monkeypatch.setattr(large, "ROWS", 3)
    given = {"kind": "sql", "description": "rows", "conn_id": "db", "query": "SELECT 1 WHERE :start < :end"}
    pack = Pack("shop", "shop", tmp_path, sources=SourcesSpec.model_validate({"rows": given}).root)

    def remote(*_: object) -> RawBatch | LargeRows:
        found = received(2).many("sql", "db")
        assert found is not None
        return found

    assert isinstance(look(pack, "rows", "2026-11-20T09:00:00", [], remote), LargeRows)
    with pytest.raises(SourceError, match="too many rows to be held"):
        read_partition(pack, "rows", "2026-11-20T09:00:00", remote=remote)
    settings.cache_clear()
