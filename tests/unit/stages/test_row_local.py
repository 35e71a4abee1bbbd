"""A large batch goes through what is `row_local` some rows at a time: the same rows as at once, and never all in memory."""

from __future__ import annotations

import runpy
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from baton.data import datasets, objects, parts
from baton.data.objects import StoreError
from baton.errors import BatonError, ContractBroken
from baton.stages import run as stages
from baton.stages.run import run
from baton.stages.slots import Slot, history
from baton.stages.step import row_local
from baton.steps import score as scoring

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
job, commit, FLOW, HOURS = (STAGE[name] for name in ("job", "commit", "FLOW", "HOURS"))
ORDERS = pd.DataFrame({"order_id": range(50), "amount": [float(n) for n in range(50)], "note": ["x" * 20] * 50})
SCORES = pd.DataFrame({"score": [n / 50 for n in range(50)]})
CALLS: list[int] = []


@row_local
def priced(orders: pd.DataFrame, scores: pd.DataFrame, factor: float = 1.0) -> pd.DataFrame:
    CALLS.append(len(orders))
    return orders[["order_id"]].assign(amount=orders["amount"] * scores["score"].to_numpy() * factor)


@row_local(orders=["order_id", "amount"], scores=["score"])
def frugal(orders: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    CALLS.append(len(orders))
    assert list(orders) == ["order_id", "amount"]
    return orders.assign(amount=orders["amount"] * scores["score"].to_numpy())


@row_local(orders=["order_id", "colour"])
def mistaken(orders: pd.DataFrame) -> pd.DataFrame:
    return orders


@row_local
def shortened(orders: pd.DataFrame) -> pd.DataFrame:
    return orders.head(2)


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Parts of 20 rows, frames of 7."""
    CALLS.clear()
    monkeypatch.setattr(parts, "ROWS", 20)
    monkeypatch.setattr(parts, "STEP", 5)
    monkeypatch.setattr(stages, "read_frames", partial(datasets.read_frames, rows=7))
    monkeypatch.setattr(stages, "resolve", lambda path: globals().get(path.partition(":")[2]) or scoring.score)
    with STAGE["warehouse_and_pack"](home, monkeypatch):
        yield


def both(rows: int = 50) -> dict[str, Any]:
    return {"orders": commit("contract", 0, ORDERS), "scores": commit("score", 0, SCORES.head(rows))}


def test_the_rows_are_those_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = both()
    by_and_by = run(job("decide", "x:priced", inputs=inputs, options={"params": {"factor": 2.0}})).ref
    assert CALLS == [7, 7, 6, 7, 7, 6, 7, 3], "frames end where parts do"
    assert by_and_by.kind == "manifest"
    monkeypatch.setattr(priced, "row_local", False)
    at_once = run(job("at_once", "x:priced", inputs=inputs, options={"params": {"factor": 2.0}})).ref
    assert CALLS[8:] == [50]
    assert by_and_by.content_sha256 == at_once.content_sha256


def test_what_fits_one_part_is_one_call() -> None:
    inputs = {"orders": commit("contract", 0, ORDERS.head(20)), "scores": commit("score", 0, SCORES.head(20))}
    assert run(job("decide", "x:priced", inputs=inputs)).ref.kind == "parquet"
    assert CALLS == [20]


@pytest.mark.parametrize("rows", [20, 50])
def test_columns_that_are_named_are_all_that_is_read(rows: int) -> None:
    inputs = {"orders": commit("contract", 0, ORDERS.head(rows)), "scores": commit("score", 0, SCORES.head(rows))}
    frugally, all_read = (
        run(job(name, f"x:{name}", inputs=inputs)).ref.content_sha256 for name in ("frugal", "priced")
    )
    assert frugally == all_read
    with pytest.raises(StoreError, match=r"no column colour; it has order_id, amount, note"):
        run(job("decide", "x:mistaken", inputs={"orders": inputs["orders"]}))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"orders": "order_id"}, "a list of columns"),
        ({"orders": []}, "at least one"),
        ({"order": ["a"]}, "takes no such input"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(columns: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        row_local(**columns)(shortened)


def test_frames_fit_each_other_however_the_parts_were_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = datasets.write(ORDERS, "orders.parquet")
    monkeypatch.setattr(parts, "ROWS", 15)
    other = datasets.write(ORDERS, "other.parquet")
    pairs = zip(datasets.read_frames(orders, 7), datasets.read_frames(other, 7), strict=True)
    assert all(one.equals(another) for one, another in pairs)
    assert [len(one) for one in datasets.read_frames(orders, 25)] == [25, 25]
    assert [len(one) for one in datasets.read_frames(orders, 500)] == [50]


def test_inputs_and_results_of_other_numbers_of_rows_are_refused() -> None:
    with pytest.raises(
        BatonError, match=r"priced is row_local: its inputs need the same rows.*'orders': 50, 'scores': 49"
    ):
        run(job("decide", "x:priced", inputs=both(49)))
    with pytest.raises(BatonError, match="shortened is row_local: it returns a frame with one row for each"):
        run(job("decide", "x:shortened", inputs={"orders": commit("contract", 0, ORDERS)}))


def test_a_row_that_breaks_the_contract_late_leaves_nothing() -> None:
    inputs = {
        "orders": commit("contract", 0, ORDERS),
        "scores": commit("score", 0, SCORES.assign(score=SCORES.score - 0.9).iloc[::-1]),
    }
    before = [item.uri for item in objects.listed()]
    with pytest.raises(ContractBroken, match="amount_negative"):
        run(job("decide", "x:priced", inputs=inputs, output_contract="orders"))
    assert [item.uri for item in objects.listed()] == before
    assert history(Slot(FLOW, "decide", HOURS[0])) == []


def test_keys_that_two_frames_share_break_the_contract_of_the_whole(home: Path) -> None:
    path = home / "site/shop_pack/contracts/orders.yaml"
    path.write_text(
        path.read_text()
        + """\
  - type: expect_column_values_to_be_unique
    kwargs: {column: order_id}
    severity: critical
    meta: {rule: twice}
"""
    )
    fine = {"orders": commit("contract", 0, ORDERS), "scores": commit("score", 0, SCORES)}
    assert run(job("decide", "x:priced", inputs=fine, output_contract="orders")).ref.rows == 50
    twice = {**fine, "orders": commit("contract", 0, ORDERS.assign(order_id=[*range(49), 0]))}
    with pytest.raises(ContractBroken, match=r"twice: .* is broken by 2 of 50 rows"):
        run(job("decide", "x:priced", inputs=twice, output_contract="orders"))


def test_a_model_scores_some_rows_at_a_time_and_never_holds_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[Any]] = []
    most: list[int] = []

    class Maker:
        row_local = True

        def load(self, folder: str) -> str:
            return folder

        def columns(self, spec: Any, model: str) -> list[str]:
            return ["order_id", "amount"]

        def score(self, spec: Any, model: str, rows: pd.DataFrame, explain: float) -> pd.DataFrame:
            assert list(rows) == ["order_id", "amount"]
            most.append(sum(one() is not None for one in alive))
            alive.append(weakref.ref(rows))
            CALLS.append(len(rows))
            return pd.DataFrame(
                {"entity_key": rows["order_id"].astype(str), "score": rows["amount"] / 50, "reasons": None}
            )

    shelf = SimpleNamespace(download=lambda name, version, consumer: "model", version_url=lambda name, version: "url")
    monkeypatch.setattr(scoring, "Registry", lambda: shelf)
    monkeypatch.setattr(scoring, "family", lambda name: Maker())
    options = {"model": "late_order"}
    one = job(
        "score", "x:step", inputs={"data": commit("contract", 0, ORDERS)}, options=options, models={"late_order": 3}
    )
    ref = run(one).ref
    scored = datasets.read(ref)
    assert scored["score"].tolist() == [n / 50 for n in range(50)]
    assert set(scored["version"]) == {3}
    assert CALLS == [7, 7, 6, 7, 7, 6, 7, 3], "frames end where parts do"
    assert max(most) <= 1, "the frame before may still be there, no other"
    monkeypatch.setattr(Maker, "row_local", False)
    assert (
        run(job("again", "x:step", inputs=one.inputs, options=options, models={"late_order": 3})).ref.content_sha256
        == ref.content_sha256
    )
    assert CALLS[8:] == [50]
