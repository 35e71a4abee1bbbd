"""The simulation: more of a load never asks for less, the tightest limit is named, and the files that ship are whole."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baton.errors import SpecError
from baton.sizing.estimate import Estimate, Load, Machines, estimate
from baton.sizing.rates import PRICES, RATES, Prices, Rates, read

MEASURED, PRICED = read(Rates, RATES), read(Prices, PRICES)
ROUND = Rates.model_validate(
    {
        "measured": "by hand",
        "columns": 10,
        "rows_per_part": 1000,
        "stages": {
            "ingest": {"rows_per_second": 100.0, "bytes_per_row": 10.0, "wide": True, "whole": True},
            "score": {"rows_per_second": 50.0, "bytes_per_row": 2.0, "reads": ["ingest"], "together": True},
            "publish": {"rows_per_second": 20.0, "bytes_per_row": 1.0, "reads": ["ingest", "score"]},
        },
        "database": {"row": 100.0, "case": 1000.0, "bad_row": 500.0, "task": 10.0},
        "tasks": {"per_second": 1.0, "core_seconds": 2.0},
    }
)
LOADS = st.builds(
    Load,
    rows_per_day=st.floats(1, 1e10),
    columns=st.integers(1, 500),
    models=st.integers(0, 10),
    partitions_per_day=st.sampled_from([1, 24, 288]),
    peak=st.floats(1, 20),
    days_kept=st.floats(0, 1000),
)


def of(load: Load, rates: Rates = MEASURED) -> Estimate:
    return estimate(load, Machines(), rates, PRICED)


def amounts(found: Estimate) -> dict[str, float]:
    """All that can be compared."""
    plain = {
        name: getattr(found, name) for name in ("cores", "workers", "tasks", "read", "written", "store", "database")
    }
    return {**plain, **found.cost, **{one.stage: one.longest for one in found.stages}}


def test_by_hand() -> None:
    load = Load(86_400, columns=20, models=2, partitions_per_day=24, peak=2.0, days_kept=10, cases=0.01, bad=0.1)
    found = estimate(load, Machines(cores=2, busy=0.5, store=1000.0, frame_rows=10_000), ROUND, PRICED)
    ingest, score, publish = found.stages
    assert (ingest.core_seconds, ingest.tasks, ingest.longest) == (86_400 * 0.02, 24, 7200 * 0.02)
    assert (score.core_seconds, score.tasks, score.longest) == (86_400 * 2 / 50, 24 * 2 * 4, 1000 / 50)
    assert (publish.times, publish.tasks) == (1, 24)
    busy = 86_400 * (0.02 + 2 / 50 + 1 / 20) + found.tasks * 2.0
    assert found.cores == pytest.approx(busy / 86_400 * 2)
    assert found.workers == 1
    assert found.written == pytest.approx(2 * (20 + 2 * 2 + 1))
    assert found.read == pytest.approx(2 * (2 * 20 + 20 + 2 * 2))
    assert found.store == pytest.approx(864_000 * 25)
    assert found.database == pytest.approx(864_000 * (100 + 10 + 50) + found.tasks * 10 * 10)
    shares = {one.what: one.share for one in found.limits}
    assert shares == pytest.approx(
        {
            "scheduler": found.tasks / 86_400 * 2,
            "store": (found.written + found.read) / 1000,
            "one task: publish": 7200 / 20 / (3600 * 4),
            "warehouse": 2 / 20,
            "rows in one frame: ingest": 0.72,
        }
    )
    assert found.limits[0].what == "rows in one frame: ingest"


@given(LOADS, st.sampled_from(["rows_per_day", "columns", "models", "peak", "days_kept"]), st.integers(2, 10))
def test_more_of_a_load_never_asks_for_less(load: Load, name: str, times: int) -> None:
    more: Any = replace(load, **{name: getattr(load, name) * times})
    before, after = amounts(of(load)), amounts(of(more))
    assert {name for name in before if after[name] < before[name] * (1 - 1e-9)} == set()
    assert of(more).limits[0].share >= of(load).limits[0].share * (1 - 1e-9)


@given(LOADS, st.floats(1.1, 100))
def test_a_slower_machine_never_needs_fewer_workers(load: Load, times: float) -> None:
    plain = MEASURED.model_dump()
    for one in plain["stages"].values():
        one["rows_per_second"] /= times
    slower = of(load, Rates.model_validate(plain))
    assert slower.workers >= of(load).workers
    assert slower.cores > of(load).cores or load.models == 0


@given(LOADS)
def test_the_tightest_limit_comes_first_and_the_cost_is_the_sum_of_what_it_is_for(load: Load) -> None:
    found = of(load)
    assert found.limits[0].share == max(one.share for one in found.limits)
    dearer = estimate(load, Machines(), MEASURED, PRICED.model_copy(update={"core_hour": 2 * PRICED.core_hour}))
    assert dearer.cost["workers"] == pytest.approx(2 * found.cost["workers"])
    assert {**dearer.cost, "workers": 0} == {**found.cost, "workers": 0}
    assert of(replace(load, days_kept=0)).store == 0


def test_a_price_table_with_a_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(PRICES.read_text().replace("core_hour: 0.04", "core_hours: 0.04"))
    with pytest.raises(SpecError, match=r"prices.yaml:\d+: core_hour"):
        read(Prices, path)
