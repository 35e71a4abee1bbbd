"""The DAGs of incident response as shipped, run with `dag.test()`: without alerts, and with an attack about which people are asked."""

from __future__ import annotations

import runpy
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from baton.actions import requests
from baton.actions.votes import Voter
from baton.effects import firewall, outbox
from baton.settings import settings
from baton.stages.slots import Slot, head
from baton_demo.incident_response import company, simulate
from baton_demo.incident_response.data import SEEDS
from baton_demo.incident_response.simulation import hour

F: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("incident_flow.py")))
FLOW, DAGS = F["FLOW"], Path(__file__).resolve().parents[2] / "dags"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def client(workbench: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    patch = pytest.MonkeyPatch()
    with F["services"](tmp_path_factory.mktemp("security"), patch) as opened:
        yield opened
    patch.undo()


@pytest.fixture(autouse=True)
def _home_of_the_services(workbench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATON_HOME", str(workbench.home))
    settings.cache_clear()


def run(dag_id: str, partition: str) -> dict[str, str]:
    """One run in this process; the states of its tasks."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(DAGS / f"{dag_id}.py"))
    assert not bag.import_errors
    dag = bag.dags[dag_id]
    dag.deadline = None  # Airflow 3.3.2 cannot store a deadline alert in `dag.test()`
    done = dag.test(run_conf={"partition_from": partition})
    states = {task.task_id: str(task.state) for task in done.get_task_instances()}
    assert str(done.state) == "success", states
    return states


def deliver(slot: int) -> str:
    """A partition's events and connections; returns its key."""
    import pandas as pd

    F["deliver"](slot)
    partition = str(F["partition_of"](slot))
    part = hour.connections_by_slot(hour.connections(SEEDS["hour"]))[slot]
    times = pd.Timestamp("2026-11-20T10:00:00Z") + pd.to_timedelta(part["seconds"], unit="s")
    columns = [name for name in ("seconds", "attack", "is_attack") if name in part]
    simulate.deliver(
        "connections", partition, part.drop(columns=columns).assign(time=[one.isoformat() for one in times])
    )
    return partition


def test_a_quiet_partition_goes_through_without_any_model(client: httpx.Client) -> None:
    partition = deliver(0)
    states = run(FLOW, partition)
    assert set(states.values()) == {"success"}
    scored = head(Slot(FLOW, "score__network_intrusion", partition))
    assert scored is not None
    assert scored.facts["rung"] == "rules"
    assert outbox.effects(FLOW, partition) == []


def test_an_attack_is_contained_as_far_as_two_people_agree(client: httpx.Client) -> None:
    partition, over = deliver(3), threading.Event()

    def agree() -> None:
        while not over.wait(0.5):
            for ask in requests.still_open(FLOW, partition):
                for number, person in enumerate(("ann", "bob")):
                    if ask.kind == "isolate_host" and number < ask.needs:
                        firewall.vote(ask.id, Voter(f"id-{person}", person, "test"), "approved", seen=ask.seen)
                if ask.kind != "isolate_host":
                    firewall.vote(
                        ask.id, Voter("id-ann", "ann", "test"), "refused", seen=ask.seen, reason="the job still runs"
                    )

    people = threading.Thread(target=agree, daemon=True)
    people.start()
    try:
        run(FLOW, partition)
    finally:
        over.set()
        people.join()
    assert client.get(f"/firewall/state/{company.ATTACKER}").json()["blocked"]
    assert client.get(f"/directory/hosts/{company.JUMP}").json()["isolated"]
    assert not client.get(f"/directory/accounts/{company.SERVICE_ACCOUNT}").json()["disabled"]
    verified = head(Slot(FLOW, "verify", partition))
    assert verified is not None
    assert set(verified.facts["holds"]) == {"yes"}


def test_the_weeks_report_has_its_numbers(client: httpx.Client) -> None:
    assert set(run("incident_report", "2026-11-16T00:00:00").values()) == {"success"}
    found = head(Slot("incident_report", "report", "2026-11-16T00:00:00"))
    assert found is not None
    assert found.facts["incidents"] >= 1
    assert found.facts["remedies"] >= 2
    assert (settings().reports_dir / found.facts["report"]).read_text().startswith("<!doctype html>")
