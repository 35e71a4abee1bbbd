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


def test_files_and_a_partition_contradict_each_other() -> None:
    with pytest.raises(AirflowFailException, match="leave first and last partition empty"):
        partition_of(context("2026-11-20T09:00:00+00:00", files="a.pdf", partition_from="2026-11-20T09:00:00"), "1h")
