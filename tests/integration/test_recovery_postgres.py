"""A warehouse in Postgres: its copy is of one moment, comes back into an empty database only, and answers questions in SQL."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from baton.analysis.sql import ask
from baton.analysis.views import Extent
from baton.errors import BatonError
from baton.record import warehouse
from baton.recovery import databases, restore
from baton.recovery.backup import backup
from baton.recovery.verify import verify
from baton.settings import settings

SQL = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "analysis" / "test_sql.py"))
OWNER = X25519PrivateKey.generate()


@pytest.mark.skipif(shutil.which("pg_dump") is None, reason="no pg_dump on PATH")
def test_a_warehouse_in_postgres_comes_back(
    postgres_home: Path, postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SQL["published"](0, 0.9), SQL["published"](1, 0.8)
    then = warehouse.now()
    SQL["published"](1, 0.3, version=2)
    questions = [("select * from predictions order by all", Extent(at=at)) for at in (None, then)]
    questions += [("select * from decisions order by all", Extent(at=then)), ("select * from cases", Extent())]
    before = [ask(*question).rows for question in questions]
    assert (len(before[0]), before[0] != before[1], len(before[3])) == (6, True, 1)

    copy = databases.run

    def busy(tool: str, *words: str) -> None:
        if tool == "pg_dump":
            SQL["published"](2, 0.5)  # after the copy's moment
        copy(tool, *words)

    monkeypatch.setattr(databases, "run", busy)
    shelf = tmp_path.parent / f"{tmp_path.name}-shelf"
    backup(shelf, OWNER.public_key())
    found = restore.opened(shelf, OWNER, any_key=True)
    monkeypatch.setenv("BATON_HOME", str(tmp_path / "new"))
    settings.cache_clear()
    with pytest.raises(BatonError, match=r"the database postgresql.* is not empty"):
        restore.restore(found)
    with warehouse.engine().begin() as conn:
        conn.execute(sa.text("drop schema public cascade"))
        conn.execute(sa.text("create schema public"))
    restore.restore(found)
    assert [ask(*question).rows for question in questions] == before
    restore.record(found)
    assert verify(None).faults == []
