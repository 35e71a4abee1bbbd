"""`baton up --pack`: flows of other packs are passed over without an error, their models' DAGs are not made."""

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from baton.settings import settings

DAGS = Path(__file__).parents[2] / "dags"


def test_the_dags_of_one_pack_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATON_PACKS", "supply_chain")
    settings.cache_clear()
    try:
        found = [DagBag(str(DAGS / f"{name}.py")) for name in ("replenishment", "transaction_labels", "lifecycles")]
    finally:
        settings.cache_clear()
    assert [bag.import_errors for bag in found] == [{}, {}, {}]
    assert [sorted(bag.dags) for bag in found] == [
        ["replenishment"], [], ["demand_monitor", "demand_promote", "demand_train"]
    ]  # fmt: skip
