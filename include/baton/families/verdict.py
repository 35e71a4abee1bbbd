"""The promotion decision: what every gate says, and the ladder of rules that the gates of all families climb.

A challenger and its champion were asked about the same cases that neither has seen. Rules, in this order (the first that
applies decides; the table is filled as far as possible):

1. What cannot be judged (figures that are not finite, one answer for everything) is held.
2. Too few cases: MORE_DATA.
3. The challenger's metric must keep the bound of the spec, `floor` or `ceiling`, champion or not.
4. Money, where the spec prices errors: the challenger must not cost more than the champion; a first version must cost less
   than the policies that need no model.
5. No slice of the cases (range, class, segment) may lose more than is tolerated, unless the loss is within noise.
6. The gap between declared groups must keep its bound, champion or not.
7. The gain in the metric: PROMOTE when the lower end of its paired bootstrap interval reaches `min_gain` and the gain is
   above zero; MORE_DATA when the challenger looks better but the interval does not show it; else HOLD.

A `min_gain` of 0 asks for an interval above 0. One case that differs, of however many, is absent from a third of the
resamples: the interval of its gain begins at 0 exactly, and to reach that would be no evidence.

A tie keeps the champion: replacing a model has a price that no table shows.

The families bring the figures, and rules of their own between these.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from baton.specs.policy import GatePolicy

Decision = Literal["PROMOTE", "HOLD", "MORE_DATA"]
Ruling = tuple[Decision, str]
GateRule = Callable[[], Ruling | None]
ROUNDING = 1e-12  # what adding up in another order makes of a difference of nothing


@dataclass(frozen=True)
class GateVerdict:
    """What the gate says.

    Attributes:
        decision: PROMOTE | HOLD | MORE_DATA.
        reasons: plain sentences with numbers; the first is the one that decided.
        table: one dict per figure: metric, champion, challenger, difference, low, high (interval of the difference,
            None where there is none).
        metric: name of the metric that decides.
        rows, positives: size of the judged holdout.
        thresholds: alert thresholds by `champion` and `challenger` that were cheapest on all judged rows; empty without a price.
        cost: money figures of both, each row decided by a threshold that it had no part in; empty without a price.
        slices: one dict per slice: slice, positives, champion, challenger, difference, low, high, judged.
        fairness: one dict per rule: name, column, metric, max_gap, min_rows, gaps (by model) and groups (one dict each: group,
            counted, judged, challenger, champion).
    """

    decision: Decision
    reasons: list[str]
    table: list[dict[str, Any]] = field(default_factory=list)
    metric: str = ""
    rows: int = 0
    positives: int = 0
    thresholds: dict[str, float] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    slices: list[dict[str, Any]] = field(default_factory=list)
    fairness: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; an infinite threshold (alert nobody) is written as null."""
        document = asdict(self)
        document["thresholds"] = {k: v if math.isfinite(v) else None for k, v in self.thresholds.items()}
        return document


@dataclass(frozen=True)
class Slice:
    """Some of the cases, looked at by themselves.

    Attributes:
        where: how a sentence calls it, with its size.
        row: champion, challenger, difference, low, high of the metric in it.
        tolerated: largest loss, in units of the metric.
        said: how a sentence writes that.
    """

    where: str
    row: Mapping[str, Any]
    tolerated: float
    said: str


