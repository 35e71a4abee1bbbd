"""Several tasks share a large batch: the same rows, the same hash as one task gives, named as one without a copy."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.data import datasets, objects, parts, stored
from baton.data.datasets import DatasetRef
from baton.errors import BatonError, ContractBroken, StaleAttempt
from baton.quarantine.records import accounting
from baton.record import ledger
from baton.stages import garbage, groups, slots
from baton.stages import run as stages
from baton.stages.groups import Portion
from baton.stages.run import run
from baton.stages.slots import Slot, StageResult, head, history
from baton.stages.step import row_local

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
job, commit, FLOW, HOURS = (STAGE[name] for name in ("job", "commit", "FLOW", "HOURS"))
ORDERS = pd.DataFrame({"order_id": range(90), "amount": [float(n) for n in range(90)], "note": ["x" * 20] * 90})
CALLS: list[int] = []
WHOLE = Slot(FLOW, "decide", HOURS[0])


@row_local
def priced(orders: pd.DataFrame, scores: pd.DataFrame, factor: float = 1.0) -> pd.DataFrame:
    CALLS.append(int(orders["order_id"].iloc[0]))
    titles: list[Any] = ["late" if one > 60 else None for one in orders["order_id"]]
    made = orders[["order_id"]].assign(amount=orders["amount"] * scores["score"].to_numpy() * factor)
    return made.assign(title=titles)


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Parts of 20 rows."""
    CALLS.clear()
    monkeypatch.setattr(parts, "ROWS", 20)
    monkeypatch.setattr(parts, "STEP", 5)
    monkeypatch.setattr(stages, "resolve", lambda path: globals()[path.partition(":")[2]])
    with STAGE["warehouse_and_pack"](home, monkeypatch):
        yield


def inputs(rows: int = 90, orders: pd.DataFrame = ORDERS) -> dict[str, DatasetRef]:
    """The scores are cut elsewhere."""
    scores = pd.DataFrame({"score": [n / 90 for n in range(rows)], "more": [0] * rows})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "ROWS", 35)
        cut = commit("score", 0, scores)
    return {"orders": commit("contract", 0, orders.head(rows)), "scores": cut}


def some(given: dict[str, DatasetRef], group: Portion, **more: Any) -> StageResult:
    return run(job("decide", "x:priced", inputs=given, group=group, **more))


def everybody(given: dict[str, DatasetRef], most: int = 2, **more: Any) -> list[StageResult]:
    return [some(given, group, **more) for group in groups.split(given["orders"], most)]


def present() -> StageResult:
    found = head(WHOLE)
    assert found is not None
    return found


def results_of(whole: StageResult) -> list[DatasetRef]:
    return groups.groups_of(whole.params, {name: ref.to_dict() for name, ref in whole.inputs.items()})


def test_a_batch_is_shared_out_by_whole_parts() -> None:
    ref = inputs()["orders"]
    assert groups.split(ref, 2) == [Portion(0, (0, 40, 90)), Portion(1, (0, 40, 90))]
    assert groups.split(ref, 99)[4] == Portion(4, (0, 20, 40, 60, 80, 90))
    (alone,) = groups.split(inputs(20)["orders"], 99)
    assert (alone.edges, alone.map_index) == ((0, 20), -1)


def test_a_batch_of_no_rows_is_one_tasks_and_a_part_of_none_is_nobodys() -> None:
    none, some_rows = (datasets.write(ORDERS.head(many), f"{many}.parquet") for many in (0, 5))
    assert groups.split(stored.union([none, none], "none.parquet"), 2) == [Portion(0, (0, 0))]
    both = stored.union([none, some_rows, none, some_rows], "both.parquet")
    assert groups.split(both, 9) == [Portion(0, (0, 5, 10)), Portion(1, (0, 5, 10))]


@pytest.mark.parametrize("most", [2, 3, 99])
def test_the_whole_is_what_one_task_makes_and_copies_nothing(most: int) -> None:
    given = inputs()
    alone = run(job("alone", "x:priced", inputs=given)).ref
    made = everybody(given, most)
    whole = present()
    assert whole.ref.content_sha256 == alone.content_sha256
    pd.testing.assert_frame_equal(datasets.read(whole.ref), datasets.read(alone))
    own = [item.name for item in objects.listed(lambda name: name.startswith(WHOLE.folder))]
    assert len(own) == 1
    assert own[0].endswith(".json")
    assert sum(one.ref.rows for one in made) == whole.ref.rows == 90
    assert [ref.uri for ref in results_of(whole)] == [one.ref.uri for one in made]
    assert {name: ref for name, ref in whole.inputs.items() if not name.startswith("group.")} == given
    told = [entry.payload["commit"] for entry in ledger.entries(kind="dataset_committed", subject=str(WHOLE))]
    assert told == [whole.commit_id]


