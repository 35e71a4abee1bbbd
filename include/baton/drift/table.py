"""The drift table: what a comparison of two windows found, feature by feature."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class DriftRow:
    """One feature of one window.

    Attributes:
        kind: number | category | prediction, or error (of a series' forecasts).
        effect: size of the movement, see the module's text; `threshold`: above it the feature may be flagged.
        shift: location in standard deviations; `spread`: ratio of scales; None for categories.
        nulls: share of the window's rows; `new_levels`: share of categories that training never saw.
        expected: shares per bin in the reference, `observed` in the window, `labels` say what the bins are.
    """

    feature: str
    kind: str
    effect: float
    threshold: float
    psi: float
    shift: float | None
    spread: float | None
    nulls: float
    new_levels: float
    statistic: float
    p_value: float
    q_value: float
    drifted: bool
    expected: list[float] = field(default_factory=list)
    observed: list[float] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    def sentence(self) -> str:
        """What happened to the feature, for people."""
        if self.kind == "error":
            way = "too low" if (self.shift or 0) > 0 else "too high"
            return (
                f"{self.feature}: forecast {way} by {self.effect:.2f} expected errors, tolerated {self.threshold:.2f}"
            )
        parts = [f"effect {self.effect:.2f}, ordinary up to {self.threshold:.2f}"]
        if self.shift is not None:
            parts.append(f"moved by {self.shift:+.2f} sd")
        if self.spread is not None:
            parts.append(f"spread x {self.spread:.2f}")
        if self.new_levels:
            parts.append(f"{self.new_levels:.1%} new values")
        if self.nulls:
            parts.append(f"{self.nulls:.1%} null")
        return f"{self.feature}: {', '.join(parts)}"


@dataclass(frozen=True)
class DriftTable:
    """The comparison of one window, drifted and strongest features first.

    Attributes:
        too_few: the window has fewer rows than `min_rows`; nothing is flagged.
        alike: names of the training sub-windows that the window resembles most.
    """

    rows: list[DriftRow]
    n: int
    reference_rows: int
    too_few: bool
    alike: list[str]

    @property
    def drifted(self) -> list[str]:
        """Names of the drifted features, strongest (in units of their threshold) first."""
        return [row.feature for row in self.rows if row.drifted]

    def sentences(self, top: int = 5) -> list[str]:
        """Which features drifted and by how much, at most `top` of them."""
        return [row.sentence() for row in self.rows if row.drifted][:top]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, for the warehouse."""
        return asdict(self)
