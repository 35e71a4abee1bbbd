"""What scores where no version of a model can: rules of thumb, so that detection never waits for a model.

They see less than a model and say so by their scores: never above 0.8. The Sigma rules go on beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

SURE = 0.8  # at most: a rule of thumb decides nothing alone
FAILED_LOGINS, HALF_OPEN, BURST = (
    3,
    0.9,
    100,
)  # failed log-ins of one connection; share of half-open ones, of so many in two seconds


def network_intrusion(data: pd.DataFrame) -> pd.DataFrame:
    """Connections that guess passwords, open a root shell, or belong to a flood of half-open ones.

    Args:
        data: n rows of the contract `connections`.

    Returns:
        n rows: entity_key, score (0, 0.6 or 0.8), reasons (null).
    """
    guessing = data["num_failed_logins"].fillna(0) >= FAILED_LOGINS
    rooted = data["root_shell"].fillna(0) >= 1
    flood = (data["serror_rate"].fillna(0.0) >= HALF_OPEN) & (data["count"].fillna(0) >= BURST)
    score = (guessing | rooted).astype(float) * 0.6
    return _scores(data["metadata_uid"], score.where(~flood, SURE))


def log_anomaly(data: pd.DataFrame) -> pd.DataFrame:
    """Nothing is strange: what is usual for a host only a model knows.

    Args:
        data: n rows of the contract `log_counts`.

    Returns:
        n rows: entity_key, score (0), reasons (null).
    """
    return _scores(data["count_id"], data["count_id"].map(lambda _: 0.0))


def _scores(keys: pd.Series, scores: pd.Series) -> pd.DataFrame:
    import pandas as pd

    none = pd.Series([None] * len(keys), dtype=object)
    return pd.DataFrame(
        {"entity_key": keys.astype(str).to_numpy(), "score": scores.astype(float).to_numpy(), "reasons": none}
    )