def test_the_rows_that_several_tasks_made_are_accounted_for() -> None:
    given = {**inputs(), "orders": commit("contract", 0, ORDERS.assign(note="y"), rows_in=90)}
    everybody(given)
    output = slots.StageOutput(ORDERS, {"published": 90})
    for made in (present(), slots.heads_of_groups(WHOLE, 1)[0]):  # a group's rows are the batch's too
        slots.run_stage(
            Slot(FLOW, "publish", HOURS[0]), lambda inputs: output,
            inputs={"decisions": made.ref}, params={}, models={}, code="test", run_id="test",
        )  # fmt: skip
        assert accounting(FLOW, HOURS[0]) == {
            "rows_in": 90,
            "published": 90,
            "open": 0,
            "discarded": 0,
            "superseded": 0,
        }


def test_the_whole_is_there_only_when_the_last_is() -> None:
    given = inputs()
    first, second, third = groups.split(given["orders"], 3)
    some(given, third)
    some(given, first)
    assert head(WHOLE) is None
    some(given, second)
    assert present().ref.rows == 90


RULES = """\
  - {type: expect_column_values_to_be_unique, kwargs: {column: order_id}, severity: critical, meta: {rule: twice}}
  - {type: expect_table_row_count_to_be_between, kwargs: {min_value: 80}, severity: critical, meta: {rule: all_there}}
  - type: expect_column_values_to_be_between
    kwargs: {column: amount, max_value: 70, mostly: 0.8}
    severity: critical
    meta: {rule: few_large}
"""


@pytest.mark.parametrize("ids", [[*range(89), 3], [*range(89), 88]], ids=["of two groups", "of one group"])
def test_a_key_twice_is_found_when_the_groups_are_named_as_one(home: Path, ids: list[int]) -> None:
    path = home / "site/shop_pack/contracts/orders.yaml"
    path.write_text(path.read_text() + RULES)
    given = inputs(orders=ORDERS.assign(order_id=ids))
    for _ in range(2):
        with pytest.raises(ContractBroken, match=r"stage decide breaks contract orders: twice: .* by 2 of 90 rows"):
            everybody(given, 3, output_contract="orders")
        assert head(WHOLE) is None


def test_a_rule_on_the_whole_is_not_asked_of_a_group(home: Path) -> None:
    path = home / "site/shop_pack/contracts/orders.yaml"
    path.write_text(path.read_text() + RULES)
    assert len(everybody(inputs(), 3, output_contract="orders")) == 3
    assert present().ref.rows == 90, "a group has 30 rows, and the last one more large ones than are tolerated"
    with pytest.raises(ContractBroken, match="amount_negative"):
        everybody(inputs(), 3, output_contract="orders", options={"params": {"factor": -1.0}})


def test_one_that_is_repeated_computes_nothing_and_names_nothing_anew() -> None:
    given = inputs()
    everybody(given)
    before, calls = present().commit_id, len(CALLS)
    assert all(one.cached for one in everybody(given))
    assert (present().commit_id, len(CALLS), len(history(WHOLE))) == (before, calls, 1)


def test_a_last_one_that_died_before_it_named_the_whole_names_it_when_it_is_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = inputs()
    with monkeypatch.context() as patch:
        patch.setattr(groups.slots, "commit_once", dies_for_the_whole(slots.commit_once))
        with pytest.raises(KeyboardInterrupt):
            everybody(given)
    assert head(WHOLE) is None
    everybody(given)
    assert present().ref.rows == 90


def dies_for_the_whole(real: Any) -> Any:
    def commit_once(slot: Slot, *rest: Any) -> Any:
        if slot == WHOLE:
            raise KeyboardInterrupt
        return real(slot, *rest)

    return commit_once


def test_a_group_that_was_damaged_is_computed_anew_and_the_whole_names_what_it_made() -> None:
    given = inputs()
    first, _ = everybody(given)
    before = present()
    objects.delete(stored.held(first.ref)[1][0].uri)
    assert [one.cached for one in everybody(given)] == [False, True]
    again = present()
    assert again.ref.content_sha256 == before.ref.content_sha256
    assert datasets.verifies(again.ref)
    assert not datasets.verifies(before.ref)


def test_only_those_whose_parts_changed_are_computed_again() -> None:
    given = inputs()
    everybody(given, 99)
    CALLS.clear()
    changed = {
        **given,
        "orders": commit("contract", 0, ORDERS.assign(amount=ORDERS["amount"].where(ORDERS.index != 45, 7.0))),
    }
    made = everybody(changed, 99)
    assert [one.cached for one in made] == [True, True, False, True, True]
    assert CALLS == [40]
    assert datasets.read(present().ref)["amount"].tolist()[45] == pytest.approx(7.0 * 45 / 90)


