"""The supply chain's contracts on bad deliveries: which row, which rule, what goes on."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import pytest

from baton.contracts import check as contracts
from baton.data import formats as readers
from baton.data import identity
from baton.data import typed as parsing
from baton.packs.pack import load_pack

WEEK = "2026-06-29T00:00:00+00:00"
ITEMS = ("dept_01", "dept_03", "dept_08", "dept_13", "dept_38", "dept_93", "dept_95")


def sales() -> pd.DataFrame:
    return pd.DataFrame({
        "sale_id": [f"{item}-114" for item in ITEMS], "item": ITEMS, "store": "store_1", "week": WEEK, "seconds": "0",
        "units": [str(900 + i) for i in range(len(ITEMS))], "promotion": "12.5", "is_holiday": "0",
    })  # fmt: skip


def plan() -> pd.DataFrame:
    return sales().rename(columns={"sale_id": "plan_id"}).drop(columns="units")


def stock() -> pd.DataFrame:
    return pd.DataFrame({
        "stock_id": ITEMS, "item": ITEMS, "week": WEEK, "seconds": "0", "on_hand": "500",
        "due_1": "10", "due_2": "0", "due_3": "0", "due_4": "0",
    })  # fmt: skip


DELIVERIES = {"sales": sales, "plan": plan, "stock": stock}


def checked(contract: str, frame: pd.DataFrame) -> Any:
    """The verdict on a CSV delivery of these rows."""
    text = io.StringIO()
    frame.to_csv(text, index=False)
    rows = readers.read_bytes(text.getvalue().encode(), f"{contract}.csv", "csv")
    spec = load_pack("supply_chain").contract(contract)
    return contracts.check(parsing.parse(identity.with_row_identity(rows, contract), spec), spec)


@pytest.mark.parametrize("contract", DELIVERIES)
def test_a_good_delivery_passes(contract: str) -> None:
    verdict = checked(contract, DELIVERIES[contract]())
    assert (verdict.status, verdict.rows_good) == ("passed", len(ITEMS))


@pytest.mark.parametrize(
    ("contract", "column", "value", "rule"),
    [
        ("sales", "units", "-40", "sales_negative"),
        ("sales", "units", "", "not_null"),  # missing sales
        ("sales", "units", "many", "type"),
        ("sales", "units", "2500000", "sales_implausible"),
        ("sales", "week", "", "not_null"),
        ("sales", "promotion", "-3", "promotion_negative"),
        ("sales", "is_holiday", "2", "holiday_flag"),
        ("plan", "week", "", "not_null"),  # a promotion without its date
        ("plan", "promotion", "-1", "promotion_negative"),
        ("stock", "on_hand", "-7", "stock_negative"),
        ("stock", "due_1", "-1", "due_negative"),
    ],
)  # fmt: skip
def test_one_bad_row_is_named_and_the_others_go_on(contract: str, column: str, value: str, rule: str) -> None:
    frame = DELIVERIES[contract]()
    frame.loc[3, column] = value
    verdict = checked(contract, frame)
    assert verdict.status == "quarantined"
    assert verdict.rows_good == len(ITEMS) - 1
    assert {(one.row, one.column, one.rule) for one in verdict.violations} == {(4, column, rule)}
    assert all(one.advice for one in verdict.violations)


def test_a_week_delivered_twice_is_in_quarantine_with_both_rows() -> None:
    frame = pd.concat([sales(), sales().iloc[[2]].assign(sale_id="again", units="7")])
    verdict = checked("sales", frame)
    assert {(one.row, one.rule) for one in verdict.violations} == {(3, "week_twice"), (8, "week_twice")}
    assert verdict.rows_good == len(ITEMS) - 1


@pytest.mark.parametrize("contract", DELIVERIES)
def test_an_empty_delivery_and_a_missing_column_stop_the_run(contract: str) -> None:
    frame = DELIVERIES[contract]()
    assert checked(contract, frame.iloc[:0]).status == "broken"
    broken = checked(contract, frame.drop(columns="item"))
    assert broken.status == "broken"
    assert "item" in "; ".join(broken.aggregate_failures)


def test_stock_counted_twice_is_no_stock() -> None:
    verdict = checked("stock", pd.concat([stock(), stock().iloc[[0]].assign(stock_id="again", on_hand="1")]))
    assert {one.rule for one in verdict.violations} == {"item_twice"}
