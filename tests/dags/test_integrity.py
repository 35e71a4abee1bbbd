"""Every DAG file parses, quickly and lightly, and yields exactly the DAGs listed here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = [
    "pandas",
    "numpy",
    "mlflow",
    "great_expectations",
    "sklearn",
    "lightgbm",
    "pyarrow",
    "scipy",
    "statsforecast",
    "mlforecast",
    "simpy",
    "matplotlib",
    "pydantic_ai",
]
YIELDS = {
    "customer_experience.py": ["customer_experience"],
    "customer_outcomes.py": ["customer_outcomes"],
    "document_intake.py": ["document_intake"],
    "document_outcomes.py": ["document_outcomes"],
    "incident_outcomes.py": ["incident_outcomes"],
    "incident_report.py": ["incident_report"],
    "incident_response.py": ["incident_response"],
    "lifecycles.py": [
        "card_fraud_monitor", "card_fraud_promote", "card_fraud_train",
        "demand_monitor", "demand_promote", "demand_train",
        "document_intent_promote", "document_intent_train",
        "document_risk_promote", "document_risk_train",
        "document_type_monitor", "document_type_promote", "document_type_train",
        "log_anomaly_promote", "log_anomaly_train",
        "message_intent_monitor", "message_intent_promote", "message_intent_train",
        "message_sentiment_promote", "message_sentiment_train",
        "network_intrusion_monitor", "network_intrusion_promote", "network_intrusion_train",
        "transaction_anomaly_promote", "transaction_anomaly_train",
    ],
    "registry_guard.py": ["registry_guard"],
    "replenishment.py": ["replenishment"],
    "transaction_labels.py": ["transaction_labels"],
    "transaction_monitoring.py": ["transaction_monitoring"],
    "undo.py": ["undo"],
}  # fmt: skip


def test_each_file_yields_the_listed_dags(bags: dict[str, Any]) -> None:
    assert {name: sorted(bag.dag_ids) for name, bag in bags.items()} == YIELDS
    assert {name: bag.import_errors for name, bag in bags.items() if bag.import_errors} == {}


@pytest.mark.parametrize("name", sorted(YIELDS))
def test_file_says_airflow_and_dag(name: str) -> None:
    """Airflow skips, without an error, a file whose bytes lack these words."""
    text = (ROOT / "dags" / name).read_text().lower()
    assert "airflow" in text
    assert "dag" in text


def test_parsing_is_light_and_fast() -> None:
    """Below 100 ms a file, in a process that has Airflow imported already, as the DAG processor's children have."""
    script = """
import json, statistics, sys, time
from airflow.dag_processing.dagbag import DagBag
import airflow.sdk
from pathlib import Path
seconds = {}
for path in sorted(Path(sys.argv[1]).glob("*.py")):
    tries = []
    for _ in range(5):
        began = time.perf_counter(); DagBag(str(path)); tries.append(time.perf_counter() - began)
    seconds[path.name] = statistics.median(tries)
print(json.dumps({"seconds": seconds, "modules": [m for m in sys.argv[2].split(",") if m in sys.modules]}))
"""
    command = [sys.executable, "-c", script, str(ROOT / "dags"), ",".join(HEAVY)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["modules"] == []
    assert {name: s for name, s in found["seconds"].items() if s >= 0.1} == {}


def test_inside_a_task_only_the_running_dag_is_built() -> None:
    script = """
import os, sys
os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = "card_fraud_train"
from airflow.dag_processing.dagbag import DagBag
print(sorted(DagBag(sys.argv[1]).dag_ids))
"""
    command = [sys.executable, "-c", script, str(ROOT / "dags" / "lifecycles.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip().splitlines()[-1] == "['card_fraud_train']"
