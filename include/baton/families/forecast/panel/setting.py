"""The setting: what of a model spec the panel of series follows from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from baton.specs.forecast import ForecastSpec


@dataclass(frozen=True)
class Setting:
    """What a fitted forecaster must remember of its spec; the fields mean what they mean there."""

    model: str
    entity: str
    time: str
    target: str
    known: tuple[str, ...]
    hierarchy: tuple[str, ...]
    frequency: str
    seasons: tuple[int, ...]
    floor: float | None
    horizon: int
    quantiles: tuple[float, ...]
    min_periods: int
    dead_after: int
    max_gap: int
    seed: int

    @classmethod
    def of(cls, spec: ForecastSpec) -> Self:
        """Take the fields out of a spec."""
        data, training = spec.data, spec.training
        columns = data.entity, data.time, data.target, tuple(data.known), tuple(data.hierarchy)
        asked = data.frequency, tuple(data.seasons), data.floor, spec.horizon, tuple(spec.quantiles)
        limits = training.min_periods, training.dead_after, training.max_gap, training.seed
        return cls(spec.model, *columns, *asked, *limits)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document.items()}
        return cls(**fields)
