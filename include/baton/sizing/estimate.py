"""From rows a day to workers, bytes, database, the next bottleneck and cost: pure, and monotone in the load.

Workers are counted for the busiest hour; cost counts them around the clock, since nothing here takes them away at night. What one
cannot have more of by adding workers is a *limit*: the share of it that is used says what gives way next, and at how many rows.
"""

from dataclasses import dataclass, field
from math import ceil

from baton.sizing.rates import Prices, Rates

DAY, MONTH = 86_400, 730  # seconds of a day, hours of a month
SIDE_BY_SIDE = 4  # runs of one flow at a time, `max_active_runs` of `baton.airflow.flows`


@dataclass(frozen=True)
class Load:
    """What comes in, and how long it stays.

    Attributes:
        rows_per_day: of one flow, or of flows like it together.
        columns: of a row.
        models: that score each row.
        partitions_per_day: 24: hourly.
        peak: rows of the busiest hour over those of the mean one.
        days_kept: of datasets in the store and of published rows in the warehouse.
        cases, bad: shares of the rows that open a case, that go to quarantine.
    """

    rows_per_day: float
    columns: int = 30
    models: int = 2
    partitions_per_day: int = 24
    peak: float = 3.0
    days_kept: float = 30.0
    cases: float = 0.001
    bad: float = 0.001


@dataclass(frozen=True)
class Machines:
    """What it runs on.

    Attributes:
        cores: of a worker.
        busy: share of its cores that a worker is to be busy with at the peak.
        store: bytes per second that the store gives and takes, all workers together.
        frame_rows: BATON_MAX_FRAME_ROWS.
    """

    cores: int = 4
    busy: float = 0.6
    store: float = 1e9
    frame_rows: int = 5_000_000


@dataclass(frozen=True)
class StageWork:
    """One kind of stage: core seconds and tasks a day, seconds of its longest task at the peak, bytes a day into the store."""

    stage: str
    times: int
    core_seconds: float
    tasks: int
    longest: float
    written: float


@dataclass(frozen=True)
class Limit:
    """Something that more workers do not widen: the share of it that the load uses at its peak, and what widens it."""

    what: str
    share: float
    remedy: str


@dataclass(frozen=True)
class Estimate:
    """What a load asks for.

    Attributes:
        cores: busy at the peak, all workers together.
        tasks: a day.
        read, written: bytes a second from and into the store at the peak.
        store, database: bytes that are kept.
        limits: the tightest first.
        cost: a month, by item.
    """

    stages: list[StageWork]
    cores: float
    workers: int
    tasks: int
    read: float
    written: float
    store: float
    database: float
    limits: list[Limit]
    cost: dict[str, float] = field(default_factory=dict)


def estimate(load: Load, machines: Machines, rates: Rates, prices: Prices) -> Estimate:
    """What a load asks for."""
    stages = [_work(name, load, rates) for name in rates.stages]
    per_second = load.rows_per_day / DAY * load.peak
    tasks = sum(one.tasks for one in stages)
    core_seconds = sum(one.core_seconds for one in stages) + tasks * rates.tasks.core_seconds
    cores = core_seconds / DAY * load.peak
    workers = max(1, ceil(cores / machines.busy / machines.cores))
    written, read = (sum(part) for part in zip(*(_bytes(name, load, rates) for name in rates.stages), strict=True))
    kept = load.rows_per_day * load.days_kept
    store = kept * written
    database = (
        kept * (rates.database.row + load.cases * rates.database.case + load.bad * rates.database.bad_row)
        + tasks * load.days_kept * rates.database.task
    )
    cost = {
        "workers": workers * machines.cores * MONTH * prices.core_hour,
        "services": prices.services_month,
        "store": store / 1e9 * prices.store_gb_month,
        "database": database / 1e9 * prices.database_gb_month,
    }
    limits = _limits(load, machines, rates, stages, per_second * (written + read))
    return Estimate(
        stages, cores, workers, tasks, per_second * read, per_second * written, store, database, limits, cost
    )


def _times(name: str, load: Load) -> int:
    return load.models if name == "score" else 1


def _width(name: str, load: Load, rates: Rates) -> float:
    return load.columns / rates.columns if rates.stages[name].wide else 1.0


def _work(name: str, load: Load, rates: Rates) -> StageWork:
    rate, times = rates.stages[name], _times(name, load)
    each = _width(name, load, rates) / rate.rows_per_second  # core seconds of a row
    rows = load.rows_per_day / load.partitions_per_day
    parts = max(1, ceil(rows / rates.rows_per_part)) if rate.together else 1
    longest = min(rows * load.peak, rates.rows_per_part) * each if rate.together else rows * load.peak * each
    written = load.rows_per_day * times * rate.bytes_per_row * _width(name, load, rates)
    return StageWork(
        name, times, load.rows_per_day * times * each, load.partitions_per_day * times * parts, longest, written
    )


def _bytes(name: str, load: Load, rates: Rates) -> tuple[float, float]:
    """Bytes of a row that a kind of stage writes, and reads."""

    def made(stage: str) -> float:
        return rates.stages[stage].bytes_per_row * _width(stage, load, rates)

    return _times(name, load) * made(name), _times(name, load) * sum(
        _times(one, load) * made(one) for one in rates.stages[name].reads
    )


def _limits(load: Load, machines: Machines, rates: Rates, stages: list[StageWork], store: float) -> list[Limit]:
    interval, rows = DAY / load.partitions_per_day, load.rows_per_day / load.partitions_per_day * load.peak
    tasks = sum(one.tasks for one in stages) / DAY * load.peak
    slowest = max(stages, key=lambda one: one.longest)
    found = [
        Limit("scheduler", tasks / rates.tasks.per_second, "fewer partitions a day, or a second scheduler"),
        Limit("store", store / machines.store, "a store, or a network, that gives more"),
        Limit(
            f"one task: {slowest.stage}",
            slowest.longest / (interval * SIDE_BY_SIDE),
            "shorter partitions, or the batch split over several flows",
        ),
    ]
    if publish := rates.stages.get("publish"):
        share = load.rows_per_day / DAY * load.peak / publish.rows_per_second
        found.append(Limit("warehouse", share, "flows with a warehouse of their own, or fewer rows that are published"))
    if whole := [name for name, one in rates.stages.items() if one.whole]:
        remedy = "shorter partitions, or memory and a higher BATON_MAX_FRAME_ROWS"
        found.append(Limit(f"rows in one frame: {', '.join(whole)}", rows / machines.frame_rows, remedy))
    return sorted(found, key=lambda one: -one.share)
