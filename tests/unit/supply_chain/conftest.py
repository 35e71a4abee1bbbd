"""Forecasts and policies that the supply chain's unit tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from scipy.stats import norm

from baton.specs.forecast import QUANTILES
from baton_packs.supply_chain.ordering.policies import ItemPolicy

Scored = Callable[..., pd.DataFrame]
Policy = Callable[..., ItemPolicy]


@pytest.fixture(scope="session")
def scored() -> Scored:
    def make(means: dict[str, float], *, cv: float = 0.15, horizon: int = 8, kind: str = "regular") -> pd.DataFrame:
        """Weekly normal demand around a mean per item, as a scored frame."""
        rows = []
        for item, mean in means.items():
            for step in range(1, horizon + 1):
                time = pd.Timestamp("2012-01-06") + pd.Timedelta(weeks=step)
                levels = {f"q{level:g}": max(0.0, mean * (1 + cv * norm.ppf(level))) for level in QUANTILES}
                rows.append(
                    {
                        "entity_key": f"{item}@{time:%Y-%m-%d}", "series": item, "time": time, "step": step,
                        "score": float(mean), **levels, "kind": kind, "method": "test", "dependence": 0.3, "scale": 1.0,
                    }
                )  # fmt: skip
        return pd.DataFrame(rows)

    return make


@pytest.fixture(scope="session")
def policy() -> Policy:
    def make(item: str = "a", **changes: Any) -> ItemPolicy:
        values: dict[str, Any] = {
            "item": item, "supplier": "north", "unit_cost": 10.0, "shortage_cost": 4.0, "holding_cost": 0.1,
            "order_cost": 40.0, "service_level": 0.95, "lead_time": {1: 0.7, 2: 0.3},
        }  # fmt: skip
        return ItemPolicy.model_validate(values | changes)

    return make
