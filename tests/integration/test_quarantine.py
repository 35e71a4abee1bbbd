"""Quarantine against a real warehouse: rows wait once, are repaired or discarded, re-judged, and always add up."""

from __future__ import annotations

import runpy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from baton import quarantine
from baton.contracts import check as contracts
from baton.data import datasets, identity
from baton.data import typed as parsing
from baton.errors import BatonError, NoData, StaleAttempt
from baton.quarantine.rows import Where
from baton.record import ledger, tables, warehouse
from baton.settings import settings
from baton.stages import run as stages
from baton.stages import slots
from baton.stages.job import StageJob
from baton.stages.slots import Slot

SHOP: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("quarantine_orders.py")))
FLOW, HOUR, SPEC, ROWS = (SHOP[name] for name in ("FLOW", "HOUR", "SPEC", "ROWS"))
raw, run, waiting, balanced = (SHOP[name] for name in ("raw", "run", "waiting", "balanced"))
deliver, publish = SHOP["deliver"], SHOP["publish"]
home = SHOP["home"]


def test_rows_wait_with_key_rule_value_and_source() -> None:
    verdict, good = run(raw())
    assert verdict.status == "quarantined"
    assert waiting() == {2: ("negative",), 3: ("type",), 4: ("negative",), 5: ("not_null",)}
    assert good["id"].tolist() == [1, 6, 7, 8]
    assert str(good["id"].dtype) == "int64"
    row = quarantine.list_rows(Where(flow=FLOW, row=3))[0]
    assert (row.entity_key, row.columns, row.values, row.source) == ("3", ("amount",), ("abc",), "feed")
    assert row.raw == {"id": "3", "amount": "abc", "kind": "b"}
    empty = quarantine.list_rows(Where(row=5))[0]
    assert (empty.entity_key, empty.columns, empty.values) == (None, ("id; amount",), ("",))
    assert balanced() == {"rows_in": 8, "published": 4, "open": 4, "discarded": 0}


def test_repair_reinject_resolves_and_cannot_count_twice() -> None:
    run(raw())
    report = quarantine.repair(Where(rule="negative"), {"amount": "-amount"}, actor="ann")
    assert (report.rows, report.cells, report.partitions) == (2, 2, ((FLOW, HOUR),))
    assert quarantine.counts() == {"open": 2, "repaired": 2, "resolved": 0, "discarded": 0}
    balanced()
    verdict, good = run(raw())
    assert good[["id", "amount"]].values.tolist() == [[1, 10.5], [2, 4], [3, 7], [6, 60], [7, 70], [8, 80]]
    assert good["_row_sha"].tolist() == raw()["_row_sha"].drop([2, 4]).tolist()
    assert balanced() == {"rows_in": 8, "published": 6, "open": 2, "discarded": 0}
    # the repaired row 4 and the row 3, once its amount converts, have the same id
    quarantine.repair(Where(row=3), {"amount": "5"}, actor="ann")
    verdict, good = run(raw())
    assert waiting() == {3: ("id_twice",), 4: ("id_twice",), 5: ("not_null",)}
    assert quarantine.list_rows(Where(row=4))[0].repair == {"amount": "7"}
    quarantine.repair(Where(row=4), {"id": "id + 100"}, actor="ann")
    quarantine.discard(Where(row=5), "nothing in it", actor="ben")
    verdict, good = run(raw())
    assert verdict.status == "passed"
    assert sorted(good["id"]) == [1, 2, 3, 6, 7, 8, 103]
    assert balanced() == {"rows_in": 8, "published": 7, "open": 0, "discarded": 1}
    assert quarantine.list_rows(Where(status="discarded"))[0].reason == "nothing in it"
    before = quarantine.repairs_digest(FLOW, HOUR)
    assert run(raw())[0] is None, "the same repairs are the same digest: nothing runs again"
    assert quarantine.repairs_digest(FLOW, HOUR) == before
    kinds = [(entry.kind, entry.payload["rows"]) for entry in ledger.entries() if entry.kind.startswith("rows_")]
    assert sorted(kinds) == [("rows_discarded", 1), ("rows_repaired", 1), ("rows_repaired", 1), ("rows_repaired", 2)]
    said = [entry.payload["set"] for entry in ledger.entries() if entry.kind == "rows_repaired"][::-1]
    # a value alone may be somebody's: the ledger has the formula, the row has the value
    assert said == [{"amount": "-amount"}, {"amount": "a given value"}, {"id": "id + 100"}]
    assert ledger.verify().ok


