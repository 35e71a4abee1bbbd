"""The seeded hour: twelve partitions of events and connections with three attacks among them, as they are delivered.

What is delivered is not quite what happened: some events come late, some come twice, one desk's clock is ahead.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from baton_demo.incident_response import company
from baton_demo.incident_response.simulation import attacks, logs, office, traffic
from baton_demo.incident_response.simulation.features import with_traffic_features
from baton_demo.incident_response.simulation.rows import COLUMNS, STEP, Events, daily

HOUR, SLOTS = 3600, 12
BEGINS = 10 * 3600  # of the day that it is like
CONNECTIONS = 260.0  # ordinary ones in five busy minutes
LATE, TWICE = 0.012, 0.01  # share of events that come a partition later, that come again in the next one
AHEAD, AHEAD_BY = "ws-23", 420.0  # the desk whose clock is ahead, and by how many seconds
SENSOR = (
    "metadata_uid", "seconds", "class_uid", "src_endpoint_ip", "dst_endpoint_ip", "device_hostname", "user_name",
)  # fmt: skip


def events(seed: int) -> pd.DataFrame:
    """All events of the hour in order of time, with the truth (`attack`)."""
    rng = np.random.default_rng([seed, 1])
    busy = daily(BEGINS + HOUR / 2)
    whole = Events().take([
        logs.everyday(rng, 0, HOUR, busy), office.everyday(rng, 0, HOUR, busy), attacks.guessing(rng), attacks.moving(rng),
        attacks.leaking(rng), attacks.scanning(rng),
    ])  # fmt: skip
    frame = whole.frame("e")
    return frame[frame["seconds"].between(0, HOUR, inclusive="left")].reset_index(drop=True)


def connections(seed: int, later: bool = False) -> pd.DataFrame:
    """All connections of the hour with their features and the truth (`attack`, `is_attack`).

    Args:
        later: the hour as it would be a year later, with other services and without the three attacks.
    """
    made = traffic.Traffic(np.random.default_rng([seed, 2 + later]))
    traffic.everyday(
        made, 0, HOUR, SLOTS * CONNECTIONS * daily(BEGINS + HOUR / 2), later, () if later else attacks.SCANNED
    )
    if not later:
        _attacks(made)
    frame = made.frame()
    frame = frame[frame["seconds"].between(0, HOUR, inclusive="left")]
    return named(with_traffic_features(frame), "c" if not later else "l")


def _attacks(made: traffic.Traffic) -> None:
    hosts, rng = company.hosts(), made.rng
    jump, desk = hosts[company.JUMP].address, hosts[attacks.LEAKING_DESK].address
    begin, end = attacks.GUESSING
    traffic.guess(made, begin, end - begin, 172, attacks.BRUTE_FORCE, source=company.ATTACKER, target=jump)
    traffic.takeover(made, attacks.ENTERED, 1, 1, attacks.BRUTE_FORCE, source=company.ATTACKER, target=jump)
    for at, name in ((attacks.MOVED, company.DATABASE), (attacks.MOVED_AGAIN, company.FILES)):
        traffic.takeover(made, at, 1, 1, attacks.LATERAL_MOVEMENT, source=jump, target=hosts[name].address)
    begin, end = attacks.LEAKING
    traffic.leak(made, begin, end - begin, 14, attacks.EXFILTRATION, source=desk, target=company.EXFILTRATED_TO)
    traffic.tunnel(
        made, begin, end - begin - 200, 260, attacks.EXFILTRATION, source=desk, target=company.EXFILTRATED_TO
    )
    begin, end = attacks.SCANNING
    scanned = [hosts[name] for name in attacks.SCANNED]
    source = hosts[company.SCANNER].address
    for burst, minute in enumerate(
        np.arange(begin, end, 150) + rng.uniform(0, 20)
    ):  # all hosts at first, then those that answered
        number = 150 if burst == 0 else 36
        traffic.sweep(made, minute, 60, number, attacks.SCANNER, source=source, targets=scanned, harmless=True)


def named(frame: pd.DataFrame, prefix: str) -> pd.DataFrame:
    """Connections as a sensor hands them over: identifier, class, host; the source's port stays with the sensor."""
    by_address = {host.address: name for name, host in company.hosts().items()}
    host = frame["dst_endpoint_ip"].map(by_address).fillna(frame["src_endpoint_ip"].map(by_address))
    uids = [f"{prefix}{number:06d}" for number in range(len(frame))]
    named = frame.drop(columns="src_port").assign(
        metadata_uid=uids, class_uid=4001, device_hostname=host, user_name=None
    )
    return named[[*SENSOR, *(name for name in named.columns if name not in SENSOR)]].reset_index(drop=True)


def deliveries(frame: pd.DataFrame, seed: int) -> list[pd.DataFrame]:
    """The events as they arrive, partition by partition (`COLUMNS`): late ones, ones that come twice, a clock that is ahead."""
    rng = np.random.default_rng([seed, 4])
    slot = (frame["seconds"] // STEP).astype(int)
    calm = frame["attack"].eq("") | rng.random(len(frame)).__lt__(0.5)  # half of the attacks' events are never late
    late = (rng.random(len(frame)) < LATE) & calm & (slot < SLOTS - 1)
    twice = (rng.random(len(frame)) < TWICE) & (slot < SLOTS - 1)
    skewed = (frame["device_hostname"] == AHEAD) & slot.between(6, 7)
    told = frame.assign(seconds=frame["seconds"] + AHEAD_BY * skewed)
    arrived = slot + late
    found = []
    for number in range(SLOTS):
        again = told[twice & (arrived + 1 == number)]
        found.append(pd.concat([told[arrived == number], again])[list(COLUMNS)].reset_index(drop=True))
    return found


def connections_by_slot(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """The connections as they arrive, partition by partition, without the truth."""
    plain = frame.drop(columns=["attack", "is_attack"])
    slot = (frame["seconds"] // STEP).astype(int)
    return [plain[slot == number].reset_index(drop=True) for number in range(SLOTS)]
