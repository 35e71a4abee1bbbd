"""The stages of `incident_response` on the simulated hour, with the real security services, as its DAG wires them; loaded by path.

The models are left out (they need a training): the rules' alerts alone go through the flow.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd

from baton.airflow.connections.lookup import AirflowConnections
from baton.data.datasets import read
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import Slot, StageOutput, StageResult, run_stage
from baton_demo.incident_response import company, simulate
from baton_demo.incident_response.data import SEEDS
from baton_demo.incident_response.security.server import SecurityServer
from baton_demo.incident_response.simulation import hour
from baton_packs.incident_response.detection import alerts as alert_rows
from baton_packs.incident_response.detection.taxonomy import CARRIED, LOOK_BACK
from baton_packs.incident_response.incidents.incident import COLUMNS

FLOW, PACK, TOKEN = "incident_response", "baton_packs.incident_response", "integration-token"
CONNECTIONS = ("threat_intelligence", "asset_inventory", "user_directory", "firewall", "directory", "ticketing")
LOOK_UPS = {"reputation": "indicators", "assets": "known_hosts", "users": "accounts", "firewall_state": "outside",
            "account_state": "accounts", "host_state": "known_hosts"}  # fmt: skip
SHOWN = {"firewall_state": "address", "account_state": "account", "host_state": "host"}
PEERS = {
    "firewall": ["block_address"],
    "directory": ["disable_account", "isolate_host", "rotate_key"],
    "tickets": ["open_ticket"],
}


@contextmanager
def services(folder: Path, patch: Any) -> Iterator[httpx.Client]:
    """The security services with their connections; a client that may break them."""
    server = SecurityServer(0, folder / "security.db", TOKEN, faults=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    patch.setenv("NO_PROXY", "127.0.0.1")
    for name in CONNECTIONS:
        where = {"conn_type": "http", "host": "127.0.0.1", "port": server.server_port, "password": TOKEN}
        patch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(where))
    with httpx.Client(
        base_url=server.url, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False, timeout=60
    ) as client:
        yield client
    server.shutdown()
    thread.join()
    server.server_close()


def partition_of(slot: int) -> str:
    """Key of one of the hour's twelve partitions."""
    return f"2026-11-20T10:{5 * slot:02d}:00"


def deliver(slot: int) -> None:
    """Put a partition's events where the source looks for them."""
    partition = partition_of(slot)
    frame = hour.deliveries(hour.events(SEEDS["hour"]), 12)[slot]
    times = pd.Timestamp("2026-11-20T10:00:00Z") + pd.to_timedelta(
        frame["time"] if "seconds" not in frame else frame["seconds"], unit="s"
    )
    simulate.deliver(
        "events",
        partition,
        frame.drop(columns=[n for n in ("seconds", "attack") if n in frame]).assign(
            time=[one.isoformat() for one in times]
        ),
    )


def step(
    stage: str,
    partition: str,
    path: str,
    options: Mapping[str, Any] | None = None,
    output_contract: str = "",
    versions: Mapping[str, int] | None = None,
    flow: str = FLOW,
    since: str | None = None,
    **inputs: StageResult,
) -> StageResult:
    """Run a stage as a task does."""
    return run(StageJob(
        "incident_response", flow, stage, partition, path, models=dict(versions or {}), inputs={name: one.ref for name, one in inputs.items()}, options=dict(options or {}),
        output_contract=output_contract, connections=AirflowConnections(), run_id="test", since=since,
    ))  # fmt: skip


def given(stage: str, partition: str, frame: pd.DataFrame) -> StageResult:
    """Rows as another stage would have committed them."""
    return run_stage(
        Slot(FLOW, stage, partition),
        lambda _: StageOutput(frame),
        inputs={},
        params={"rows": frame.to_json()},
        models={},
        code="test",
        run_id="test",
    )


