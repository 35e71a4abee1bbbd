"""Secrets of a container come out of files, and its environment names them."""

from pathlib import Path

import pytest

from baton.errors import ServiceError
from baton.services.container import refuse_single, with_secrets, xcoms_of


def test_a_value_gets_the_secrets_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "ONE").write_text("first\n")
    (tmp_path / "TWO").write_text("sec%ond{}")
    given = {"URL": "db://u:{secret:ONE}@h/{secret:TWO}", "PLAIN": "as it is", "KEY": "{secret:TWO}"}
    assert with_secrets(given, tmp_path) == {"URL": "db://u:first@h/sec%ond{}", "KEY": "sec%ond{}"}


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_secret_that_is_not_there_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "KEY").write_text(content)
    with pytest.raises(ServiceError, match=r"KEY is missing or empty: give this container the secret KEY"):
        with_secrets({"A": "{secret:KEY}"}, tmp_path)


def test_a_secret_names_no_file_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("x")
    (tmp_path / "secrets").mkdir()
    with pytest.raises(ServiceError, match="is missing or empty"):
        with_secrets({"A": "{secret:../passwd}"}, tmp_path / "secrets")


def test_large_xcoms_lie_where_the_datasets_lie_if_that_is_no_folder() -> None:
    assert xcoms_of("s3://baton/store/") == {
        "AIRFLOW__CORE__XCOM_BACKEND": "baton.airflow.xcoms.StoredXCom",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": "s3://baton/store/xcom",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "65536",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_COMPRESSION": "gzip",
    }
    assert xcoms_of("file:///srv/store") == xcoms_of("") == {}


def test_no_container_lets_one_person_agree_alone(tmp_path: Path) -> None:
    here = {"BATON_HOME": str(tmp_path)}
    refuse_single(here)
    (tmp_path / "governance").write_text("single\n")
    refuse_single({**here, "BATON_GOVERNANCE": "four_eyes"})
    for said in ({}, {"BATON_GOVERNANCE": "single"}):
        with pytest.raises(ServiceError, match="governance: single is for one person's own machine"):
            refuse_single({**here, **said})
