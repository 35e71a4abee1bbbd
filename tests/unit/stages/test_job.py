"""Stages: what a step is given, what its digest depends on, and what a dry run and a broken output leave behind."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.actions import changes
from baton.errors import BatonError, ContractBroken, SpecError
from baton.record import ledger, tables
from baton.settings import settings
from baton.specs.base import Spec
from baton.stages import answers, slots
from baton.stages import run as stages
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import Slot, StageOutput, head, history
from baton.stages.step import engine_step

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
job, commit, rows, FLOW, HOURS = (STAGE[name] for name in ("job", "commit", "rows", "FLOW", "HOURS"))
ORDERS = pd.DataFrame({"order_id": [1, 2, 3], "amount": [10.0, 20.0, 30.0]})
HERE = f"{__name__}:"
STATE: dict[str, Any] = {"file": "a"}


class Numbered(Spec):
    a: int = 0


class Answered(Spec):
    word: dict[str, Any] | None = None


@engine_step(Numbered, fingerprint=lambda job: STATE)
def case_for_each(job: StageJob) -> StageOutput:
    """An engine step that publishes: one case per partition."""

    def on_commit(conn: Any, commit_id: int) -> None:
        row = {"flow": job.flow, "entity_key": str(commit_id), "partition": job.partition, "route": "review", "risk": 1.0,
               "status": "open", "resolutions": {"x": {}}, "opened_at": "t", "updated_at": "t"}  # fmt: skip
        conn.execute(tables.cases.insert(), [row])

    return StageOutput(pd.DataFrame({"flow": [job.flow]}), {"stage": job.stage}, on_commit)


@engine_step()
def without_fingerprint(job: StageJob) -> StageOutput:
    return StageOutput(pd.DataFrame({"n": [len(job.inputs)]}))


@engine_step(Answered)
def as_answered(job: StageJob) -> StageOutput:
    return StageOutput(ORDERS)


def counted(orders: pd.DataFrame) -> StageOutput:
    """A pack function may return facts with its frame."""
    return StageOutput(orders, {"orders": len(orders)})


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    STATE.update(file="a")
    monkeypatch.setattr(stages, "resolve", this_file_too(stages.resolve))
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        yield folder


def this_file_too(resolve: Any) -> Any:
    """Test modules are imported by path, not by name."""
    return lambda path: globals()[path.removeprefix(HERE)] if path.startswith(HERE) else resolve(path)


def frame_of(result: Any) -> pd.DataFrame:
    from baton.data.datasets import read

    return read(result.ref)


def test_a_pack_function_gets_frames_by_input_name_and_params() -> None:
    orders = commit("contract", 0, ORDERS)
    assert frame_of(run(job(inputs={"orders": orders})))["amount"].tolist() == [20.0, 40.0, 60.0]
    tripled = run(job(inputs={"orders": orders}, options={"params": {"factor": 3}}))
    assert frame_of(tripled)["amount"].tolist() == [30.0, 60.0, 90.0]

    customers = commit("customers", 0, pd.DataFrame({"order_id": [3, 1], "name": ["c", "a"]}))
    joined = run(
        job("join", "shop_pack.steps:join", inputs={"customers": customers, "orders": orders},
            options={"params": {"how": "inner"}})
    )  # fmt: skip
    assert frame_of(joined)["name"].tolist() == ["a", "c"]


def test_a_pack_function_may_return_facts() -> None:
    result = run(job(step=HERE + "counted", inputs={"orders": commit("contract", 0, ORDERS)}))
    assert result.facts == {"orders": 3}


def test_an_engine_step_gets_the_job_whether_or_not_it_has_a_fingerprint() -> None:
    result = run(job("open", HERE + "case_for_each"))
    assert result.facts == {"stage": "open"}
    assert frame_of(result)["flow"].tolist() == [FLOW]
    assert rows(tables.cases, "entity_key", "partition") == [(str(result.commit_id), HOURS[0])]
    plain = run(job("plain", HERE + "without_fingerprint", inputs={"a": commit("contract", 0, ORDERS)}))
    assert frame_of(plain)["n"].tolist() == [1]


def test_the_same_job_is_not_run_again_whoever_asks() -> None:
    first = run(job("open", HERE + "case_for_each", run_id="one"))
    again = run(job("open", HERE + "case_for_each", run_id="another"))
    assert again.cached
    assert again.commit_id == first.commit_id
    assert len(rows(tables.cases)) == 1


@pytest.mark.parametrize("change", ["options", "state", "models", "input", "contract"])
def test_the_digest_changes_with_whatever_the_result_depends_on(change: str, pack: Path, home: Path) -> None:
    (home / "governance").write_text("single\n")  # nobody has to agree to the other contract
    settings.cache_clear()
    before = job("open", HERE + "case_for_each", options={"a": 1}, output_contract="flows", models={"m": 1},
                 inputs={"orders": commit("contract", 0, ORDERS)})  # fmt: skip
    (pack / "contracts/flows.yaml").write_text(
        "contract: flows\nversion: 1\nowner: tests\ndescription: d\nkey: flow\ncolumns:\n  flow: {type: str}\n"
    )
    first, after = run(before), before
    if change == "options":
        after = replace(before, options={**before.options, "a": 2})
    elif change == "models":
        after = replace(before, models={"m": 2})
    elif change == "input":
        after = replace(before, inputs={"orders": commit("contract", 0, ORDERS.head(2))})
    elif change == "state":
        STATE["file"] = "b"
    else:
        contract = pack / "contracts/flows.yaml"
        contract.write_text(contract.read_text().replace("version: 1", "version: 22"))
    second = run(after)
    assert not second.cached
    assert second.digest != first.digest
    assert run(after).cached


def test_a_dry_run_has_a_slot_of_its_own_and_changes_no_business_table() -> None:
    real = run(job("open", HERE + "case_for_each"))
    STATE["file"] = "b"
    dry = run(job("open", HERE + "case_for_each", dry_run=True))
    assert dry.facts == real.facts
    assert len(rows(tables.cases)) == 1
    assert head(Slot(FLOW, "open", HOURS[0])).commit_id == real.commit_id  # type: ignore[union-attr]
    assert head(Slot(f"{FLOW}~dry", "open", HOURS[0])).commit_id == dry.commit_id  # type: ignore[union-attr]
    run(job("open", HERE + "case_for_each"))  # a dry run's result is never taken for the real one
    assert len(rows(tables.cases)) == 2


def test_an_output_that_breaks_its_contract_commits_nothing(home: Path) -> None:
    bad = job(inputs={"orders": commit("contract", 0, ORDERS)},
              options={"params": {"factor": -1}}, output_contract="orders")  # fmt: skip
    changes.require([("shop", "contract", "orders")], "test")  # recorded at its first use
    records = ledger.verify().records
    words = r"output of stage publish breaks contract orders: .*3 of 3 rows \(100\.0%\) break .*amount_negative"
    with pytest.raises(ContractBroken, match=words):
        run(bad)
    assert history(bad.slot) == []
    assert head(bad.slot) is None
    assert ledger.verify().records == records
    assert not list((home / "store" / FLOW / "publish").rglob("*.parquet"))
    good = replace(bad, options={})
    assert frame_of(run(good))["amount"].tolist() == [20.0, 40.0, 60.0]
    assert rows(tables.quarantine) == []  # the fault is ours, not the rows'


def test_even_a_tolerated_row_of_our_own_output_stops_the_stage_by_name() -> None:
    one = ORDERS.assign(amount=[10.0, -20.0, 30.0])
    bad = job(inputs={"orders": commit("contract", 0, one)}, output_contract="orders")
    with pytest.raises(ContractBroken, match=r"row 2 amount='?-40\.0'? breaks amount_negative$"):
        run(bad)


def test_a_column_that_the_output_lacks_is_named() -> None:
    lacking = job(inputs={"orders": commit("contract", 0, ORDERS.drop(columns="order_id"))},
                  output_contract="orders")  # fmt: skip
    with pytest.raises(ContractBroken, match="order_id"):
        run(lacking)


def test_an_unknown_contract_is_refused_before_anything_runs() -> None:
    with pytest.raises(SpecError, match=r"no contract `order`.*orders"):
        run(job("open", HERE + "case_for_each", output_contract="order"))
    assert rows(tables.cases) == []


def test_a_step_that_fails_commits_nothing_and_says_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = job(inputs={"orders": commit("contract", 0, ORDERS)})
    monkeypatch.setattr(slots, "FAULT", fail_when_named)
    with pytest.raises(RuntimeError, match="lost power"):
        run(replace(failing, step=HERE + "counted"))
    assert head(failing.slot) is None


def fail_when_named(point: str) -> None:
    if point == "named":
        raise RuntimeError("lost power")


def test_a_wrong_step_path_is_named_with_what_is_wrong() -> None:
    for path, words in [
        ("shop_pack.steps", "expected 'package.module:function'"),
        ("shop_pack.steps:", "expected 'package.module:function'"),
        ("shop_pack.step:double", "cannot be imported: No module named"),
        ("shop_pack.steps:treble", "cannot be imported: module .* has no attribute 'treble'"),
    ]:
        with pytest.raises(BatonError, match=f"step {path!r}.*{words}"):
            run(job(step=path))


def test_a_corrected_helper_is_computed_anew(pack: Path) -> None:
    (pack / "rules.py").write_text("FACTOR = 2\n")
    steps = (pack / "steps.py").read_text()
    (pack / "steps.py").write_text(
        steps + "\n\ndef helped(orders):\n    from shop_pack.rules import FACTOR\n\n    return orders * FACTOR\n"
    )
    given = job("help", "shop_pack.steps:helped", inputs={"orders": commit("contract", 0, ORDERS)})
    assert (run(given).cached, run(given).cached) == (False, True)
    (pack / "rules.py").write_text("FACTOR = 3  # corrected\n")
    assert not run(given).cached


def test_a_persons_answer_counts_only_for_what_they_were_shown() -> None:
    """Published anew between the question and the stage that takes the answer, say by a task cleared alone."""
    shown = commit("publish", 0, ORDERS)
    answer = {"answer": "approved", "actor": "ada", "about": {"uri": shown.uri, "content_sha256": shown.content_sha256}}
    asked = job("settle", HERE + "as_answered", inputs={"decisions": shown}, options={"word": answer})
    answers.note(FLOW, HOURS[0], "review", answer)
    assert run(asked).ref.rows == 3
    bigger = commit("publish", 0, ORDERS.assign(amount=10_000.0))
    with pytest.raises(
        BatonError, match=r"input `decisions` .* made anew after the answer in `word` was asked for: clear .*review"
    ):
        run(replace(asked, inputs={"decisions": bigger}))
    other = commit("publish", 1, ORDERS.assign(amount=1.0))
    assert run(replace(asked, inputs={"shown": shown, "other": other})).ref.rows == 3
    pure = job("settle", HERE + "counted", inputs={"orders": bigger}, options={"params": {"word": answer}})
    with pytest.raises(BatonError, match="made anew"):
        run(pure)


def test_an_answer_that_no_review_noted_or_that_was_changed_on_its_way_is_none() -> None:
    """Whoever may use a flow may write its XCom: another person's name, another quantity, yesterday's yes."""
    shown = commit("publish", 0, ORDERS)
    about = {"uri": shown.uri, "content_sha256": shown.content_sha256}
    yes = {"answer": "approved", "actor": "ada", "actor_id": "1", "changes": {"1": 5}, "about": about}

    def settle(answer: dict[str, Any]) -> Any:
        return run(job("settle", HERE + "as_answered", inputs={"decisions": shown}, options={"word": answer}))

    answers.note(FLOW, HOURS[1], "review", yes)
    for forged in (yes, {"answer": "approved", "actor": "ada"}):
        with pytest.raises(
            BatonError, match=r"`word` is not the last word that a review .* clear the task that reviews"
        ):
            settle(forged)
    answers.note(FLOW, HOURS[0], "review", yes)
    assert settle(yes).ref.rows == 3
    for change in ({"actor_id": "2"}, {"changes": {"1": 5000}}):
        with pytest.raises(BatonError, match="is not the last word"):
            settle({**yes, **change})
    answers.note(FLOW, HOURS[0], "review", {**yes, "answer": "rejected"})
    answers.note(FLOW, HOURS[0], "another", yes | {"changes": {}})
    with pytest.raises(BatonError, match="is not the last word"):
        settle(yes)
    assert settle({**yes, "answer": "rejected"}).ref.rows == 3, "a no needs no proof"
    assert settle(yes | {"changes": {}}).ref.rows == 3
    assert all(
        set(one.payload) == {"task", "answer", "actor", "actor_id", "sha256", "shown"}
        for one in ledger.entries(kind=answers.ANSWERED)
    )
