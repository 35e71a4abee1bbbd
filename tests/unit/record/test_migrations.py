"""The warehouse that the revisions build, in use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from baton.record import migrations, tables, warehouse

AT = "2026-11-22T10:00:00.000000Z"


@pytest.fixture
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def test_no_column_has_a_default_that_hides_a_forgotten_value(migrated: None) -> None:
    row = {"key": "n", "kind": "mail", "payload": {}, "state": "pending", "attempts": 0, "created_at": AT}
    with pytest.raises(sa.exc.IntegrityError, match="NOT NULL"), warehouse.write() as conn:
        conn.execute(tables.outbox.insert().values(**row, updated_at=AT))


def test_a_label_may_be_a_quantity(migrated: None) -> None:
    row = {"flow": "f", "entity_key": "3", "origin": "outcome", "target": "units", "partition": "p", "known_at": AT}
    with warehouse.write() as conn:
        conn.execute(tables.labels.insert().values(**row, label=17.25))
        assert conn.execute(sa.select(tables.labels.c.label).where(tables.labels.c.entity_key == "3")).scalar() == 17.25


def test_a_downgrade_leads_back_to_an_empty_database(migrated: None) -> None:
    with warehouse.engine().connect().execution_options(baton_write=True) as conn, conn.begin():
        command.downgrade(migrations.configured(conn), "base")
    with warehouse.read() as conn:
        assert migrations.current(conn) is None
        assert sa.inspect(conn).get_table_names() == ["alembic_version"]
