"""Set-up of production against real servers: a database and a user each, nobody in another's, accounts of the registry."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, ProgrammingError

from baton.errors import ServiceError
from baton.recovery import databases
from baton.services import production
from baton.services.production import create_databases
from baton.settings import settings
from baton.tracking.rest import Credentials, Rest, RestError, credentials

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


def test_what_reads_for_backups_changes_nothing_and_sees_no_other_database(postgres: Any, tmp_path: Path) -> None:
    urls = {name: f"postgresql+psycopg2://{name}:x@/{name}?host={postgres.folder}" for name in ("saved", "other")}
    create_databases(postgres.url, list(urls.values()))
    with sa.create_engine(urls["saved"]).begin() as own:
        own.execute(sa.text("create table rows (id serial)"))
        own.execute(sa.text("insert into rows default values"))
    for password in ("before", "after"):
        production.create_reader(postgres.url, "backup", password, [urls["saved"]])
    reader = sa.make_url(urls["saved"]).set(username="backup", password="after")
    with sa.create_engine(reader).connect() as conn:
        assert conn.scalar(sa.text("select count(*) from rows")) == 1
        with pytest.raises(ProgrammingError, match="permission denied for table rows"):
            conn.execute(sa.text("insert into rows default values"))
    with pytest.raises(OperationalError, match="permission denied for database"):
        sa.create_engine(reader.set(database="other")).connect()
    if shutil.which("pg_dump"):
        with databases.dumped(reader.render_as_string(hide_password=False), tmp_path / "dump"):
            pass
        assert (tmp_path / "dump").stat().st_size > 500


def test_databases_know_every_character_and_another_is_refused(postgres: Any) -> None:
    def url(name: str) -> str:
        return f"postgresql+psycopg2://{name}:x@/{name}?host={postgres.folder}"

    create_databases(postgres.url, [url("letters")])
    with sa.create_engine(url("letters")).connect() as conn:
        assert conn.scalar(sa.text("show server_encoding")) == "UTF8"
    with sa.create_engine(postgres.url, isolation_level="AUTOCOMMIT").connect() as conn:
        conn.execute(sa.text("create database bytes encoding sql_ascii lc_collate 'C' lc_ctype 'C' template template0"))
    with pytest.raises(ServiceError, match="database bytes is encoded as SQL_ASCII: texts need UTF8"):
        create_databases(postgres.url, [url("bytes")])


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


def test_what_only_looks_at_the_registry_can_change_nothing(
    workbench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        name: f"{name.lower()}-of-this-test" for name in (*production.PASSWORDS.values(), "MLFLOW_READER_PASSWORD")
    }
    given["MLFLOW_ADMIN_PASSWORD"] = credentials(workbench.home, "admin").password
    for name, value in {**given, "BATON_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    production.accounts()
    production.accounts()
    service = Rest(workbench.mlflow_url, Credentials("baton", given["MLFLOW_TRACKING_PASSWORD"]))
    service.post("/registered-models/create", name="looked_at")
    reader = Rest(workbench.mlflow_url, Credentials("reader", given["MLFLOW_READER_PASSWORD"]))
    assert reader.get("/registered-models/get", name="looked_at")["registered_model"]["name"] == "looked_at"
    for path, body in (
        ("/registered-models/set-tag", {"name": "looked_at", "key": "k", "value": "v"}),
        ("/registered-models/alias", {"name": "looked_at", "alias": "champion", "version": "1"}),
        ("/model-versions/create", {"name": "looked_at", "source": "x"}),
    ):
        with pytest.raises(RestError, match="no permission"):
            reader.post(path, **body)
