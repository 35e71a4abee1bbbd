"""Several tasks judge a large batch between them: whatever is in it, the run leaves what one task would have left."""

from __future__ import annotations

import runpy
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from baton import quarantine
from baton.contracts.parts import Judging
from baton.data import datasets, objects, parts
from baton.errors import BatonError
from baton.quarantine import batch, spool
from baton.quarantine.rows import Where
from baton.record import ledger, warehouse
from baton.settings import settings
from baton.specs.contract import ContractSpec
from baton.stages import garbage, groups, slots
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import Slot, StageResult
from baton.steps import contract as steps_contract

SHOP: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("quarantine_orders.py")))
FLOW, HOUR, SPEC, raw = (SHOP[name] for name in ("FLOW", "HOUR", "SPEC", "raw"))
WHOLE, STEPS = Slot(FLOW, "contract", HOUR), "baton.steps.contract:"
SHARE = {"type": "expect_column_values_to_be_between", "severity": "warning", "meta": {"rule": "few_large"},
         "kwargs": {"column": "amount", "max_value": 90, "mostly": 0.9}}  # fmt: skip
SMALL = [
    {"type": "expect_column_mean_to_be_between", "severity": "critical", "kwargs": {"column": "amount", "max_value": 900},
     "meta": {"rule": "mean"}},
    {"type": "expect_column_unique_value_count_to_be_between", "severity": "info", "kwargs": {"column": "kind", "max_value": 1},
     "meta": {"rule": "kinds"}},
]  # fmt: skip
LOOSE = ContractSpec.model_validate(
    {**SPEC.model_dump(), "tolerated": 0.9, "expectations": [*SPEC.model_dump()["expectations"], SHARE, *SMALL]}
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Parts of eight rows, read in frames of three."""
    monkeypatch.setenv("BATON_HOME", str(tmp_path))
    settings.cache_clear()
    warehouse.migrate()
    SHOP["as_pack"](monkeypatch)
    monkeypatch.setattr(
        StageJob, "load_pack", lambda job: SimpleNamespace(contract=lambda name: LOOSE, models={}, sources={})
    )
    monkeypatch.setattr(parts, "ROWS", 8)
    monkeypatch.setattr(parts, "STEP", 1)
    monkeypatch.setattr(batch, "FRAME_ROWS", 3)
    monkeypatch.setattr(spool, "AT_ONCE", 2)
    yield tmp_path
    warehouse.engine().dispose()
    settings.cache_clear()


def job(ref: datasets.DatasetRef, step: str = "contract", **more: Any) -> StageJob[Any]:
    return StageJob("shop", FLOW, "contract", HOUR, f"{STEPS}{step}", {"data": ref}, {"contract": "orders"}, **more)


def judged(ref: datasets.DatasetRef, tasks: int) -> list[StageResult]:
    """What the tasks in front do, the last rows first."""
    made = [run(job(ref, "judge", group=one)) for one in reversed(groups.split(ref, tasks))] if tasks > 1 else []
    return made[::-1]


def left_by(result: StageResult) -> dict[str, Any]:
    """All that a run leaves, but the times and where it lies."""
    rows = [(row.row, row.row_sha, row.source, row.entity_key, row.rules, row.columns, row.values, row.advice, row.status,
             row.raw, row.repair) for row in quarantine.list_rows()]  # fmt: skip
    told = [one.payload for one in ledger.entries(kind="contract_verdict")]
    return {
        "rows": datasets.read(result.ref).to_json(), "quarantine": rows, "verdicts": told, "digest": result.digest,
        "facts": {name: fact for name, fact in result.facts.items() if name not in ("seconds", "page")},
        "page": (settings().reports_dir / result.facts["page"]).read_text(encoding="utf-8"),
        "name of the page": result.facts["page"], "accounts": quarantine.accounting(FLOW, HOUR),
        "content": result.ref.content_sha256, "schema": result.ref.schema_fingerprint,
    }  # fmt: skip


def good(count: int = 40) -> list[dict[str, Any]]:
    return [{"id": str(n), "amount": str(n % 60 + 1), "kind": "a"} for n in range(count)]


def some_bad() -> list[dict[str, Any]]:
    made = good()
    for row, column, cell in [(3, "amount", "-3"), (4, "amount", "x"), (20, "amount", None), (39, "amount", "-1")]:
        made[row][column] = cell
    return made


def twice() -> list[dict[str, Any]]:
    made = some_bad()
    made[33]["id"], made[34]["id"] = "5", "35"
    return made


def large(many: int) -> list[dict[str, Any]]:
    """Of the first part only: less than a tenth of all, or more."""
    return [{**one, "amount": "95"} if n < many else one for n, one in enumerate(some_bad())]


def nothing_in(first: int, last: int) -> list[dict[str, Any]]:
    """Parts all of whose rows are bad."""
    return [{**one, "amount": "x" if n % 2 else "-1"} if first <= n < last else one for n, one in enumerate(good())]


def late_text() -> list[dict[str, Any]]:
    return [{**one, "kind": "z" if n > 36 else None} for n, one in enumerate(some_bad())]


CASES: dict[str, tuple[Callable[[], list[dict[str, Any]]], bool]] = {
    "all good": (good, True), "bad rows in several parts": (some_bad, True), "keys twice, of two parts": (twice, False),
    "few enough large ones": (lambda: large(2), True), "too many large ones": (lambda: large(7), False),
    "a part without a good row": (lambda: nothing_in(8, 16), True), "a task without a good row": (lambda: nothing_in(0, 24), True),
    "too many bad rows": (lambda: nothing_in(0, 37), True), "text at the end only": (late_text, False),
    "refused": (lambda: [{**one, "amount": "5000"} for one in some_bad()], False),
    "a column is missing": (lambda: [{"id": str(n), "kind": "a"} for n in range(20)], False),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_run_leaves_the_same_for_any_number_of_tasks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, names_theirs = CASES[name]
    ref = datasets.write(raw(made()), "delivered.parquet")
    seen = []
    for tasks in (1, 2, 4):
        forget()
        with monkeypatch.context() as patch:
            shares = judged(ref, tasks)
            if tasks > 1:  # the task behind judges no row again
                patch.setattr(Judging, "add", None)
            whole = run(job(ref))
        seen.append(left_by(whole))
        theirs, named = ({part.uri for one in some for part in held(one.ref)} for some in (shares, [whole]))
        assert bool(named and named <= theirs) == (names_theirs and tasks > 1 and whole.ref.rows > 0)
    assert seen[0]["content"] == seen[1]["content"] == seen[2]["content"]
    assert seen[0] == seen[1] == seen[2]


def forget() -> None:
    with warehouse.write() as conn:
        for table in ("quarantine", "heads", "commits", "ledger"):
            conn.exec_driver_sql(f"DELETE FROM {table}")
    for item in objects.listed(lambda name: name.startswith(f"{FLOW}/")):
        objects.delete(item.uri)


def held(ref: datasets.DatasetRef) -> list[parts.StoredPart]:
    return [part for part in datasets.stored.held(ref)[1] if part.rows]


def test_tasks_that_are_killed_and_repeated_leave_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    ref = datasets.write(raw(some_bad()), "delivered.parquet")
    first, second = groups.split(ref, 2)
    for point in ("written", "before_commit", "committed"):
        killed_at(point, job(ref, "judge", group=first), monkeypatch)
    assert run(job(ref, "judge", group=first)).cached
    assert slots.head(WHOLE) is None, "a group alone names nothing"
    run(job(ref, "judge", group=second))
    killed_at("before_commit", job(ref), monkeypatch)
    assert quarantine.list_rows() == []
    monkeypatch.setattr(Judging, "add", None)
    whole = run(job(ref))
    assert [row.row for row in quarantine.list_rows()] == [4, 5, 21, 40]
    assert (whole.ref.rows, run(job(ref)).cached, len(slots.history(WHOLE))) == (36, True, 1)
    garbage.gc(timedelta(seconds=-60))
    assert datasets.verifies(whole.ref), "what it names is the groups', whose notes are gone by now"
    assert not [item for item in objects.listed() if garbage.is_notes(item.name)]


def killed_at(point: str, one: StageJob[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(at: str) -> None:
        if at == point:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(slots, "FAULT", fault)
        with pytest.raises(KeyboardInterrupt):
            run(one)


def test_what_was_judged_before_somebody_repaired_a_row_is_not_taken() -> None:
    ref = datasets.write(raw(some_bad()), "delivered.parquet")
    judged(ref, 2)
    run(job(ref))
    quarantine.repair(Where(row=4), {"amount": "7"}, actor="ann")
    assert run(job(ref)).ref.rows == 37
    judged(ref, 2)
    quarantine.discard(Where(row=5), "no", actor="ann")
    judged(ref, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Judging, "add", None)
        assert run(job(ref)).ref.rows == 37
    assert quarantine.accounting(FLOW, HOUR)["discarded"] == 1


def test_parts_that_are_damaged_are_made_anew_of_the_rows() -> None:
    ref = datasets.write(raw(some_bad()), "delivered.parquet")
    judged(ref, 2)
    before = run(job(ref)).ref
    objects.delete(held(before)[0].uri)
    again = run(job(ref))
    assert (again.cached, again.ref.content_sha256) == (False, before.content_sha256)
    assert datasets.verifies(again.ref)


def test_what_tasks_judged_is_recognized_by_one_look_at_the_quarantine(monkeypatch: pytest.MonkeyPatch) -> None:
    ref, looks = datasets.write(raw(some_bad()), "delivered.parquet"), []
    monkeypatch.setattr(
        steps_contract, "repairs_digest", lambda *about: looks.append(about) or quarantine.repairs_digest(*about)
    )
    asked = {}
    for tasks in (2, 4):
        forget()
        judged(ref, tasks)
        looks.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Judging, "add", None)
            assert not run(job(ref)).cached
        asked[tasks] = len(looks)
    assert asked[2] == asked[4] <= 4


def test_cells_of_the_whole_are_on_no_heap_while_rows_are_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref, done = datasets.write(raw(some_bad()), "delivered.parquet"), []
    temporary = home / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    kept, good_rows = Judging.kept, Judging.good

    def noted(judging: Judging) -> Iterator[Any]:
        for table in kept(judging):
            done.append("kept")
            yield table

    monkeypatch.setattr(Judging, "kept", noted)
    monkeypatch.setattr(Judging, "good", lambda *about: done.append("good") or good_rows(*about))
    first, second = groups.split(ref, 2)
    run(job(ref, "judge", group=first))
    assert sorted(set(done)) == ["good", "kept"]
    assert done == sorted(done), "written first, then read from the disk"
    assert list(temporary.iterdir()) == []
    run(job(ref, "judge", group=second, dry_run=True))
    assert list(temporary.iterdir()) == []

    def stuck(*_: Any) -> None:
        raise BatonError("full")

    monkeypatch.setattr(Judging, "good", stuck)
    with pytest.raises(BatonError, match="full"):
        run(job(ref, "judge", group=second))
    assert list(temporary.iterdir()) == []
