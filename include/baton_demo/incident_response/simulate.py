"""Simulated deliveries beside the recorded hour: rows that a log collector should not send, and a changed network.

Everything is seeded and comes with its ground truth. `deliver` writes where the pack's sources look for deliveries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from baton.data.partitions import parse_key, safe_name
from baton.packs.prepared import json_lines
from baton.settings import settings
from baton_demo.incident_response.simulation import hour
from baton_demo.incident_response.simulation.rows import COLUMNS, STEP

LONG_LINE = 10_000_000  # characters
_BINARY = b"\xff\xfe\x00\x9d\xc3\x28"


def bad_events(frame: pd.DataFrame, partition: str, seed: int) -> tuple[bytes, pd.DataFrame]:
    """A partition's events as a delivery with rows that must not go on.

    Args:
        frame: rows of the partition as recorded, at least 20: text cells, `time` on the calendar.
        seed: chooses the rows that are copied and spoilt; the right ones stay.

    Returns:
        JSON lines, and what was planted: `metadata_uid` (empty where the row cannot be read) and `kind`: `long line`
        (10 MB), `binary` (bytes that are no text), `clock ahead`, `clock behind`, `class`, `type`, `half` (cut in the middle).
    """
    rng = np.random.default_rng(seed)
    frame = frame[[name for name in ("time", *COLUMNS) if name in frame and name != "seconds"]]
    frame = frame.assign(time=[time.isoformat() for time in frame["time"]])
    rows = frame.iloc[rng.permutation(np.arange(len(frame)))[:7]].reset_index(drop=True).astype(object)
    rows["metadata_uid"] = [f"bad-{number}" for number in range(7)]
    start = pd.Timestamp(parse_key(partition))

    def spoilt(number: int, **cells: Any) -> bytes:
        return json_lines(rows.iloc[[number]].assign(**cells))

    marked = spoilt(1, raw_data="sshd[4242]: Failed password for BINARY from 198.51.100.4 port 4022 ssh2")
    planted = {
        "long line": spoilt(0, raw_data="sshd[4241]: Failed password for " + "A" * LONG_LINE),
        "binary": marked.replace(b"BINARY", _BINARY),
        "clock ahead": spoilt(2, time=(start + pd.Timedelta(hours=6)).isoformat()),
        "clock behind": spoilt(3, time=(start - pd.Timedelta(days=400)).isoformat()),
        "class": spoilt(4, class_uid=9999),
        "type": spoilt(5, dst_endpoint_port="twenty-two"),
        "half": spoilt(6)[:60] + b"\n",
    }
    truth = pd.DataFrame({"metadata_uid": list(rows["metadata_uid"]), "kind": list(planted)})
    truth.loc[truth["kind"].isin(["long line", "binary", "half"]), "metadata_uid"] = ""
    return json_lines(frame) + b"".join(planted.values()), truth


def changed_connections(partitions: list[str], seed: int) -> dict[str, pd.DataFrame]:
    """Connections of up to twelve partitions as they are a year later: new services, other sizes; no attacks among them."""
    parts = hour.connections_by_slot(hour.connections(seed, later=True))
    found = {}
    for part, partition in zip(parts, partitions, strict=False):
        since = part["seconds"] % STEP
        times = pd.Timestamp(parse_key(partition)) + pd.to_timedelta(since, unit="s")
        stamps = [time.isoformat() for time in times]
        uids = [f"{partition}-{uid}" for uid in part["metadata_uid"]]
        found[partition] = part.drop(columns="seconds").assign(time=stamps, metadata_uid=uids)
    return found


def deliver(source: str, partition: str, content: pd.DataFrame | bytes) -> Path:
    """Put a delivery into the landing folder, whole or not at all: JSON lines; it supersedes the recording."""
    folder = settings().landing_dir / source
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{safe_name(partition)}.jsonl"
    unfinished = target.with_suffix(".tmp")
    unfinished.write_bytes(content if isinstance(content, bytes) else json_lines(content))
    return unfinished.replace(target)
