"""The shipped DAG files, parsed as the DAG processor does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.fixture(scope="session")
def bags() -> dict[str, Any]:
    """DAG file name -> its DagBag."""
    from airflow.dag_processing.dagbag import DagBag

    return {path.name: DagBag(str(path)) for path in sorted(DAGS.glob("*.py"))}


@pytest.fixture(scope="session")
def dags(bags: dict[str, Any]) -> dict[str, Any]:
    """DAG id -> DAG, of all files."""
    return {dag_id: dag for bag in bags.values() for dag_id, dag in bag.dags.items()}