def test_a_repair_that_does_not_help_leaves_the_row_open_with_its_repair() -> None:
    run(raw())
    quarantine.repair(Where(row=2), {"amount": "amount - 1"}, actor="ann")
    verdict, _ = run(raw())
    row = quarantine.list_rows(Where(row=2))[0]
    assert (row.status, row.values, row.repair) == ("open", ("-5.0",), {"amount": "-5"})
    assert [v.row for v in verdict.violations if v.rule == "negative"] == [2, 4]


def test_open_rows_are_judged_again_when_the_contract_changes() -> None:
    run(raw())
    assert waiting()[2] == ("negative",)
    looser = SPEC.model_copy(update={"expectations": SPEC.expectations[:2]})
    frame = raw()
    run(frame, spec=looser)  # same digest: nothing runs, the params do not name the contract in this test
    frame["_source"] = "feed"
    judged = quarantine.apply_repairs(FLOW, HOUR, frame)
    verdict = contracts.check(parsing.parse(judged, looser), looser)
    with warehouse.write() as conn:
        assert quarantine.record(conn, FLOW, HOUR, verdict, judged) == {"open": 2, "resolved": 2}
    assert waiting() == {3: ("type",), 5: ("not_null",)}


def test_a_broken_contract_puts_every_row_here_and_a_repair_brings_all_back() -> None:
    cents = raw([{"id": str(n), "amount": str(1999 + 100 * n), "kind": "a"} for n in range(1, 41)])
    cents.loc[3, "amount"] = "x1"
    verdict, good = run(cents)
    assert verdict.status == "broken"
    assert verdict.broken_by == ["unit"]
    assert "amounts look like cents" in verdict.aggregate_failures[0]
    assert len(good) == 0
    assert str(good["id"].dtype) == "int64"
    assert balanced() == {"rows_in": 40, "published": 0, "open": 40, "discarded": 0}
    assert waiting()[4] == ("type", "unit")
    report = quarantine.repair(Where(FLOW, HOUR), {"amount": "amount/100"}, actor="ann")
    assert report.rows == 39
    assert report.skipped == ("orders 2026-01-01T00:00:00 row 4: amount is 'x1', not a number",)
    verdict, good = run(cents)
    assert verdict.status == "quarantined"
    assert good["amount"].iloc[0] == 20.99
    assert balanced() == {"rows_in": 40, "published": 39, "open": 1, "discarded": 0}
    with pytest.raises(BatonError, match=r"no cell would change in 1 row.*not a number"):
        quarantine.repair(Where(FLOW, HOUR), {"amount": "amount/100"}, actor="ann")


def test_a_typed_partition_is_repaired_too() -> None:
    frame = pd.DataFrame({"id": [1, 2, 2, 4], "amount": [1.0, -2.0, 3.0, 4.0], "kind": ["a", None, "c", "d"]})
    frame = identity.with_row_identity(frame, "parquet")
    run(frame)
    assert waiting() == {2: ("id_twice", "negative"), 3: ("id_twice",)}
    assert balanced()["open"] == 2
    quarantine.repair(Where(row=2), {"amount": "amount * -1", "id": "9"}, actor="ann")
    verdict, good = run(frame)
    assert verdict.status == "passed"
    assert good[["id", "amount"]].values.tolist() == [[1, 1], [9, 2], [2, 3], [4, 4]]
    assert quarantine.counts(FLOW) == {"open": 0, "repaired": 0, "resolved": 2, "discarded": 0}


def test_a_changed_delivery_resolves_rows_that_are_gone() -> None:
    run(raw())
    quarantine.discard(Where(row=5), "empty", actor="ann")
    corrected = raw([{"id": str(n), "amount": "1", "kind": "a"} for n in range(1, 9)])
    run(corrected)
    assert balanced() == {"rows_in": 8, "published": 8, "open": 0, "discarded": 0}


def test_answers_given_while_a_run_judges_are_kept() -> None:
    frame = raw()
    run(frame)
    judged = quarantine.apply_repairs(FLOW, HOUR, frame)
    verdict = contracts.check(parsing.parse(judged, SPEC), SPEC)
    quarantine.discard(Where(row=5), "empty", actor="ann")
    quarantine.repair(Where(row=2), {"amount": "4"}, actor="ann")
    with warehouse.write() as conn:
        quarantine.record(conn, FLOW, HOUR, verdict, judged, frame)
    assert {row.row: row.status for row in quarantine.list_rows()} == {
        2: "repaired", 3: "open", 4: "open", 5: "discarded",
    }  # fmt: skip
    assert balanced()["discarded"] == 1
    run(frame)
    assert waiting().keys() == {3, 4}


