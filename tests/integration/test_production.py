"""Set-up of production against a real Postgres server: a database and a user each, and nobody in another's."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from baton.services.production import create_databases

NAMES = ("one", "two")


def test_each_part_has_a_database_and_a_user_of_its_own(postgres: Any) -> None:
    urls = {name: f"postgresql+psycopg2://{name}:it's%20{name}%25@/{name}?host={postgres.folder}" for name in NAMES}
    given = [urls["one"], f"db+{urls['two']}"]
    assert create_databases(postgres.url, given) == ["one", "two"]
    assert create_databases(postgres.url, given) == []
    for name in NAMES:
        other = next(one for one in NAMES if one != name)
        with sa.create_engine(urls[name]).begin() as own:
            own.execute(sa.text("create table mine (id int)"))
            assert not own.scalar(
                sa.text("select rolsuper or rolcreaterole or rolcreatedb from pg_roles where rolname = user")
            )
        trespass = sa.create_engine(sa.make_url(urls[name]).set(database=other))
        with pytest.raises(OperationalError, match="permission denied for database"):
            trespass.connect()


def test_a_changed_password_takes_effect(postgres: Any) -> None:
    def stored() -> str:
        with sa.create_engine(postgres.url).connect() as conn:
            return str(conn.scalar(sa.text("select rolpassword from pg_authid where rolname = 'changing'")))

    def url(password: str) -> str:
        return f"postgresql+psycopg2://changing:{password}@/changing?host={postgres.folder}"

    create_databases(postgres.url, [url("before")])
    before = stored()
    create_databases(postgres.url, [url("after")])
    assert before.startswith("SCRAM-SHA-256$")
    assert stored() != before
