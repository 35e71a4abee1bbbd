"""Rows of events in OCSF's names as they are collected, each with what it really was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from baton_demo.incident_response.company import Machine

AUTHENTICATION, PROCESS, DNS, HTTP = 3002, 1007, 4003, 4002
SUCCESS, FAILURE = 1, 2
STEP = 300  # seconds of a partition
COLUMNS = (
    "metadata_uid", "seconds", "class_uid", "activity_id", "status_id", "severity_id", "device_hostname", "src_endpoint_ip",
    "dst_endpoint_ip", "dst_endpoint_hostname", "dst_endpoint_port", "user_name", "process_cmd_line", "process_name",
    "service_name", "query_hostname", "http_request_url", "traffic_bytes_out", "raw_data",
)  # fmt: skip
INTEGERS = ("class_uid", "activity_id", "status_id", "severity_id", "dst_endpoint_port", "traffic_bytes_out")
TRUTH = "attack"  # brute_force, lateral_movement, exfiltration, scanner; empty: everyday
BUSY = (9, 17)  # hours of the day in which most people work


def daily(seconds: float) -> float:
    """How busy the company is at a second of the day: 1 at midday, a tenth at night."""
    hour = seconds % 86_400 / 3600
    return float(0.1 + 0.9 / (1 + np.exp(-1.6 * (hour - BUSY[0] + 1))) / (1 + np.exp(1.6 * (hour - BUSY[1] - 1))))


class Events:
    """Collects rows; `frame` gives them in order of time with their identifiers."""

    def __init__(self, attack: str = "") -> None:
        self.attack, self._rows = attack, list[dict[str, Any]]()

    def add(self, seconds: float, class_uid: int, host: Machine | str, **fields: Any) -> None:
        """One event on a host; fields by their column names."""
        name = host if isinstance(host, str) else host.name
        usual = {"activity_id": 1, "status_id": SUCCESS, "severity_id": 1, TRUTH: self.attack}
        self._rows.append({**usual, "seconds": round(float(seconds), 3), "class_uid": class_uid,
                           "device_hostname": name, **fields})  # fmt: skip

    def log(self, seconds: float, host: Machine, service: str, line: str, **fields: Any) -> None:
        """One log line: its message, without the time and the host that the collector knows anyway."""
        fields = {"class_uid": AUTHENTICATION, "activity_id": 99, "status_id": 0, **fields}
        self.add(seconds, fields.pop("class_uid"), host, service_name=service, raw_data=line, **fields)

    def take(self, others: Iterable[Events]) -> Events:
        """Take the rows of others in, too."""
        for other in others:
            self._rows += other._rows
        return self

    def frame(self, prefix: str) -> pd.DataFrame:
        """The rows in order of time: `COLUMNS` and the truth; identifiers are prefix and number."""
        frame = pd.DataFrame(self._rows, columns=[*COLUMNS[1:], TRUTH]).sort_values(
            "seconds", kind="stable", ignore_index=True
        )
        frame.insert(0, "metadata_uid", [f"{prefix}{number:06d}" for number in range(len(frame))])
        for name in INTEGERS:
            frame[name] = frame[name].astype("Int64")
        return frame