def detect(partition: str) -> dict[str, StageResult]:
    """From the delivery to the alerts."""
    arrived = step("ingest", partition, "baton.steps.ingest:ingest", {"source": "events"})
    events = step("contract", partition, "baton.steps.contract:contract", {"contract": "events"}, data=arrived)
    looking = {"stage": "carried", "columns": list(CARRIED), "partitions": LOOK_BACK}
    before = step("earlier__carried", partition, "baton.steps.earlier:rows", looking, after=events)
    found = step("detect", partition, f"{PACK}.detection.stages:detect", events=events, before=before)
    step("carried", partition, f"{PACK}.detection.stages:carried", events=events)
    models = given("model_alerts", partition, pd.concat([scanned(partition), wrong(partition)], ignore_index=True))
    alerts = step(
        "alerts",
        partition,
        f"{PACK}.detection.stages:join_alerts",
        output_contract="alerts",
        rules=found,
        models=models,
    )
    return {"events": events, "alerts": alerts}


MISTAKEN = [  # what the model, trained on the demo's history, says wrongly of this hour: minute, desk, host that it calls, how sure
    (0, "ws-17", "dc-01", 0.55), (1, "ws-02", "srv-jump", 0.81), (1, "ws-01", "srv-build", 0.69), (2, "ws-10", "srv-build", 0.81),
    (2, "ws-11", "srv-db", 0.74), (6, "ws-10", "srv-jump", 0.51), (8, "ws-05", "srv-files", 0.82), (8, "ws-10", "srv-mail", 0.69),
    (8, "ws-08", "srv-db", 0.58), (8, "ws-01", "srv-backup", 0.52), (9, "ws-10", "dc-01", 0.85), (9, "ws-02", "srv-mail", 0.52),
    (9, "ws-06", "srv-files", 0.95), (10, "ws-01", "srv-jump", 0.91), (12, "ws-09", "srv-db", 0.61), (13, "ws-09", "srv-mail", 0.69),
    (14, "ws-06", "srv-jump", 0.83), (14, "ws-09", "dc-01", 0.65), (15, "ws-12", "dc-01", 0.69), (16, "ws-06", "srv-mail", 0.68),
    (17, "ws-17", "srv-mail", 0.66), (25, "ws-09", "srv-build", 0.67), (26, "ws-11", "srv-backup", 0.72), (28, "ws-17", "srv-web", 0.68),
    (30, "ws-07", "srv-mail", 0.68), (32, "ws-14", "srv-backup", 0.84), (38, "ws-15", "srv-jump", 0.6), (39, "ws-21", "srv-mail", 0.62),
]  # fmt: skip


