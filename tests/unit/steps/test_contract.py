"""What a contract's verdict means for the run behind it."""

from __future__ import annotations

from typing import Any

import pytest

from baton.errors import ContractBroken, NoData
from baton.steps.contract import require_good_rows


def facts(status: str, good: int) -> dict[str, Any]:
    return {"contract": "documents v1", "status": status, "rows_in": 2, "rows_good": good, "failures": ["a rule"]}


def test_a_run_goes_on_while_one_row_is_good() -> None:
    for given in (facts("passed", 2), facts("quarantined", 1), {"rows": 0}, {"status": "whatever a step says"}):
        require_good_rows(given)


def test_a_broken_contract_fails_and_a_partition_all_in_quarantine_ends_without_data() -> None:
    with pytest.raises(ContractBroken, match="a rule"):
        require_good_rows(facts("broken", 0))
    with pytest.raises(NoData, match="all 2 rows are in quarantine"):
        require_good_rows(facts("quarantined", 0))


def test_the_advice_is_one_that_can_work() -> None:
    column = {**facts("broken", 0), "broken_by": ["missing_column"]}
    with pytest.raises(ContractBroken, match="no repair adds a column: have the file delivered again, then clear"):
        require_good_rows(column)
    with pytest.raises(ContractBroken, match="There are no rows to repair: have the file delivered again"):
        require_good_rows({**facts("broken", 0), "rows_in": 0})


def test_what_is_still_published_is_said() -> None:
    with pytest.raises(ContractBroken, match=r"earlier delivery published \(7 rows\) stays in force until then"):
        require_good_rows({**facts("broken", 0), "still_published": 7})
