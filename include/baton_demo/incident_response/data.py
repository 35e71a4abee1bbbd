"""A simulated hour at a company of 49 hosts and 60 accounts with three attacks in it, and what was known before.

No package carries a company's logs with the truth about them, so all of it is simulated, with fixed seeds, in the names
of OCSF and NSL-KDD; nothing is taken out of those data sets.

    incident_response/events/slot=00.jsonl .. 11         log-ins, processes, DNS and web requests of five minutes each
    incident_response/connections/slot=00.jsonl .. 11    connections with the 41 features of NSL-KDD
    incident_response/history_connections.parquet        samples of ten days before, with attack and is_attack
    incident_response/history_log_counts.parquet         what servers logged on the day before, counted, with attacked
    incident_response/truth.parquet                      what each event and connection was; no stage reads it
    incident_response/manifest.json                      seeds, rows and SHA-256 of each file

`seconds` counts from the hour's start; the calendar time is given when a partition is read (replay in sources.yaml).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.packs.downloads import Progress
from baton.packs.prepared import Builder, prepared

if TYPE_CHECKING:
    import pandas as pd

SEEDS = {"hour": 12, "connections": 13, "logs": 14, "later": 15}
START = datetime(2026, 1, 5, 10, tzinfo=UTC)  # of the hour, as the counts of the day before see it
# raise the layout when the files below change: older ones are then made again
ORIGIN: dict[str, Any] = {"layout": 3, "simulated": True, "seeds": SEEDS}
FOLDER = "incident_response"
SAID = (
    "simulated, seeded: a company of 49 hosts and 60 accounts, its events and connections, three attacks in an hour, late and "
    "doubled events, clocks that are wrong; firewall, directory, tickets and look-ups are stand-ins on this machine"
)


def prepare(data_dir: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Simulates the data unless they are there already, with every hash as recorded.

    Args:
        data_dir: folder of converted data sets.
        progress: called with what is being done, done so far, total.

    Returns:
        the manifest.

    Raises:
        SourceError: the folder cannot be replaced.
    """
    report = progress or (lambda what, done, total: None)
    return prepared(data_dir / FOLDER, ORIGIN, lambda builder, work: _build(builder, report))


def _build(builder: Builder, report: Progress) -> dict[str, Any]:
    import pandas as pd

    from baton_demo.incident_response.simulation import history, hour

    what = "simulating events and connections"
    report(what, 0, 3)
    events, connections = hour.events(SEEDS["hour"]), hour.connections(SEEDS["hour"])
    parts = zip(hour.deliveries(events, SEEDS["hour"]), hour.connections_by_slot(connections), strict=True)
    for slot, (told, seen) in enumerate(parts):
        builder.write_lines(told, f"events/slot={slot:02d}.jsonl")
        builder.write_lines(seen, f"connections/slot={slot:02d}.jsonl")
    truth = pd.concat([events[["metadata_uid", "attack"]], connections[["metadata_uid", "attack"]]], ignore_index=True)
    builder.write(truth, "truth.parquet")
    report(what, 1, 3)
    known = history.connections(SEEDS["connections"])
    builder.write(known, "history_connections.parquet")
    report(what, 2, 3)
    counts = counted(history.log_events(SEEDS["logs"]))
    builder.write(counts, "history_log_counts.parquet")
    report(what, 3, 3)
    return {
        "events": len(events),
        "connections": len(connections),
        "known_connections": len(known),
        "log_counts": len(counts),
    }


def counted(lines: pd.DataFrame) -> pd.DataFrame:
    """Log lines of the day before as the pack counts them, a row a host and five minutes, with `attacked`.

    Args:
        lines: events with `seconds` before the hour's start and `is_attack`.
    """
    import pandas as pd

    from baton_demo.incident_response.simulation.rows import STEP
    from baton_packs.incident_response.detection.log_counts import count_logs

    timed = lines.assign(time=START + pd.to_timedelta(lines["seconds"], unit="s"))
    counts = count_logs(timed.drop(columns=["seconds", "is_attack"]))
    counts = counts.drop(
        columns=[name for name in counts.columns if str(name).startswith("_")]
    )  # the engine's bookkeeping
    at = timed["time"].dt.floor(f"{STEP}s")
    attacked = timed.groupby(["device_hostname", at])["is_attack"].max()
    keys = pd.MultiIndex.from_frame(counts[["device_hostname", "time"]])
    return counts.assign(attacked=attacked.reindex(keys).to_numpy().astype("int64"))