# --- what is published of an earlier delivery --------------------------------------------------------------


def test_a_published_hour_that_is_delivered_again_broken_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    SHOP["as_pack"](monkeypatch)
    first = raw([{"id": str(n), "amount": "10", "kind": "a"} for n in range(1, 21)])
    made = publish(deliver(first))
    assert balanced() == {"rows_in": 20, "published": 20, "open": 0, "discarded": 0}
    cents = raw([{"id": str(n), "amount": str(2000 + n), "kind": "a"} for n in range(1, 31)])
    broken = deliver(cents)
    assert (broken.facts["status"], broken.facts["still_published"]) == ("broken", 20)
    counts = quarantine.accounting(FLOW, HOUR)
    assert counts == {"rows_in": 30, "published": 0, "open": 30, "discarded": 0, "superseded": 20}
    quarantine.repair(Where(FLOW, HOUR), {"amount": "amount/100"}, actor="ann")
    repaired = deliver(cents)
    assert quarantine.accounting(FLOW, HOUR)["superseded"] == 20  # the run has not come to the end
    publish(repaired)
    assert balanced() == {"rows_in": 30, "published": 30, "open": 0, "discarded": 0}
    deliver(raw([{"id": "1", "amount": "9000", "kind": "a"}]))  # broken once more, and taken back
    assert quarantine.accounting(FLOW, HOUR)["superseded"] == 30
    again = deliver(cents)
    assert publish(again).cached, "the same good rows as are published: nothing is published anew"
    assert balanced()["published"] == 30
    assert made.commit_id < slots.head(Slot(FLOW, "publish", HOUR)).commit_id


# --- people decide while a run judges --------------------------------------------------------------------


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> StageJob[Any]:
    """The contract stage on an hour whose rows 2 to 5 wait, row 2 repaired."""
    SHOP["as_pack"](monkeypatch)
    ref = datasets.write(raw(), "feed.parquet")
    made: StageJob[Any] = StageJob("shop", FLOW, "contract", HOUR, "baton.steps.contract:contract", {"data": ref},
                                   {"contract": "orders"})  # fmt: skip
    assert stages.run(made).facts["rows_good"] == 4
    quarantine.repair(Where(row=2), {"amount": "4"}, actor="ann")
    return made


def meanwhile(monkeypatch: pytest.MonkeyPatch, where: str, what: Callable[[], object]) -> None:
    def at(point: str) -> None:
        if point == where:
            monkeypatch.setattr(slots, "FAULT", lambda point: None)
            what()

    monkeypatch.setattr(slots, "FAULT", at)


@pytest.mark.parametrize("decide", [
    lambda: quarantine.discard(Where(row=2), "sent twice", actor="ben"),
    lambda: quarantine.repair(Where(row=2, status="repaired"), {"amount": "5"}, actor="ben"),
], ids=["discard", "edit"])  # fmt: skip
def test_what_people_decide_while_a_run_judges_is_judged_by_the_next_try(
    job: StageJob[Any], monkeypatch: pytest.MonkeyPatch, decide: Callable[[], object]
) -> None:
    meanwhile(monkeypatch, "computed", decide)
    with pytest.raises(StaleAttempt, match="repaired or discarded while this run judged them"):
        stages.run(job)
    waits = quarantine.list_rows(Where(row=2))[0]
    assert (waits.status, slots.head(job.slot).facts["rows_good"]) in [("discarded", 4), ("repaired", 4)]
    good = datasets.read(stages.run(job).ref)
    assert good.loc[good["id"] == 2, "amount"].tolist() == ([] if waits.status == "discarded" else [5.0])


