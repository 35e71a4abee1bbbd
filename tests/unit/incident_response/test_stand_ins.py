"""What scores where no model can: every row once, and never too sure."""

from __future__ import annotations

import pandas as pd

from baton_packs.incident_response import stand_ins


def test_guessing_root_shells_and_floods_are_suspicious() -> None:
    rows = pd.DataFrame({
        "metadata_uid": ["calm", "guess", "root", "flood", "unknown"], "num_failed_logins": [0, 3, 0, 0, None], "root_shell": [0, 0, 1, 0, None],
        "serror_rate": [0.0, 0.0, 0.0, 1.0, None], "count": [1, 1, 1, 200, None],
    })  # fmt: skip
    found = stand_ins.network_intrusion(rows)
    assert dict(zip(found["entity_key"], found["score"], strict=True)) == {
        "calm": 0.0,
        "guess": 0.6,
        "root": 0.6,
        "flood": 0.8,
        "unknown": 0.0,
    }


def test_without_a_model_no_log_is_strange() -> None:
    found = stand_ins.log_anomaly(pd.DataFrame({"count_id": ["a", "b"]}))
    assert found["score"].tolist() == [0.0, 0.0]
    assert stand_ins.log_anomaly(pd.DataFrame({"count_id": pd.Series(dtype=object)})).empty
