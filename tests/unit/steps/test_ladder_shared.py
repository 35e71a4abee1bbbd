"""The ladder of a batch that several tasks share: each climbs its own, and what is put on record is said of all rows, once.

The shelf of versions is that of `test_ladder.py`.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.data import parts
from baton.data.datasets import read
from baton.errors import ContractBroken, ModelError, RegistryRefused, StaleAttempt
from baton.record import tables
from baton.registry import rungs
from baton.stages import groups, slots
from baton.stages.run import joined_by, run
from baton.stages.slots import Slot, StageResult, head, history
from baton.steps import ladder

LADDER: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("test_ladder.py")))
shelf, Shelf, who, heard, rows = (LADDER[name] for name in ("shelf", "Shelf", "who", "heard", "rows"))
commit, job, FLOW, HOURS, MODEL, RULES = (LADDER[name] for name in ("commit", "job", "FLOW", "HOURS", "MODEL", "RULES"))
STAGE = "score__late_order"
WHOLE = Slot(FLOW, STAGE, HOURS[0])
EACH = 2  # rows of a part


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ROWS", EACH)
    monkeypatch.setattr(parts, "STEP", 1)


def share(*numbers: int, run_id: str = "a", ids: range | list[int] = range(1, 7), **given: Any) -> list[StageResult]:
    """Those of three tasks, in this order; without numbers all."""
    frame = pd.DataFrame({"order_id": ids, "amount": [5.0, 50.0] * (len(ids) // 2)})
    data = commit("contract", 0, frame.assign(_row=range(1, len(ids) + 1)))
    portions = groups.split(data, 3)
    asked = {"inputs": {"data": data}, "options": {"model": MODEL, "fallback": RULES}, "models": {MODEL: 2},
             "output_contract": "scores", "run_id": run_id, **given}  # fmt: skip
    return [
        run(job(STAGE, "baton.steps.score:score", group=portions[number], **asked)) for number in numbers or (0, 1, 2)
    ]


def fails(monkeypatch: pytest.MonkeyPatch, *where: tuple[int, int], error: Exception | None = None) -> None:
    """These versions cannot score these orders; no others have a problem."""

    def score(self: Any, spec: Any, version: int, data: pd.DataFrame, explain: float) -> pd.DataFrame:
        if any(version == bad and order in set(data["order_id"]) for bad, order in where):
            raise error or ModelError("it cannot")
        return REAL(self, spec, version, data, explain)

    monkeypatch.setattr(Shelf, "score", score)


REAL = Shelf.score


def whole() -> StageResult:
    found = head(WHOLE)
    assert found is not None
    return found


def told() -> list[tuple[Any, ...]]:
    return [(kind, said["rung"], said["version"]) for kind, said in heard(rungs.DEGRADED, rungs.RECOVERED)]


def found(number: int, rung: str, version: int | None, *why: str) -> dict[str, Any]:
    """Facts of a group of two rows."""
    facts: dict[str, Any] = {"rung": rung, "version": version}
    facts |= {"degraded": [f"{'; '.join(why)}; something else scores instead"]} if why else {}
    facts |= {} if version is None else {"mlflow": f"http://mlflow/{version}"}
    return facts | {
        "versions": {str(version or 0): 2},
        "ladder": {"model": MODEL, "why": list(why), "rows": [2 * number, 2 * number + 2]},
    }


def test_the_whole_says_the_lowest_rung_and_every_reason_once(shelf: Any) -> None:
    facts, _ = ladder.joined(WHOLE, [
        found(0, "champion", 2), found(1, "previous", 1, "late", "late"), found(2, "rules", None, "late", "broken"),
        found(3, "rules", None, "late", "broken"), found(4, "previous", 1, "early"),
    ])  # fmt: skip
    instead = "; something else scores instead"
    assert facts == {
        "rung": "rules", "version": None, "versions": {"2": 2, "1": 4, "0": 4},
        "degraded": [f"late; late{instead} (rows 3 to 4)", f"late; broken{instead} (rows 5 to 6, 7 to 8)", f"early{instead} (rows 9 to 10)"],
    }  # fmt: skip
    facts, _ = ladder.joined(WHOLE, [found(0, "champion", 2), found(1, "champion", 2)])
    assert facts == {"rung": "champion", "version": 2, "mlflow": "http://mlflow/2"}
    facts, _ = ladder.joined(WHOLE, [found(0, "rules", None, "down"), found(1, "rules", None, "down")])
    assert facts["degraded"] == [f"down{instead}"], "of all rows"
    facts, _ = ladder.joined(
        WHOLE, [found(0, "champion", 3), found(1, "previous", 2, "a"), found(2, "previous", 1, "a", "b")]
    )
    assert (facts["rung"], facts["version"], facts["mlflow"]) == ("previous", 1, "http://mlflow/1"), "the one after"


def test_a_version_that_several_refused_is_refused_once(shelf: Any) -> None:
    broken = {2: RegistryRefused("not those that were signed")}
    shelf.wrong = broken
    share()
    assert shelf.asked == [2, 1] * 3
    said = {"reason": "not those that were signed", "instead": 1, "partition": HOURS[0]}
    assert [one for _, one in heard("version_refused")] == [said]
    assert told() == [("model_degraded", "previous", 1)]
    assert rows(tables.rungs, "reason") == [("late_order version 2 does not score: not those that were signed",)]


def test_without_a_ladder_facts_are_joined_as_those_of_any_stage(shelf: Any) -> None:
    assert ladder.joined(WHOLE, [{"mlflow": "a"}, {"mlflow": "a"}]) == ({"mlflow": "a"}, None)


def test_one_group_has_its_own_rung_and_the_whole_is_put_on_record_once(
    shelf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, (2, 3), (1, 3))
    (middle,) = share(1)
    assert (middle.facts["rung"], middle.facts["version"]) == ("rules", None)
    assert rows(tables.rungs) == []
    assert told() == []
    first, last = share(2, 0)
    assert (first.facts["rung"], last.facts["rung"]) == ("champion", "champion")
    assert who(whole()) == (("champion", 2), ("rules", 0))
    assert read(whole().ref)["entity_key"].tolist() == [str(one) for one in range(1, 7)]
    (why,) = middle.facts["degraded"]
    assert whole().facts == {
        "rung": "rules", "version": None, "degraded": [f"{why} (rows 3 to 4)"], "versions": {"0": 2, "2": 4},
    }  # fmt: skip
    assert rows(tables.rungs, "flow", "model", "rung", "version", "partition") == [
        (FLOW, MODEL, "rules", None, HOURS[0])
    ]
    assert told() == [("model_degraded", "rules", None)]
    assert rows(tables.usage, "commit_id", "rows") == sorted([(first.commit_id, 2), (last.commit_id, 2)])


def test_where_a_rung_ends_is_said_by_the_rows_of_the_batch(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, (2, 6))
    monkeypatch.setattr(parts, "ROWS", 1)
    (last,) = share(2)
    (sentence,) = last.facts["degraded"]
    assert sentence.startswith("late_order version 2 does not score rows 6 to 6: it cannot; version 1")
    fails(monkeypatch, (2, 5))
    (last,) = share(2)
    assert last.facts["degraded"][0].startswith("late_order version 2 does not score: it cannot; version 1")


def test_all_by_the_champion_nothing_is_said(shelf: Any) -> None:
    share()
    assert whole().facts == {"rung": "champion", "version": 2, "mlflow": "http://mlflow/2"}
    assert (rows(tables.rungs), told()) == ([], [])


def test_a_batch_of_one_part_is_one_task_with_the_stages_own_slot(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ROWS", 100)
    shelf.wrong = {2: ModelError("broken")}
    (made,) = share(0)
    assert made.commit_id == whole().commit_id
    assert set(made.facts) == {"rung", "version", "mlflow", "degraded"}
    assert told() == [("model_degraded", "previous", 1)]


@pytest.mark.parametrize("run_id", ["a", "b"], ids=["cleared", "another run"])
@pytest.mark.parametrize("again", [(0, 1, 2), (1,), (2, 1, 0), (1, 0, 2)], ids=str)
def test_what_was_degraded_is_computed_again_and_nothing_else(
    shelf: Any, monkeypatch: pytest.MonkeyPatch, again: tuple[int, ...], run_id: str
) -> None:
    fails(monkeypatch, (2, 3))
    before = share()
    fails(monkeypatch)
    made = dict(zip(again, share(*again, run_id=run_id), strict=True))
    assert {number: one.cached for number, one in made.items()} == {number: number != 1 for number in again}
    assert all(one.commit_id == before[number].commit_id for number, one in made.items() if number != 1)
    assert who(whole()) == (("champion", 2),)
    assert "degraded" not in whole().facts
    assert told() == [("model_degraded", "previous", 1), ("model_recovered", "previous", 2)]
    assert len(history(WHOLE)) == 2
    assert all(one.cached for one in share(run_id="c")), "what became whole is found again"
    assert len(history(WHOLE)) == 2


@pytest.mark.parametrize("run_id", ["a", "b"], ids=["cleared", "another run"])
def test_the_whole_waits_for_every_group_that_tries_again(
    shelf: Any, monkeypatch: pytest.MonkeyPatch, run_id: str
) -> None:
    fails(monkeypatch, (2, 1), (2, 6), (1, 6))
    share()
    assert told() == [("model_degraded", "rules", None)]
    fails(monkeypatch, (2, 1))
    share(2, run_id=run_id)
    assert len(history(WHOLE)) == 1, "the first group is about to try again"
    share(0, 1, run_id=run_id)
    assert [one.facts["rung"] for one in history(WHOLE)] == ["rules", "previous"]
    fails(monkeypatch)
    share(1, 0, 2, run_id=run_id)
    assert [one.facts["rung"] for one in history(WHOLE)] == ["rules", "previous", "champion"]
    assert told()[1:] == [("model_degraded", "previous", 1), ("model_recovered", "previous", 2)]


def test_both_of_two_that_try_again_and_fail_are_named(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, (2, 1), (2, 6))
    share()
    first, last = share(0, 2)
    assert (first.cached, last.cached) == (False, False)
    assert [one.uri for one in whole().inputs.values() if one.rows == EACH][::2] == [first.ref.uri, last.ref.uri]
    assert told() == [("model_degraded", "previous", 1)]


def test_no_whole_is_made_of_what_an_earlier_run_left_degraded(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The earlier run ended before its whole was named."""
    fails(monkeypatch, (2, 3))
    share(0, 1)
    fails(monkeypatch)
    share(0, 2, run_id="b")
    assert head(WHOLE) is None
    share(1, run_id="b")
    assert whole().facts["rung"] == "champion"
    assert told() == []


