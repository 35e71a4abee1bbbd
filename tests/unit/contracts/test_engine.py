"""What Great Expectations leaves behind holds no rows: a batch in parts is judged frame by frame, and none may pile up."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pandas as pd
import pytest

from baton.contracts.parts import Judging
from baton.data.typed import adopt
from baton.specs.contract import ContractSpec

ROWS = 1_237  # no other frame has so many
SPEC = ContractSpec.model_validate({
    "contract": "letters", "version": 1, "owner": "team", "description": "rows", "key": "id",
    "columns": {"id": {"type": "int"}, "at": {"type": "timestamp"}},
    "expectations": [{
        "type": "expect_column_values_to_be_between", "severity": "warning", "meta": {"rule": "late"},
        "kwargs": {"column": "at", "min_value": "2000-01-01T00:00:00+00:00"},
    }],
})  # fmt: skip


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_no_frame_is_held_when_the_next_one_comes(no_collector: None) -> None:
    with Judging(SPEC) as judging:
        for start in range(3):
            at = pd.Timestamp("1999-12-31", tz="UTC") + pd.to_timedelta(range(ROWS), unit="min")
            parsed = adopt(pd.DataFrame({"id": range(start * ROWS, (start + 1) * ROWS), "at": at}), SPEC)
            judging.add(parsed)
            del parsed, at
            held = [one.shape for one in gc.get_objects() if isinstance(one, pd.DataFrame) and len(one) == ROWS]
            assert held == []
        assert judging.verdict().rows_bad == 3 * 1_237