def test_another_number_of_tasks_gives_the_same_whole_and_what_lies_beyond_it_is_no_data() -> None:
    given = inputs()
    everybody(given, 4)
    before = present()
    everybody(given, 2)
    again = present()
    assert again.ref.content_sha256 == before.ref.content_sha256
    assert len(results_of(again)) == 2
    assert len(slots.heads_of_groups(WHOLE, 9)) == 4  # two are left over
    everybody(inputs(60), 2)
    assert present().ref.rows == 60
    assert slots.heads_of(FLOW, "decide", HOURS)[HOURS[0]].ref.rows == 60
    assert slots.partitions(FLOW, "decide") == [HOURS[0]]
    small = {name: commit(name, 0, datasets.read(ref).head(10)) for name, ref in inputs(20).items()}
    assert some(small, *groups.split(small["orders"], 4)).ref == present().ref
    assert present().ref.rows == 10


def test_results_of_other_work_are_not_taken_for_this_ones() -> None:
    given = inputs()
    everybody(given, 2, options={"params": {"factor": 2.0}})
    first, second = groups.split(given["orders"], 2)
    before = present().commit_id
    some(given, first)
    assert present().commit_id == before
    some(given, second)
    assert datasets.read(present().ref)["amount"].tolist()[89] == pytest.approx(89 * 89 / 90)


def test_a_dry_run_has_groups_and_a_whole_of_its_own() -> None:
    everybody(inputs(), dry_run=True)
    assert head(WHOLE) is None
    assert head(replace(WHOLE, flow=f"{FLOW}~dry")).ref.rows == 90  # type: ignore[union-attr]


def test_inputs_of_other_rows_are_refused() -> None:
    given = inputs()
    with pytest.raises(
        BatonError,
        match=r"inputs of the same rows in the same order: the batch has 90, they have \{'orders': 90, 'scores': 60",
    ):
        everybody({**given, "scores": inputs(60)["scores"]})


def test_two_that_are_both_the_last_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs()
    first, second = groups.split(given["orders"], 2)
    some(given, first)
    real = slots.commit_once
    late: list[Slot] = []

    def twice(slot: Slot, *rest: Any) -> StageResult:
        if slot == WHOLE and not late:
            late.append(slot)
            slots.warehouse.transact(lambda conn: slots.raise_fence(conn, slot))
            monkeypatch.setattr(slots, "FAULT", fenced)
        return real(slot, *rest)

    def fenced(point: str) -> None:
        if point == "computed" and len(late) == 1:  # the other takes the slot while this one names the parts
            late.append(WHOLE)
            slots.warehouse.transact(lambda conn: slots.raise_fence(conn, WHOLE))

    monkeypatch.setattr(groups.slots, "commit_once", twice)
    some(given, second)
    assert len(late) == 2
    assert (present().ref.rows, len(history(WHOLE))) == (90, 1)


def test_gc_leaves_every_part_that_a_whole_names() -> None:
    given = inputs()
    everybody(given, 4)
    everybody(given, 2)
    everybody(inputs(60), 3)
    assert garbage.gc(timedelta(seconds=-60)).uris == []
    assert all(datasets.verifies(one.ref) for one in history(WHOLE))


def test_a_refused_whole_removes_its_manifest_and_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs()
    first, second = groups.split(given["orders"], 2)
    with monkeypatch.context() as patch:
        patch.setattr(groups, "whole_if_complete", lambda *_: None)
        refs = [some(given, one).ref for one in (first, second)]

    def fault(point: str) -> None:
        if point == "computed":
            slots.warehouse.transact(lambda conn: slots.raise_fence(conn, WHOLE))

    monkeypatch.setattr(groups, "TRIES", 0)
    monkeypatch.setattr(slots, "FAULT", fault)
    before = [item.name for item in objects.listed()]
    with pytest.raises(StaleAttempt):
        groups.whole(WHOLE, refs, [{}, {}], {})
    assert [item.name for item in objects.listed()] == before
    assert all(map(datasets.verifies, refs))


def test_a_manifest_names_nothing_outside_the_folders_of_its_stage() -> None:
    given = inputs()
    everybody(given)
    ref = present().ref
    path = objects.path_of(ref.uri)
    path.write_text(path.read_text().replace('"../0/', '"../../0/'))
    with pytest.raises(BatonError, match="would lie elsewhere"):
        stored.held(ref)
    with pytest.raises(BatonError, match="neither there nor in a folder beside"):
        stored.union([given["orders"], given["scores"]], "elsewhere/x.parquet")
