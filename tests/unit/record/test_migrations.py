"""Revision 0002 on a warehouse in use: rows keep their values, the tables become the declared ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from baton.record import migrations, tables, warehouse

AT = "2026-11-22T10:00:00.000000Z"


def at_revision(revision: str, move: str = "upgrade") -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER).replace("%", "%%"))
    with warehouse.engine().connect().execution_options(baton_write=True) as conn, conn.begin():
        config.attributes["connection"] = conn
        getattr(command, move)(config, revision)


@pytest.fixture
def first(home: Path) -> Iterator[None]:
    """A warehouse as the first build left it, with rows."""
    at_revision("0001")
    with warehouse.write() as conn:
        for key, label in (("1", 0), ("2", 1)):
            conn.execute(sa.text("insert into labels values ('f', :key, 'chargeback', 'p', :label, 'ada', :at)"),
                         {"key": key, "label": label, "at": AT})  # fmt: skip
        conn.execute(sa.text("insert into outbox values ('k', 'mail', '{\"a\": 1}', 'sent', 2, 'x', :at, :at)"),
                     {"at": AT})  # fmt: skip
        conn.execute(sa.text("insert into predictions (flow, partition, entity_key, model, version, score, commit_id,"
                             " scored_at) values ('f', 'p', '1', 'm', 1, 0.5, 1, :at)"), {"at": AT})  # fmt: skip
    yield
    warehouse.engine().dispose()


def test_an_upgrade_keeps_every_row_and_builds_the_declared_tables(first: None) -> None:
    warehouse.migrate()
    with warehouse.read() as conn:
        assert migrations.current(conn) == migrations.newest()
        assert compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), tables.metadata) == []
        labels = conn.execute(sa.select(tables.labels).order_by(tables.labels.c.entity_key)).all()
        assert [tuple(row) for row in labels] == [
            ("f", "1", "chargeback", "", "p", 0.0, None, "ada", AT), ("f", "2", "chargeback", "", "p", 1.0, None, "ada", AT),
        ]  # fmt: skip
        assert all(isinstance(row.label, float) for row in labels)
        effect = conn.execute(sa.select(tables.outbox)).mappings().one()
        kept = {"key": "k", "kind": "mail", "payload": {"a": 1}, "state": "sent", "attempts": 2, "error": "x"}
        assert dict(effect) | kept == dict(effect)
        assert (effect["flow"], effect["partition"], effect["answer"]) == ("", "", None)
        assert conn.execute(sa.select(tables.predictions.c.score, tables.predictions.c.quantiles)).all() == [
            (0.5, None)
        ]


def test_the_added_columns_have_no_default_that_hides_a_forgotten_value(first: None) -> None:
    warehouse.migrate()
    row = {"key": "n", "kind": "mail", "payload": {}, "state": "pending", "attempts": 0, "created_at": AT}
    with pytest.raises(sa.exc.IntegrityError, match="NOT NULL"), warehouse.write() as conn:
        conn.execute(tables.outbox.insert().values(**row, updated_at=AT))


def test_a_label_may_be_a_quantity(first: None) -> None:
    warehouse.migrate()
    row = {"flow": "f", "entity_key": "3", "origin": "outcome", "target": "units", "partition": "p", "known_at": AT}
    with warehouse.write() as conn:
        conn.execute(tables.labels.insert().values(**row, label=17.25))
        assert conn.execute(sa.select(tables.labels.c.label).where(tables.labels.c.entity_key == "3")).scalar() == 17.25


def test_a_case_from_before_can_be_answered_as_it_could_then(first: None) -> None:
    with warehouse.write() as conn:
        conn.execute(sa.text("insert into cases (flow, entity_key, partition, route, risk, status, opened_at, updated_at)"
                             " values ('f', '1', 'p', 'review', 0.5, 'open', :at, :at)"), {"at": AT})  # fmt: skip
    warehouse.migrate()
    with warehouse.read() as conn:
        answers = conn.execute(sa.select(tables.cases.c.resolutions)).scalar_one()
    assert answers == {"fraud": {"is_fraud": 1}, "legitimate": {"is_fraud": 0}}


def test_a_downgrade_leads_back_to_the_first_tables(first: None) -> None:
    warehouse.migrate()
    at_revision("0001", "downgrade")
    with warehouse.read() as conn:
        assert migrations.current(conn) == "0001"
        assert conn.execute(sa.text("select label from labels order by entity_key")).all() == [(0,), (1,)]
        names = {column["name"] for column in sa.inspect(conn).get_columns("outbox")}
        assert names == {"key", "kind", "payload", "state", "attempts", "error", "created_at", "updated_at"}
        assert not sa.inspect(conn).has_table("adjustments")
