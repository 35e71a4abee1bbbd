"""Stages of detection: pure functions, frames in, frame out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from baton.errors import BatonError
from baton_packs.incident_response import HERE
from baton_packs.incident_response.detection import alerts, log_counts, matched
from baton_packs.incident_response.detection.rules import load_rules

if TYPE_CHECKING:
    from collections.abc import Sequence

RULES = HERE / "rules"


def once(data: pd.DataFrame) -> pd.DataFrame:
    """Each row once: collectors and sensors deliver again what they are not sure of.

    A row that repeats another in every cell goes. One that has another's `metadata_uid` and says something else stays, under
    `<uid>~2`, `~3` ...: who may choose a uid must not be able to hide a row behind it.

    Args:
        data: n rows of the contract `events` or `connections`.

    Returns:
        m <= n rows in their order, `metadata_uid` unique.
    """
    told = [name for name in data.columns if not name.startswith("_")]
    again = data.duplicated("metadata_uid", keep=False).to_numpy()  # a row that repeats another repeats its uid
    again[again] = data.loc[again, told].duplicated().to_numpy()
    kept = data[~again].reset_index(drop=True)
    names = kept["metadata_uid"].tolist()
    taken, before = set(names), Counter[str]()
    for at in np.flatnonzero(kept["metadata_uid"].duplicated().to_numpy()):
        before[names[at]] += 1
        name = f"{names[at]}~{before[names[at]] + 1}"
        while name in taken:
            name += "~"
        taken.add(name)
        names[at] = name
    return kept.assign(metadata_uid=pd.Series(names, dtype=object))


def detect(events: pd.DataFrame, before: pd.DataFrame | None = None) -> pd.DataFrame:
    """Run the pack's Sigma rules over a partition's events.

    Args:
        events: n rows of the contract `events`.
        before: rows of `carried` for the partitions before.

    Returns:
        the alerts (contract `alerts`), 0 rows where nothing is found.

    Raises:
        SpecError: a rule file has a mistake; names file and line.
        BatonError: the rules took too long.
    """
    return alerts.rule_alerts(once(events), load_rules(RULES), before)


def carried(events: pd.DataFrame) -> pd.DataFrame:
    """What the rules' correlations need of a partition's events in later partitions, see `matched.carried`."""
    return matched.carried(once(events), load_rules(RULES))


def count_logs(events: pd.DataFrame) -> pd.DataFrame:
    """Count what each host logged in five minutes each, see `log_counts.count_logs`; the contract `log_counts`."""
    return log_counts.count_logs(once(events))


def model_alerts(
    connections: pd.DataFrame,
    network_intrusion: pd.DataFrame,
    log_counts: pd.DataFrame,
    log_anomaly: pd.DataFrame,
    *,
    suspicious: float = 0.5,
    strange: float = 0.995,
) -> pd.DataFrame:
    """Turn the models' scores into alerts.

    Args:
        connections: n rows of the contract `connections`, `metadata_uid` unique (see `once`).
        network_intrusion, log_anomaly: entity_key, score (0..1), reasons (JSON list of [feature, contribution], or null).
        log_counts: m rows of the contract `log_counts`.
        suspicious: probability of an attack from which a connection is an alert.
        strange: quantile of the log model from which a host's five minutes are one.

    Returns:
        the alerts (contract `alerts`).

    Raises:
        BatonError: a score belongs to no row, or a parameter is out of range.
    """
    for name, value in (("suspicious", suspicious), ("strange", strange)):
        if not 0 < value < 1:
            raise BatonError(f"model_alerts: {name}={value} must lie between 0 and 1")
    for scores, keys, what in (
        (network_intrusion, connections["metadata_uid"], "network_intrusion"),
        (log_anomaly, log_counts["count_id"], "log_anomaly"),
    ):
        foreign = scores.loc[~scores["entity_key"].astype(str).isin(keys.astype(str)), "entity_key"]
        if len(foreign):
            raise BatonError(
                f"{what}: the score of {foreign.iloc[0]!r} belongs to no row; both must be of one partition"
            )
    found = [
        *alerts.intrusion_alerts(connections, network_intrusion, suspicious),
        *alerts.log_alerts(log_counts, log_anomaly, strange),
    ]
    return alerts.frame_of(found)


def join_alerts(rules: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """Alerts of rules and of models as one frame, in the order of time."""
    return _joined([rules, models])


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    rows: list[Any] = [row for part in parts for row in part[list(alerts.COLUMNS)].to_dict("records")]
    return alerts.frame_of(rows)