def wrong(partition: str) -> pd.DataFrame:
    """Alerts of the model in a partition that mean nothing."""
    start, hosts = pd.Timestamp(partition_of(0), tz="UTC"), company.hosts()
    return alert_rows.frame_of([
        {"alert_id": f"wrong-{minute}-{desk}", "event_uid": f"wrong-{minute}-{desk}", "time": start + pd.Timedelta(minutes=minute), "source": "intrusion",
         "rule": "network_intrusion", "title": "Connection that looks like an attack", "severity_id": 3, "confidence": sure, "technique": None, "tactic": None,
         "host": called, "user": None, "src_ip": hosts[desk].address, "dst_ip": hosts[called].address, "reasons": "[]"}
        for minute, desk, called, sure in MISTAKEN if partition_of(minute // 5) == partition
    ])  # fmt: skip


def scanned(partition: str) -> pd.DataFrame:
    """What the network model would find of the company's own scanner, on every desk; in the hour's fourth partition alone."""
    if partition != partition_of(4):
        return alert_rows.frame_of([])
    source, time = company.hosts()[company.SCANNER].address, pd.Timestamp(partition, tz="UTC")
    return alert_rows.frame_of([
        {"alert_id": f"scan-{name}", "event_uid": f"scan-{name}", "time": time, "source": "intrusion", "rule": "network_intrusion",
         "title": "Port scan", "severity_id": 3, "confidence": 0.8, "technique": "T1046", "tactic": "reconnaissance", "host": None,
         "user": None, "src_ip": source, "dst_ip": host.address, "reasons": "[]"}
        for name, host in company.hosts().items() if host.asset_class == company.WORKSTATION
    ])  # fmt: skip


def decide(
    partition: str, events: StageResult, alerts: StageResult, scores: Mapping[str, StageResult] | None = None
) -> dict[str, StageResult]:
    """From the alerts to what is placed; `scores` are published beside the decisions."""
    inc = f"{PACK}.incidents"
    earlier = step(
        "earlier__correlate",
        partition,
        "baton.steps.earlier:rows",
        {"stage": "correlate", "columns": list(COLUMNS), "partitions": 288},
        after=alerts,
    )
    correlated = step("correlate", partition, f"{inc}.correlate:stage", alerts=alerts, earlier=earlier)
    gathered = step("gather", partition, f"{inc}.gather:stage", incidents=correlated, events=events)
    looked = {
        tool: step(
            f"look_up__{tool}",
            partition,
            "baton.steps.look_up:look_up",
            {"tool": tool, "column": column, "lists": True},
            data=gathered,
        )
        for tool, column in LOOK_UPS.items()
    }
    past = step("earlier__decide", partition, "baton.steps.earlier:rows",
                {"stage": "decide", "columns": ["incident_id", "hosts", "accounts", "route"], "partitions": 288}, after=gathered)  # fmt: skip
    weighed = step("weigh", partition, f"{inc}.situation:stage", incidents=gathered, past=past, **looked)
    triage = step(
        "triage",
        partition,
        "baton.steps.advise:advise",
        {"agent": f"{inc}.triage:TRIAGE", "conn_id": ""},
        incidents=weighed,
    )
    decided = step("decide", partition, f"{inc}.decide:stage", incidents=weighed, triage=triage, correlated=correlated)
    published = step(
        "publish",
        partition,
        "baton.steps.publish:publish",
        {"case_routes": ["contain", "watch"]},
        output_contract="decisions",
        decisions=decided,
        **(scores or {}),
    )
    placed = step("respond", partition, f"{inc}.respond:place", decisions=published)
    return {"correlate": correlated, **{f"look_up__{tool}": one for tool, one in looked.items()}, "weigh": weighed, "triage": triage,
            "decide": decided, "respond": placed}  # fmt: skip


def send(partition: str, placed: StageResult, suffix: str = "") -> dict[str, StageResult]:
    """Deliver what may go, and look whether it holds."""
    sent = {}
    for part, kinds in PEERS.items():
        options = {"effect": kinds, "conn_id": "ticketing" if part == "tickets" else part, "endpoint": f"{part}/actions",
                   "receipt": "action_id", "echoes": ["action", "target"], "rounds": 2, "pause": 0.05, "later": True}  # fmt: skip
        sent[part] = step(f"send_{part}{suffix}", partition, "baton.steps.deliver:deliver", options, after=placed)
    sent["mail"] = step(
        f"notify{suffix}",
        partition,
        "baton.steps.deliver:deliver",
        {"effect": "notify", "conn_id": "outgoing_mail", "later": True},
        after=placed,
    )
    outcome = step("outcome", partition, f"{PACK}.incidents.verify:outcome", **sent)
    shown = {
        tool: step(
            f"verify__{tool}", partition, "baton.steps.look_up:look_up", {"tool": tool, "column": column}, data=outcome
        )
        for tool, column in SHOWN.items()
    }
    verified = step("verify", partition, f"{PACK}.incidents.verify:verify", outcome=outcome, **shown)
    return {**sent, "outcome": outcome, "verify": verified}


def through(partition: str) -> dict[str, StageResult]:
    """A whole run, as far as it goes without people."""
    found = detect(partition)
    found |= decide(partition, found["events"], found["alerts"])
    return found | send(partition, found["respond"])


def rows(result: StageResult) -> pd.DataFrame:
    """What a stage committed."""
    return read(result.ref)