def test_who_decides_while_a_verdict_is_written_waits_and_is_told(
    job: StageJob[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def decide() -> None:
        for act in (lambda: quarantine.discard(Where(row=2), "sent twice", actor="ben"),
                    lambda: quarantine.edit({(FLOW, HOUR, key): {"amount": "5"}}, actor="ben")):  # fmt: skip
            with pytest.raises(BatonError) as refused:
                act()
            told.append(str(refused.value))

    row = quarantine.list_rows(Where(row=2))[0]
    key, other = (row.row_sha, row.row), threading.Thread(target=decide)

    def start() -> None:
        other.start()
        other.join(1)
        assert other.is_alive()

    meanwhile(monkeypatch, "before_commit", start)
    assert stages.run(job).facts["rows_good"] == 5
    other.join(60)
    assert [("no row in quarantine" in text, "is not open" in text) for text in told] == [(True, False), (False, True)]
    assert quarantine.list_rows(Where(row=2))[0].status == "resolved"


def test_rows_are_found_by_what_they_are() -> None:
    run(raw())
    quarantine.repair(Where(row=3), {"amount": "1"}, actor="ann")
    run(raw())
    assert [row.row for row in quarantine.list_rows(Where(key="3"))] == [3, 4]
    assert quarantine.list_rows(Where(status="resolved")) == []  # rule `type` is, the row is not
    assert quarantine.list_rows(Where(row=3))[0].rules == ("id_twice",)
    assert len(quarantine.list_rows(limit=2)) == 2
    shas = tuple((row.row_sha, row.row) for row in quarantine.list_rows(Where(rule="id_twice")))
    assert [row.row for row in quarantine.list_rows(Where(rows=shas[1:]))] == [4]
    assert quarantine.list_rows(Where(flow="other")) == quarantine.list_rows(Where(source="other")) == []


def test_a_ragged_row_is_repaired_cell_by_cell() -> None:
    from baton.data.formats import read_bytes

    frame = identity.with_row_identity(
        read_bytes(b"id,amount,kind\n1,5,a\n2,6\n3,7,c,c\n4,8,d\n", "f.csv", "csv"), "feed"
    )
    run(frame)
    assert waiting() == {2: ("ragged",), 3: ("ragged",)}
    quarantine.repair(Where(row=2), {"kind": "'b'"}, actor="ann")
    quarantine.edit({(FLOW, HOUR, (frame["_row_sha"][2], 3)): {"kind": "cc"}}, actor="ann")
    verdict, good = run(frame)
    assert verdict.status == "passed"
    assert good["kind"].tolist() == ["a", "b", "cc", "d"]


def test_repairs_that_do_nothing_are_refused() -> None:
    run(raw())
    for where, what, message in [
        (Where(row=99), {"amount": "1"}, "no row in quarantine with row=99"),
        (Where(row=2), {"amount": "-4"}, "no cell would change"),
        (Where(row=2), {"nothing": "1"}, "no column nothing"),
        (Where(row=2), {"amount": "nothing * 2"}, "no column 'nothing'"),
        (Where(row=2), {}, "nothing to set"),
        (Where(row=2), {"amount": "amount ** 2"}, "not allowed"),
    ]:
        with pytest.raises(BatonError, match=message):
            quarantine.repair(where, what, actor="ann")
    with pytest.raises(BatonError, match="say why"):
        quarantine.discard(Where(row=2), "  ", actor="ann")
    with pytest.raises(NoData, match="has read no rows"):
        quarantine.accounting(FLOW, "2030-01-01T00:00:00")
    assert quarantine.counts()["open"] == 4


# --- any history of runs, repairs and discards adds up ------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["repair", "discard", "run", "redeliver"]),
        st.integers(1, 8),
        st.sampled_from(["1", "-1", "''"]),
    ),
    max_size=8,
)


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_rows_always_add_up(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, steps: list[Any]
) -> None:
    monkeypatch.setenv("BATON_HOME", str(tmp_path_factory.mktemp("home")))
    settings.cache_clear()
    warehouse.migrate()
    with warehouse.write() as conn:  # on Postgres the examples share a database
        for table in tables.metadata.sorted_tables:
            conn.execute(table.delete())
    frame = raw()
    run(frame)
    balanced()
    for action, row, value in steps:
        try:
            if action == "repair":
                quarantine.repair(Where(FLOW, HOUR, row=row), {"amount": value}, actor="a")
            elif action == "discard":
                quarantine.discard(Where(FLOW, HOUR, row=row), "r", actor="a")
            elif action == "redeliver":
                frame = raw(
                    [dict(cells, amount=value.strip("'")) if n == row else cells for n, cells in enumerate(ROWS, 1)]
                )
        except BatonError:
            continue
        if action in {"run", "redeliver"}:
            run(frame)
        balanced()
    run(frame)
    counts = balanced()
    settled = quarantine.list_rows(Where(status="discarded"))
    assert counts["discarded"] == len(settled)
    assert counts["open"] == len(waiting())