class Ladder:
    """One pass over the rules of a gate; an object, so that table and notes survive an early decision.

    Attributes:
        table: see `GateVerdict`; its first row is the metric that decides.
        size, positives: of the judged holdout.
        notes: sentences below the one that decides.
    """

    def __init__(self, policy: GatePolicy, metric: str, name: str, *, errors: bool = False) -> None:
        """Start at the bottom.

        Args:
            metric: the one that decides, `name` as sentences call it.
            errors: it measures errors, so less is better.
        """
        self.policy, self.metric, self.name, self.errors = policy, metric, name, errors
        self.size = self.positives = 0
        self.notes: list[str] = []
        self.table: list[dict[str, Any]] = []
        self.slices: list[dict[str, Any]] = []
        self.fairness: list[dict[str, Any]] = []
        self.thresholds: dict[str, float] = {}
        self.cost: dict[str, Any] = {}

    def climb(self, *rules: GateRule) -> GateVerdict:
        """The verdict of the first rule that decides."""
        decision, reason = first(*rules)
        judged = self.metric, self.size, self.positives, self.thresholds, self.cost, self.slices, self.fairness
        return GateVerdict(decision, [reason, *self.notes], self.table, *judged)

    def by_bound(self, bound: float) -> Ruling | None:
        """Hold a challenger below the floor, or above the ceiling of an error."""
        value = self.table[0]["challenger"]
        if value > bound if self.errors else value < bound:
            where = "above the ceiling" if self.errors else "below the floor"
            return "HOLD", f"The challenger's {self.name} of {value:.4f} is {where} of {bound:.4f}."
        return None

    def by_price(
        self, subject: str, price: float, before: float, row: Mapping[str, Any], per: str = ""
    ) -> Ruling | None:
        """Hold a challenger that costs more than the champion.

        Args:
            subject: what costs, with its verb.
            price, before: what challenger and champion cost, in currency units, `per` what.
            row: low and high, the interval of the difference.
        """
        if price > before:
            text = f"{subject} more: {price:.2f}{per} against the champion's {before:.2f} ({self.span(row)})."
            return "HOLD", text
        return None

    def span(self, row: Mapping[str, Any]) -> str:
        """The interval of a difference in money, in words."""
        return f"{self.policy.confidence:.0%} interval of the difference {row['low']:+.2f} to {row['high']:+.2f}"

    def by_slices(self, slices: Iterable[Slice], name: str | None = None) -> Ruling | None:
        """Hold a challenger that is clearly worse in a slice; what may be noise becomes a note.

        Args:
            name: what `Slice.row` measures, if it is not the metric that decides.
        """
        held: list[str] = []
        for one in slices:
            row = one.row
            if (row["difference"] if self.errors else -row["difference"]) <= one.tolerated:
                continue
            text = (
                f"In {one.where} the {name or self.name} {'rises' if self.errors else 'falls'} from "
                f"{row['champion']:.4f} to {row['challenger']:.4f}, more than the tolerated {one.said}"
            )
            interval = f"interval {row['low']:+.4f} to {row['high']:+.4f}"
            if row["low"] <= 0 if self.errors else row["high"] >= 0:
                self.notes.append(f"{text}; within noise ({interval}).")
            else:
                held.append(f"{text} ({interval}).")
        return ("HOLD", " ".join(held)) if held else None

    def by_gaps(self, rules: Iterable[Mapping[str, Any]]) -> Ruling | None:
        """Hold a challenger that treats groups too differently; a group too small to be judged becomes a note.

        Args:
            rules: as `GateVerdict.fairness` has them.
        """
        held: list[str] = []
        for rule in rules:
            self.fairness.append(dict(rule))
            what, gaps = str(rule["metric"]).replace("_", " "), rule["gaps"]
            for one in rule["groups"]:
                size = f"{one['counted']}{'' if one['judged'] else ', too few'}"
                self._compare(f"{what}, {rule['name']} {one['group']} ({size})", one)
            self._compare(f"gap of {what}, {rule['name']}", gaps)
            judged = [one for one in rule["groups"] if one["judged"]]
            if small := [f"{one['group']} ({one['counted']})" for one in rule["groups"] if not one["judged"]]:
                self.notes.append(
                    f"Fairness by {rule['name']}: not judged for want of {rule['min_rows']} rows that the {what} counts: {', '.join(small)}."
                )
            gap = gaps["challenger"]
            if gap is None:
                self.notes.append(f"Fairness by {rule['name']} is not judged: fewer than two groups are large enough.")
            elif gap > rule["max_gap"] + ROUNDING:
                least, most = (pick(judged, key=lambda one: one["challenger"]) for pick in (min, max))
                text = (
                    f"By {rule['name']} the challenger's {what} is {least['challenger']:.4f} in {least['group']} and "
                    f"{most['challenger']:.4f} in {most['group']}: a gap of {gap:.4f}, more than the {rule['max_gap']:.4f} allowed"
                )
                before = gaps.get("champion")
                held.append(f"{text} (the champion's: {before:.4f})." if before is not None else f"{text}.")
        return ("HOLD", " ".join(held)) if held else None

    def _compare(self, name: str, values: Mapping[str, Any]) -> None:
        """A line of the table without an interval."""
        challenger, champion = values["challenger"], values.get("champion")
        between = None if None in (challenger, champion) else challenger - champion
        self.table.append({**dict.fromkeys(self.table[0]), "metric": name, "champion": champion, "challenger": challenger,
                           "difference": between})  # fmt: skip

    def by_gain(self, bound: float, cases: str) -> Ruling:
        """The last rule: the gain in the metric; a first version has kept the bound.

        Args:
            cases: what was judged, with its number.
        """
        row, least = self.table[0], self.policy.min_gain
        value = row["challenger"]
        if row["champion"] is None:
            kept = "keeps the ceiling" if self.errors else "reaches the floor"
            return "PROMOTE", f"First version: its {self.name} of {value:.4f} {kept} of {bound:.4f}."
        gain, low = (-row["difference"], -row["high"]) if self.errors else (row["difference"], row["low"])
        text = (
            f"{self.name} {value:.4f} against the champion's {row['champion']:.4f}: difference {row['difference']:+.4f}, "
            f"{self.policy.confidence:.0%} interval {row['low']:+.4f} to {row['high']:+.4f}"
        )
        if gain > 0 and (low >= least if least else low > ROUNDING):
            return "PROMOTE", f"The challenger is better: {text}."
        if gain > 0 and gain >= least:
            end = f"reach {least:+.4f}" if least else "lie above 0"
            return "MORE_DATA", (
                f"The challenger looks better, but {cases} do not show it: {text}; the gain's lower end must {end}."
            )
        return "HOLD", f"The challenger is not better: {text}; a gain of {least:+.4f} is asked for."


def first(*rules: GateRule) -> Ruling:
    """What the first rule says that decides; the last one always does."""
    for rule in rules:
        if ruling := rule():
            return ruling
    raise AssertionError("the last rule of a gate decides")
