"""What happened before the recording and is known to the analysts: connections and log lines, some of them attacks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from baton_demo.incident_response import company
from baton_demo.incident_response.simulation import logs, traffic
from baton_demo.incident_response.simulation.features import with_traffic_features
from baton_demo.incident_response.simulation.hour import named
from baton_demo.incident_response.simulation.rows import COLUMNS, STEP, Events, daily

DAY = 86_400
SAMPLES, ORDINARY = 72, 230.0  # five-minute samples of connections, and ordinary ones in each at the busiest
DAYS_OF_LOGS = 1
ATTACKED = 0.03  # share of five minutes in which a host's log has an attack in it
MISJUDGED = 0.003  # share of labels that are wrong


def connections(seed: int) -> pd.DataFrame:
    """Sampled five minutes of ten days before, with `is_attack` as the analysts labelled them and the kind as `attack`."""
    rng = np.random.default_rng([seed, 5])
    samples = []
    for number in range(SAMPLES):
        start = float(-10 * DAY + number * (10 * DAY // SAMPLES))
        made = traffic.Traffic(rng)
        traffic.everyday(made, start, STEP, ORDINARY * daily(start))
        if daily(start) < 0.3:
            traffic.backup(made, start + rng.uniform(0, 200))
        for kind in rng.choice(list(traffic.ATTACKS), int(rng.integers(0, 3)), replace=False):
            work, lasts, many = traffic.ATTACKS[str(kind)]
            seconds = rng.uniform(*lasts)
            work(made, start + rng.uniform(0, STEP - seconds), seconds, int(rng.integers(*many)))
        if number % 5 == 2:  # the weekly scans by order, one host group at a time
            source = company.hosts()[company.SCANNER].address
            traffic.sweep(made, start + 20, 240, 14, "ordered sweep", source=source, harmless=True)
        if made.rng.random() < 0.25:  # somebody patient
            traffic.guess(made, start, STEP, 3)
        samples.append(with_traffic_features(made.frame()))
    frame = named(pd.concat(samples, ignore_index=True), "h")
    wrong = rng.random(len(frame)) < MISJUDGED
    return frame.assign(is_attack=np.where(wrong, 1 - frame["is_attack"], frame["is_attack"]))


def log_events(seed: int) -> pd.DataFrame:
    """Log lines of the servers over the day before (`COLUMNS`), with `is_attack`: whether the line belongs to an attack."""
    rng = np.random.default_rng([seed, 6])
    parts = []
    for start in np.arange(-DAYS_OF_LOGS * DAY, 0, STEP):
        parts.append(logs.everyday(rng, float(start), STEP, daily(float(start))))
        parts += _attacks(rng, float(start))
        if start % DAY < 3 * 3600:  # the scan by order, every night
            scan, source = Events(), company.hosts()[company.SCANNER].address
            for host in company.hosts().values():
                if host.asset_class == company.SERVER:
                    logs.banners(scan, rng, host, source, float(start), float(start) + STEP, int(rng.integers(1, 5)))
            parts.append(scan)
    frame = Events().take(parts).frame("o")
    frame = frame[frame["seconds"] < 0]
    return frame[list(COLUMNS)].assign(is_attack=(frame["attack"] != "").astype("int64")).reset_index(drop=True)


def _attacks(rng: np.random.Generator, start: float) -> list[Events]:
    servers = [host for host in company.hosts().values() if host.asset_class == company.SERVER]
    found = []
    for host in servers:
        if rng.random() >= ATTACKED:
            continue
        events, source = Events("guess"), f"198.51.100.{rng.integers(1, 31)}"
        for number, at in enumerate(np.sort(rng.uniform(start, start + STEP, int(rng.integers(6, 60))))):
            user = ("root", "admin", "postgres", "backup")[rng.integers(4)]
            logs.failed(events, float(at), host, user, source, 42_000 + number, 9_000 + number, known=user == "root")
        if rng.random() < 0.2:
            logs.session(events, start + STEP - 5, host, "root", source, 44_000, 9_900, 2, method="password")
        found.append(events)
    return found
