"""What Great Expectations leaves behind holds no rows: a batch in parts is judged frame by frame, and none may pile up."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pandas as pd
import pytest

from baton.contracts.check import check
from baton.contracts.parts import Judging
from baton.data.typed import adopt
from baton.errors import SpecError
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


@pytest.mark.parametrize("column", ["other", "_source"])
def test_a_rule_on_a_column_that_the_contract_does_not_name_is_judged_in_parts_as_in_one(column: str) -> None:
    spec, frame = filled({"column": column}), pd.DataFrame({"id": [1, 2], "at": pd.Timestamp("2026-01-01", tz="UTC")})
    whole = check(frame, spec)
    with Judging(spec) as judging:
        judging.add(adopt(frame.head(1), spec, "", 1))
        judging.add(adopt(frame.tail(1).reset_index(drop=True), spec, "", 2))
        found = judging.verdict()
    assert (found.status, found.aggregate_failures) == (whole.status, whole.aggregate_failures)
    assert "does not exist" in found.aggregate_failures[0]


def test_a_rule_with_a_misspelt_argument_is_refused_as_great_expectations_says() -> None:
    with Judging(filled({"colum": "id"})) as judging, pytest.raises(SpecError, match="column field required"):
        judging.add(adopt(pd.DataFrame({"id": [1], "at": [pd.Timestamp("2026-01-01", tz="UTC")]}), SPEC))


def filled(kwargs: dict[str, str]) -> ContractSpec:
    rule = {"type": "expect_column_values_to_not_be_null", "severity": "critical", "meta": {"rule": "there"}}
    return ContractSpec.model_validate({**SPEC.model_dump(), "expectations": [{**rule, "kwargs": kwargs}]})
