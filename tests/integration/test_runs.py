"""Which partition a run is about, as Airflow's context says it."""

from __future__ import annotations

import re
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from baton.airflow.operators.runs import KEY_PATTERN, partition_of
from baton.data.partitions import is_own, parse_key


def context(run_after: str, **params: str) -> Any:
    return {
        "dag_run": SimpleNamespace(run_after=datetime.fromisoformat(run_after), partition_key=None),
        "params": params,
    }


def test_runs_of_named_files_within_a_second_or_on_the_hour_have_partitions_of_their_own() -> None:
    started = ("2026-11-20T09:00:00+00:00", "2026-11-20T10:00:00.000001+01:00", "2026-11-20T09:00:00.900000+00:00")
    keys = [partition_of(context(at, files="a.pdf"), "1h") for at in started]
    assert keys == ["2026-11-20T09:00:00.000000", "2026-11-20T09:00:00.000001", "2026-11-20T09:00:00.900000"]
    assert all(is_own(key) and parse_key(key) for key in keys)
    assert all(re.fullmatch(KEY_PATTERN, key) for key in keys), "the form takes it, so that the run can be repeated"
    assert partition_of(context(started[0], partition_from=keys[1]), "1h") == keys[1]


@pytest.mark.parametrize("typed", ["2026-11-20T09", "2026-11-20 09:00", "2026-11-20T09:00:00"])
def test_a_partition_has_one_spelling_however_it_was_typed(typed: str) -> None:
    assert re.fullmatch(KEY_PATTERN, typed)
    at = "2026-11-20T10:00:00+00:00"
    assert partition_of(context(at, partition_from=typed), "1h") == "2026-11-20T09:00:00"
    as_key = {"dag_run": SimpleNamespace(run_after=None, partition_key=typed)}
    assert partition_of(as_key, "1h") == "2026-11-20T09:00:00"  # type: ignore[typeddict-item]


def test_a_key_that_names_no_partition_is_not_tried_again() -> None:
    with pytest.raises(AirflowFailException, match="expected the UTC start"):
        partition_of({"dag_run": SimpleNamespace(partition_key="nine")}, "1h")  # type: ignore[typeddict-item, arg-type]


def test_files_and_a_partition_contradict_each_other() -> None:
    with pytest.raises(AirflowFailException, match="leave first and last partition empty"):
        partition_of(context("2026-11-20T09:00:00+00:00", files="a.pdf", partition_from="2026-11-20T09:00:00"), "1h")
