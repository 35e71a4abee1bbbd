"""Simulated additions to the real sales, seeded: campaigns, bad rows, and the warehouse that lives on the orders.

**Campaigns.** From a week on marketing runs a campaign every second week. It is in the promotion plan (`promotion` 60,
else 5, where the recording has 0 to about 40), and lifts the demand of four departments by 70 %: a relation that no
earlier week knows.

**Warehouse.** Stock follows from the sales and from the orders that were really placed; each order arrives after a
lead time drawn from its policy. Demand beyond the stock is lost, and counted.
"""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from baton.data.partitions import safe_name
from baton.settings import settings
from baton_packs.supply_chain.ordering.policies import ItemPolicy

LIFTED = ("dept_01", "dept_38", "dept_93", "dept_95")
LIFT = 1.7
CAMPAIGN, USUAL = 60.0, 5.0
FIRST_STOCK_WEEKS = 3.0


def is_campaign(week: int, first: int) -> bool:
    """Campaigns begin in the week `first` and come every second week."""
    return week >= first and (week - first) % 2 == 0


def with_campaigns(frame: pd.DataFrame, weeks: Iterable[int], first: int) -> pd.DataFrame:
    """Sales or plan rows as they are with the campaigns; `weeks` numbers the week of each row."""
    frame, numbers = frame.copy(), np.asarray(list(weeks))
    later = numbers >= first
    running = np.array([is_campaign(int(week), first) for week in numbers], dtype=bool)
    frame.loc[later, "promotion"] = np.where(running, CAMPAIGN, USUAL)[later]
    if "units" in frame:
        lifted = running & frame["item"].isin(LIFTED).to_numpy()
        frame.loc[lifted, "units"] = (frame.loc[lifted, "units"].astype(float) * LIFT).round().astype("int64")
    return frame


def bad_sales(frame: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """A CSV delivery with a negative sale and a week delivered twice; and what was planted: sale_id, rule, right units."""
    rows = frame.astype({"units": object}).sort_values("item").reset_index(drop=True)
    negative, twice = rows.index[rows["item"] == "dept_93"][0], rows.index[rows["item"] == "dept_08"][0]
    planted = rows.loc[[negative, twice], ["sale_id", "units"]].astype({"sale_id": str, "units": int})
    planted = planted.assign(rule=["sales_negative", "week_twice"]).reset_index(drop=True)
    second = rows.loc[[twice]].copy()
    second["sale_id"], second["units"] = second["sale_id"] + "-b", planted["units"].iloc[1] + 111
    rows.loc[negative, "units"] = -planted["units"].iloc[0]
    text = io.StringIO()
    pd.concat([rows, second]).to_csv(text, index=False)
    return text.getvalue(), planted


def deliver(source: str, partition: str, content: pd.DataFrame | str) -> Path:
    """Put a delivery into the landing folder, whole or not at all: a frame as Parquet, a text as CSV."""
    folder = settings().landing_dir / source
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{safe_name(partition)}.*"):
        old.unlink()
    target = folder / f"{safe_name(partition)}.{'csv' if isinstance(content, str) else 'parquet'}"
    unfinished = target.with_suffix(".tmp")
    if isinstance(content, str):
        unfinished.write_text(content, encoding="utf-8")
    else:
        content.to_parquet(unfinished, index=False)
    unfinished.replace(target)
    return target


@dataclass
class Warehouse:
    """Stock of every item, week by week.

    Attributes:
        on_hand: units; due: units by weeks until they come (index 0: next week).
        lost: units of demand that could not be met, by week and item.
    """

    policies: Mapping[str, ItemPolicy]
    seed: int
    on_hand: dict[str, int] = field(default_factory=dict)
    due: dict[str, list[int]] = field(default_factory=dict)
    lost: dict[tuple[str, str], int] = field(default_factory=dict)

    def open(self, usual: Mapping[str, float]) -> None:
        """Start with so many weeks of usual sales."""
        self.on_hand = {item: round(FIRST_STOCK_WEEKS * units) for item, units in usual.items()}
        self.due = {item: [0] * 8 for item in usual}

    def order(self, week: int, quantities: Mapping[str, int]) -> None:
        """Take the week's orders; each comes after a lead time of its policy, the same for the same seed and week."""
        for item, units in quantities.items():
            policy = self.policies[item]
            rng = np.random.default_rng([self.seed, week, sorted(self.policies).index(item)])
            weeks = int(rng.choice(list(policy.lead_time), p=list(policy.lead_time.values())))
            self.due[item][weeks - 1] += int(units)

    def pass_week(self, partition: str, demand: Mapping[str, int]) -> None:
        """Receive what is due, then sell."""
        for item, units in demand.items():
            self.on_hand[item] += self.due[item].pop(0)
            self.due[item].append(0)
            sold = min(self.on_hand[item], int(units))
            self.lost[partition, item] = int(units) - sold
            self.on_hand[item] -= sold

    def delivery(self, partition: str) -> pd.DataFrame:
        """The count at the end of the week, as the source `stock` has it."""
        rows = [
            {"stock_id": f"{item}@{partition[:10]}", "item": item, "week": pd.Timestamp(partition, tz="UTC"),
             "seconds": np.nan, "on_hand": units, **{f"due_{i + 1}": self.due[item][i] for i in range(4)}}
            for item, units in sorted(self.on_hand.items())
        ]  # fmt: skip
        return pd.DataFrame(rows)
