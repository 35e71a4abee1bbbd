"""The promotion decision for forecasts: challenger and champion at the same origins.

The ladder is that of `baton.families.verdict`. Its cases are (series, origin) pairs, its bound is `ceiling`, since metrics
are errors; its slices are segments, whose metric may rise by a share. Money: the challenger's orders must not cost more
than the champion's; a first version's must cost less than those by the seasonal naive with a fixed safety stock.

A global model that was trained on the judged periods has learnt them by heart, its challenger has not. They are compared
on later periods where there are `min_cases` pairs with some; else a challenger that does not win may still be better:
MORE_DATA instead of HOLD.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from baton.families.forecast import backtest, losses, orders, resampling
from baton.families.forecast.methods.boosting import Global
from baton.families.forecast.model import FittedForecaster
from baton.families.forecast.panel.periods import to_period
from baton.families.forecast.panel.series import prepare
from baton.families.verdict import GateRule, GateVerdict, Ladder, Ruling, Slice, first
from baton.specs.forecast import ForecastSpec

KEYS = ["series", "origin"]
NAMES = {"mase": "MASE", "smape": "sMAPE", "wape": "WAPE", "pinball": "scaled pinball loss"}  # as sentences call them
SEGMENT_CASES = 10  # fewer say nothing about a segment; it is listed, not judged


def judge(
    spec: ForecastSpec, frame: pd.DataFrame, champion: FittedForecaster | None, challenger: FittedForecaster
) -> GateVerdict:
    """Compare a challenger's backtest with the champion's forecasts at the same origins.

    Args:
        frame: the history frame of the challenger's backtest, with the columns that segments and prices name.
        champion: None for a first version.

    Raises:
        ModelError: the frame cannot be read with either model's setting, or a price is missing.
    """
    judge = _Judge(spec, frame, champion, challenger)
    return judge.climb(*judge.rules())


class _Judge(Ladder):
    """Figures and rules of forecasts."""

    def __init__(
        self, spec: ForecastSpec, frame: pd.DataFrame, champion: FittedForecaster | None, challenger: FittedForecaster
    ) -> None:
        super().__init__(spec.gate, spec.gate.metric, NAMES[spec.gate.metric], errors=True)
        self.spec, self.gate, self.frame = spec, spec.gate, frame
        self.champion, self.challenger = champion, challenger
        self.models = ["challenger"] if champion is None else ["challenger", "champion"]
        self.cases = pd.DataFrame()
        self.flattered = False

    def rules(self) -> tuple[GateRule, ...]:
        """From the first to the last; `_compared` only fills the table."""
        return self._usable, self._enough, self._compared, self._ceiling, self._against

    def _usable(self) -> Ruling | None:
        self.columns = sorted({*self._prices(), *self.gate.segments})
        self.panel = prepare(self.challenger.setting, self.frame, self.columns)
        self.rows = {"challenger": self.challenger.judged()}
        if self.champion is not None:
            self.rows["champion"] = self._replayed(self.champion)
            self._align()
            self._unseen(self.champion)
        for name, rows in self.rows.items():
            broken = int((~np.isfinite(rows["forecast"])).sum())
            if broken:
                return "HOLD", f"The {name} cannot be judged: {broken} of {len(rows)} forecasts are not finite numbers."
        if not len(self.rows["challenger"]):
            return "HOLD", "The challenger cannot be judged: no (series, origin) pair has forecasts of all models."
        return None

    def _enough(self) -> Ruling | None:
        self.cases = self._cases(self.gate.metric)
        self.size = len(self.cases)
        if self.size >= self.gate.min_cases:
            return None
        return "MORE_DATA", (
            f"The backtest holds {self.size} (series, origin) pairs; {self.gate.min_cases} are needed to judge."
        )

    def _compared(self) -> None:
        names = sorted(losses.METRICS, key=lambda name: (name != self.gate.metric, name))
        self.table = [self._row(name, self.cases if name == self.gate.metric else self._cases(name)) for name in names]

    def _ceiling(self) -> Ruling | None:
        return self.by_bound(self.gate.ceiling)

    def _against(self) -> Ruling:
        """The rules that compare with the champion, or with the rule of thumb."""
        decision, reason = first(self._money, self._segments, self._gain)
        if decision == "HOLD" and self.flattered:
            return "MORE_DATA", f"{reason} But the champion knows these periods by heart: wait for more of them."
        return decision, reason

    def _replayed(self, champion: FittedForecaster) -> pd.DataFrame:
        """The champion's forecasts at the challenger's origins, with its own intervals."""
        panel = prepare(champion.setting, self.frame)
        times = np.unique(self.rows["challenger"]["origin"])
        numbers = to_period(pd.Series(times), champion.setting.frequency)[0]
        columns = [int(number) - panel.first for number in numbers]
        rows = backtest.replay(champion.setting, panel, columns, champion.points)
        if self.challenger.setting.hierarchy and not champion.setting.hierarchy:
            self.notes.append("The champion's forecasts are not reconciled; only the series are compared.")
        return champion.intervals.apply(rows.assign(level=self.rows["challenger"]["level"].max()))

    def _align(self) -> None:
        """Keep the rows that both have; the challenger's target and scale count for both."""
        keys = [*KEYS, "step"]
        both = self.rows["challenger"][keys].merge(self.rows["champion"][keys], on=keys)
        dropped = len(self.rows["challenger"]) - len(both)
        if dropped:
            self.notes.append(f"{dropped} forecasts are left out: the champion has none of their period.")
        for name in self.models:
            self.rows[name] = both.merge(self.rows[name], on=keys).sort_values(keys, ignore_index=True)
        self.rows["champion"]["scale"] = self.rows["challenger"]["scale"]

    def _unseen(self, champion: FittedForecaster) -> None:
        """Judge on periods that the champion was not trained on, where there are enough; else say that it is flattered.

        One-series models are fitted at each origin, so only a global model has seen anything beforehand.
        """
        if not any(isinstance(part, Global) for part in champion.parts):
            return
        rows = self.rows["challenger"]
        fresh = to_period(rows["time"], champion.setting.frequency)[0] > champion.last
        inside = rows.loc[~fresh, "origin"].nunique()
        if not inside:
            return
        cases = len(rows.loc[fresh, KEYS].drop_duplicates())
        text = f"Periods that the champion was trained on lie in {inside} of {rows['origin'].nunique()} origins"
        if cases < self.gate.min_cases:
            self.flattered = True
            self.notes.append(
                f"{text}, which flatters it: the challenger was fitted anew at each origin, and the {cases} pairs after "
                "the champion's training are too few to judge by alone."
            )
            return
        self.notes.append(f"{text}; they are left out of the comparison.")
        self.rows = {name: table[fresh].reset_index(drop=True) for name, table in self.rows.items()}

    def _cases(self, metric: str, keep: pd.Series | None = None) -> pd.DataFrame:
        """One row per case with the columns top_ and bottom_ of each model."""
        found: pd.DataFrame | None = None
        for name in self.models:
            rows = self.rows[name] if keep is None else self.rows[name][keep.to_numpy()]
            levels = (self.challenger if name == "challenger" else self.champion).setting.quantiles  # type: ignore[union-attr]
            one = losses.cases(rows, metric, levels)
            one = one.rename(columns={"top": f"top_{name}", "bottom": f"bottom_{name}"})
            found = one if found is None else found.merge(one, on=KEYS)
        assert found is not None
        return found

    def _row(self, label: str, cases: pd.DataFrame) -> dict[str, Any]:
        """A line of the table: values, difference and intervals."""
        models = {name: (f"top_{name}", f"bottom_{name}") for name in self.models}
        draws = resampling.draw(cases, models, self.gate.resamples, self.spec.training.seed)
        sums = {name: (cases[top].sum(), cases[bottom].sum()) for name, (top, bottom) in models.items()}
        values = {name: float(top / max(bottom, 1e-300)) for name, (top, bottom) in sums.items()}
        own = draws.interval(self.gate.confidence, "challenger")
        row: dict[str, Any] = {"metric": label, "champion": values.get("champion"), "challenger": values["challenger"]}
        row |= {"difference": None, "low": None, "high": None, "challenger_low": own[0], "challenger_high": own[1]}
        if self.champion is not None:
            row["low"], row["high"] = draws.interval(self.gate.confidence, "challenger", "champion")
            row["difference"] = values["challenger"] - values["champion"]
        return row

    def _money(self) -> Ruling | None:
        cost = self.gate.cost
        if cost is None:
            return None
        prices, seed = orders.prices(cost, self.panel), self.spec.training.seed
        found: pd.DataFrame | None = None
        for name in self.models:
            one = orders.order_cost(cost, self.challenger.setting, self.rows[name], prices, seed)
            self.cost[name] = {**_priced(one), "cases": len(one)}
            one = one[[*KEYS, "cost"]].rename(columns={"cost": f"top_{name}"}).assign(**{f"bottom_{name}": 1.0})
            found = one if found is None else found.merge(one, on=KEYS)
        assert found is not None
        if not len(found):
            self.cost = {}
            self.notes.append(f"Orders are not compared: no pair has all of its first {cost.lead + 1} periods.")
            return None
        naive = orders.naive_cost(cost, self.challenger.setting, self.panel, self.rows["challenger"], prices)
        self.cost["seasonal_naive"] = _priced(naive)
        self.table.append(self._row("cost", found))
        price = self.cost["challenger"]["per_case"]
        rule = (
            f"orders by the seasonal naive with a fixed safety stock cost {self.cost['seasonal_naive']['per_case']:.2f}"
        )
        if len(found) < self.gate.min_cases:
            self.notes.append(
                f"{len(found)} pairs are too few to judge the cost of orders; {self.gate.min_cases} are needed."
            )
            return None
        if self.champion is None:
            if price >= self.cost["seasonal_naive"]["per_case"]:
                return (
                    "HOLD",
                    f"The challenger's orders cost {price:.2f} per case, no less than without a model: {rule}.",
                )
            self.notes.append(f"The challenger's orders cost {price:.2f} per case; {rule}.")
            return None
        before, row = self.cost["champion"]["per_case"], self.table[-1]
        if held := self.by_price("The challenger's orders cost", price, before, row, " per case"):
            return held
        self.notes.append(
            f"The challenger's orders cost {price:.2f} per case, the champion's {before:.2f} ({self.span(row)}); {rule}."
        )
        return None

    def _segments(self) -> Ruling | None:
        return self.by_slices(self._judged_segments())

    def _judged_segments(self) -> Iterator[Slice]:
        rise = self.gate.segment_rise
        for column in self.gate.segments:
            value_of = dict(zip(self.panel.ids, self.panel.attributes[column], strict=True))
            values = self.rows["challenger"]["series"].map(value_of)
            for value in sorted(values.dropna().unique(), key=str):
                row = self._segment(f"{column} {value}", values == value)
                self.slices.append(row)
                if row["judged"]:
                    where = f"segment {row['slice']} ({row['rows']} cases)"
                    yield Slice(where, row, rise * row["champion"], f"{rise:.0%}")

    def _segment(self, name: str, keep: pd.Series) -> dict[str, Any]:
        cases = self._cases(self.gate.metric, keep)
        row: dict[str, Any] = {"slice": name, "rows": len(cases), "positives": 0, "judged": False}
        if len(cases) < min(SEGMENT_CASES, self.gate.min_cases):
            return row
        figures = self._row(name, cases)
        row |= {key: figures[key] for key in ("champion", "challenger", "difference", "low", "high")}
        return row | {"judged": self.champion is not None}

    def _gain(self) -> Ruling:
        return self.by_gain(self.gate.ceiling, f"{self.size} (series, origin) pairs")

    def _prices(self) -> list[str]:
        cost = self.gate.cost
        return [] if cost is None else [source for source in (cost.short, cost.over) if isinstance(source, str)]


def _priced(orders: pd.DataFrame) -> dict[str, float]:
    return {"total": float(orders["cost"].sum()), "per_case": float(orders["cost"].mean())}