def test_one_that_found_its_result_leaves_those_that_are_degraded_to_who_reads(
    shelf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repetition after a death before the whole was named: all may be about to run, or this one alone."""
    fails(monkeypatch, (2, 3))
    with monkeypatch.context() as patch:
        patch.setattr(slots, "FAULT", dies_before_the_whole(2))
        with pytest.raises(KeyboardInterrupt):
            share()
    assert head(WHOLE) is None
    fails(monkeypatch)
    share(2)
    assert head(WHOLE) is None
    share(1)
    assert whole().facts["rung"] == "champion"
    assert told() == []


def dies_before_the_whole(commits: int) -> Any:
    """Stops whatever begins after so many groups and the batch have committed, and one more has."""
    left = [commits + 1]

    def fault(point: str) -> None:
        if point == "committed":
            left[0] -= 1
        elif point == "looked" and left[0] < 0:
            raise KeyboardInterrupt

    return fault


def test_two_groups_that_end_together_put_it_on_record_once(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, (2, 3))
    given: list[Any] = []
    real = groups.whole

    def whole_of(*asked: Any) -> StageResult:
        given.append(asked)
        return real(*asked)

    def other_first(point: str) -> None:
        """The other of the last two names it while this one is about to."""
        if point == "computed" and len(given) == 1:
            given.append(())
            real(*given[0])

    share(1, 2)
    monkeypatch.setattr(groups, "whole", whole_of)
    monkeypatch.setattr(slots, "FAULT", other_first)
    share(0)
    assert len(given) == 2
    assert len(history(WHOLE)) == 1
    assert told() == [("model_degraded", "previous", 1)]


def test_one_that_wakes_up_late_names_nothing_of_before(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, (2, 3))
    real, late = groups.whole, [True]

    def whole_of(*asked: Any) -> StageResult:
        if late:  # it has seen all groups; meanwhile one of them is computed anew, and all are named
            late.clear()
            fails(monkeypatch)
            share(1)
        return real(*asked)

    share(0, 1)
    monkeypatch.setattr(groups, "whole", whole_of)
    monkeypatch.setattr(groups, "TRIES", 1)
    with pytest.raises(
        StaleAttempt, match="another run has made its rows anew, and those of this one were never named"
    ):
        share(2)
    assert [one.facts["rung"] for one in history(WHOLE)] == ["champion"]
    assert told() == []


def read_late(made: list[StageResult], version: int = 2) -> StageResult:
    """What whoever reads the stage gets for what its tasks returned, perhaps days later."""
    join = joined_by("baton.steps.score:score", False)
    refs, facts = [one.ref for one in made], [one.facts for one in made]
    return groups.whole(WHOLE, refs, facts, {MODEL: version}, join=join, late=True)


def test_who_reads_late_gets_what_was_named_then_and_changes_nothing(
    shelf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, (2, 3))
    first = share(run_id="a")
    before = read_late(first)
    fails(monkeypatch)
    share(run_id="b")
    assert told() == [("model_degraded", "previous", 1), ("model_recovered", "previous", 2)]
    again = read_late(first)  # `publish` of the first run, which waited for a person or was cleared
    assert (again.commit_id, again.facts["rung"], again.cached) == (before.commit_id, "previous", True)
    assert (whole().facts["rung"], rows(tables.rungs), len(told())) == ("champion", [], 2)
    monkeypatch.setattr(parts, "ROWS", 100)
    share(0, run_id="c", ids=[1, 2, 3, 4, 5, 7])  # of one part: no groups
    assert read_late(first).commit_id == before.commit_id
    assert read(whole().ref)["entity_key"].tolist()[-1] == "7"


def test_a_run_of_before_says_no_recovery(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = share(run_id="a", models={MODEL: 1})
    fails(monkeypatch, (2, 3))
    share(run_id="b")
    read_late(first, 1)
    assert rows(tables.rungs, "rung") == [("previous",)]
    assert told() == [("model_degraded", "previous", 1)]


def test_who_reads_what_was_never_named_and_is_gone_is_refused(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = share(0, 1, run_id="a")
    with monkeypatch.context() as patch:
        patch.setattr(groups, "whole_if_complete", lambda *_: None)  # killed before
        made += share(2, run_id="a")
    share(run_id="b", models={MODEL: 1})
    with pytest.raises(StaleAttempt, match="clear the stage, which then has the new ones"):
        read_late(made)


def test_a_version_that_a_group_refused_is_on_record_whatever_becomes_of_the_run(
    shelf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.wrong = {2: RegistryRefused("not those that were signed")}
    share(0)
    assert len(heard("version_refused")) == 1
    shelf.wrong = {}
    share()
    assert whole().facts["rung"] == "champion"
    assert len(heard("version_refused")) == 1


def test_another_batch_takes_no_groups_result(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, (2, 3))
    share()
    made = share(ids=[1, 2, 30, 4, 5, 6])
    assert [one.cached for one in made] == [True, False, True]
    assert read(whole().ref)["entity_key"].tolist() == ["1", "2", "30", "4", "5", "6"]
    assert whole().facts["rung"] == "champion"


def test_a_dry_run_puts_nothing_on_record(shelf: Any) -> None:
    shelf.wrong = {2: RegistryRefused("changed")}
    share(dry_run=True)
    dry = head(Slot(f"{FLOW}~dry", STAGE, HOURS[0]))
    assert dry is not None
    assert dry.facts["rung"] == "previous"
    assert (rows(tables.rungs), told(), heard("version_refused")) == ([], [], [])


def test_a_key_in_two_groups_is_the_batchs_fault(shelf: Any, home: Path) -> None:
    path = home / "site/shop_pack/contracts/scores.yaml"
    rule = "  - {type: expect_column_values_to_be_unique, kwargs: {column: entity_key}, severity: critical, meta: {rule: twice}}\n"
    path.write_text(path.read_text() + rule)
    share()
    before = len(history(WHOLE))
    with pytest.raises(
        ContractBroken, match=r"stage score__late_order breaks contract scores: .* twice: .* by 2 of 6 rows"
    ):
        share(ids=[1, 2, 3, 4, 5, 1])
    assert len(history(WHOLE)) == before
