"""Cases of Sigma rules: events in short form, and rules with what they must find and must not.

A case's event is a mapping of columns, or in short: `p: [program, command line]`, `dns: name`, `web: [method, address]`,
`net: [address, port]`, `ssh: [status, account, source address]`, `log: [service, line]`; other columns beside it, `after: seconds`
since the first event, `times: n` for as many of it, with `{n}` counting.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

HERE = Path(__file__).parent
START = pd.Timestamp("2026-11-20T09:00:00Z")
COLUMNS = (
    "metadata_uid", "time", "class_uid", "activity_id", "status_id", "severity_id", "device_hostname", "src_endpoint_ip",
    "dst_endpoint_ip", "dst_endpoint_hostname", "dst_endpoint_port", "user_name", "process_cmd_line", "process_name",
    "service_name", "query_hostname", "http_request_url", "traffic_bytes_out", "raw_data",
)  # fmt: skip
NUMBERS = ("activity_id", "status_id", "severity_id", "dst_endpoint_port", "traffic_bytes_out")
METHODS = {"CONNECT": 1, "DELETE": 2, "GET": 3, "HEAD": 4, "OPTIONS": 5, "POST": 6, "PUT": 7, "TRACE": 8}


def cases(name: str) -> list[dict[str, Any]]:
    """The cases of a file beside this module."""
    return list(yaml.safe_load((HERE / name).read_text(encoding="utf-8")))


def frame(events: list[dict[str, Any]]) -> pd.DataFrame:
    """Events of a case as the contract `events` has them, in the order of time."""
    rows = [row for one in events for row in _rows(one)]
    for number, row in enumerate(rows):
        row.setdefault("metadata_uid", f"e{number}")
    made = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("time", kind="stable", ignore_index=True)
    return made.astype(dict.fromkeys(NUMBERS, "Int64") | {"class_uid": "int64"})


def _rows(one: dict[str, Any]) -> list[dict[str, Any]]:
    short = dict(one)
    after, times = short.pop("after", 0), short.pop("times", 1)
    rows = []
    for number in range(times):
        row = _long({key: _numbered(value, number) for key, value in short.items()})
        row["time"] = START + pd.Timedelta(seconds=after + number)
        row.setdefault("device_hostname", "host-1")
        rows.append(row)
    return rows


def _numbered(value: Any, number: int) -> Any:
    if isinstance(value, list):
        return [_numbered(one, number) for one in value]
    if isinstance(value, str) and "{n}" in value:
        made = value.replace("{n}", str(number))
        return int(made) if made.isdigit() and not value.startswith("'") else made
    return value


def _long(short: dict[str, Any]) -> dict[str, Any]:
    row = dict(short)
    if "p" in row:
        image, command = row.pop("p")
        return {"class_uid": 1007, "activity_id": 1, "process_name": image, "process_cmd_line": command, **row}
    if "dns" in row:
        return {
            "class_uid": 4003,
            "activity_id": 3,
            "query_hostname": row.pop("dns"),
            "src_endpoint_ip": "10.0.0.5",
            **row,
        }
    if "web" in row:
        method, url = row.pop("web")
        return {"class_uid": 4002, "activity_id": METHODS[method], "http_request_url": url, **row}
    if "net" in row:
        address, port = row.pop("net")
        made = {"class_uid": 4001, "activity_id": 6, "dst_endpoint_ip": address, "dst_endpoint_port": int(port)}
        return {**made, "src_endpoint_ip": "10.0.0.5", **row}
    if "ssh" in row:
        status, user, source = row.pop("ssh")
        made = {"class_uid": 3002, "activity_id": 1, "status_id": int(status), "service_name": "sshd"}
        said = f"{'Accepted' if int(status) == 1 else 'Failed'} password for {user} from {source} port 40022 ssh2"
        return {**made, "user_name": str(user), "src_endpoint_ip": source, "raw_data": said, **row}
    if "log" in row:
        service, line = row.pop("log")
        return {"class_uid": 3002, "service_name": service, "raw_data": line, **row}
    return row


def write_rules(rules: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Each rule as a file of its own; what publishers add to each (id, level, status) is added where it is missing."""
    paths = []
    for number, rule in enumerate(rules):
        own = {"id": str(uuid.uuid5(uuid.NAMESPACE_URL, rule["title"])), "status": "test", "level": "medium", **rule}
        path = folder / f"rule_{number:02d}.yml"
        path.write_text(yaml.safe_dump(own, sort_keys=False, allow_unicode=True), encoding="utf-8")
        paths.append(path)
    return paths
