"""The week's quality: what was delivered about the replies, and what people decided on cases, each message once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from baton.data.partitions import format_key, parse_key
from baton.feedback import cases
from baton.record import tables, warehouse
from baton.settings import settings
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import Slot, StageOutput, StageResult, run_stage
from baton_packs.customer_experience.service import quality

SUNDAY, MONDAY, NOON = "2026-11-15T23:00:00", "2026-11-16T00:00:00", "2026-11-16T12:00:00"
ANSWERS = {
    "accepted": {"intent": "x"}, "edited": {"intent": "x"}, "rejected": {}, "it is: y": {"intent": "y"},
    "none of them": {},
}  # fmt: skip


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def commit(flow: str, stage: str, partition: str, frame: pd.DataFrame) -> StageResult:
    return run_stage(
        Slot(flow, stage, partition), lambda _: StageOutput(frame), inputs={}, params={"frame": frame.to_json()}, models={},
        code="test", run_id="test",
    )  # fmt: skip


def hour(partition: str, **routes: str) -> None:
    """An hour's messages: key -> route; the intent x is what was said of each but `u`, of which nothing was."""
    received = pd.Timestamp(partition, tz="UTC")
    keys = list(routes)
    commit("customer_experience", "contract", partition, pd.DataFrame({"message_id": keys, "received_at": received}))
    said = pd.Series([None if key == "u" else "x" for key in keys], dtype=object)
    commit("customer_experience", "publish", partition,
           pd.DataFrame({"entity_key": keys, "route": list(routes.values()), "intent": said}))  # fmt: skip
    frame = pd.DataFrame({"entity_key": keys, "route": list(routes.values()), "risk": 0.5})
    with warehouse.write() as conn:
        cases.open_cases(conn, "customer_experience", partition, frame[frame["route"] != "send"], ANSWERS)


def delivered(partition: str, **outcomes: tuple[str, str | None]) -> None:
    """What came back about an hour: key -> (outcome, true intent), each reply ten minutes after its message."""
    commit("customer_outcomes", "contract", partition, pd.DataFrame({
        "message_id": list(outcomes), "outcome": [one for one, _ in outcomes.values()],
        "intent": pd.Series([intent for _, intent in outcomes.values()], dtype=object), "reply_seconds": 600.0,
    }))  # fmt: skip


def decided(key: str, answer: str, partition: str = MONDAY, minutes: int = 30) -> None:
    """A person's answer, so many minutes after the hour began."""
    cases.decide("customer_experience", key, answer, "ada")
    at = format_key(parse_key(partition) + timedelta(minutes=minutes)) + ".000000Z"
    with warehouse.write() as conn:
        conn.execute(tables.cases.update().where(tables.cases.c.entity_key == key).values(updated_at=at))


def summed_up(partition: str = NOON) -> StageResult:
    job = StageJob("customer_experience", "customer_outcomes", "quality", partition,
                   "baton_packs.customer_experience.service.quality:quality")  # fmt: skip
    return run(job)


def table(result: StageResult) -> pd.DataFrame:
    from baton.data.datasets import read

    return read(result.ref).set_index("route")


def test_delivered_outcomes_are_counted_by_route() -> None:
    hour(MONDAY, a="send", b="send", c="suggest", u="escalate")
    delivered(MONDAY, a=("accepted", "x"), b=("reopened", "y"), c=("edited", "x"), u=("rejected", None))
    result = summed_up()
    found = table(result)
    assert found.index.tolist() == ["send", "suggest", "escalate", "all"]
    assert found.loc["send", ["messages", "accepted", "reopened", "intent_right"]].tolist() == [2, 0.5, 0.5, 0.5]
    assert found.loc["escalate", ["rejected", "intent_right"]].tolist() == [1.0, 1.0], (
        "nothing was said, and nothing it was"
    )
    assert result.facts | {"report": ""} == {
        "messages": 4, "accepted": 0.25, "edited": 0.25, "rejected": 0.25, "reopened": 0.25, "intent_right": 0.75,
        "median_minutes": 10.0, "from_cases": 0, "report": "",
    }  # fmt: skip


def test_what_people_decide_on_cases_counts_with_their_answer() -> None:
    hour(MONDAY, a="send", b="suggest", c="suggest", d="suggest", e="suggest", f="suggest", g="escalate", u="escalate")
    delivered(MONDAY, a=("accepted", "x"))
    for key, answer in {"b": "accepted", "c": "edited", "d": "rejected", "e": "it is: y", "g": "it is: y",
                        "u": "none of them"}.items():  # fmt: skip
        decided(key, answer)
    result = summed_up()
    found = table(result)
    assert (result.facts["messages"], result.facts["from_cases"]) == (7, 6), "f is still open"
    suggest = found.loc["suggest"]
    assert suggest[["messages", "accepted", "edited", "rejected", "reopened"]].tolist() == [4, 0.25, 0.25, 0.5, 0.0]
    assert suggest["intent_right"] == pytest.approx(2 / 3), "a rejection alone does not say what it was about"
    assert suggest["median_minutes"] == 30.0, "what was rejected was no reply"
    escalate = found.loc["escalate"]
    assert escalate["messages"] == 2
    assert escalate[[*quality.OUTCOMES, "median_minutes"]].isna().all(), "a person's own answer is not judged"
    assert escalate["intent_right"] == 0.5
    assert found.loc["all", "accepted"] == pytest.approx(2 / 5)


def test_a_delivered_outcome_comes_before_the_case_and_the_message_counts_once() -> None:
    hour(MONDAY, b="suggest", c="suggest")
    decided("b", "accepted")
    decided("c", "accepted")
    assert table(summed_up()).loc["all", ["messages", "accepted"]].tolist() == [2, 1.0]
    delivered(MONDAY, b=("reopened", "y"))
    result = summed_up()
    assert table(result).loc["suggest", ["messages", "accepted", "reopened", "intent_right"]].tolist() == [
        2,
        0.5,
        0.5,
        0.5,
    ]
    assert result.facts["from_cases"] == 1


def test_a_week_begins_on_monday_at_midnight() -> None:
    for partition, key in ((SUNDAY, "s"), (MONDAY, "m"), (NOON, "n"), ("2026-11-16T13:00:00", "o")):
        hour(partition, **{key: "suggest", key + "2": "send"})
        decided(key, "accepted", partition)
        delivered(partition, **{key + "2": ("accepted", "x")})
    assert [summed_up(partition).facts["messages"] for partition in (SUNDAY, MONDAY, NOON)] == [2, 2, 4]
    assert summed_up("2026-11-22T23:00:00").facts["messages"] == 6, "the last hour of that week"
    assert summed_up("2026-11-23T00:00:00").facts == {"messages": 0}


def test_one_more_answer_or_outcome_changes_the_figures_and_nothing_else_does() -> None:
    hour(MONDAY, a="send", b="suggest", c="suggest")
    delivered(MONDAY, a=("accepted", "x"))
    assert summed_up().facts["messages"] == 1
    assert summed_up().cached
    decided("b", "accepted")
    assert summed_up().facts["messages"] == 2
    assert summed_up().cached
    hour("2026-11-17T00:00:00", z="suggest")  # Tuesday
    decided("z", "rejected", "2026-11-17T00:00:00")
    assert summed_up().cached, "a later hour is none of this one"
    delivered(MONDAY, a=("reopened", "x"))
    assert summed_up().facts["reopened"] == 0.5


def test_a_decided_case_whose_message_is_no_longer_published_is_left_out() -> None:
    hour(MONDAY, b="suggest", c="suggest")
    decided("b", "accepted")
    decided("c", "accepted")
    hour(MONDAY, c="suggest")
    assert summed_up().facts["messages"] == 1


def test_the_report_shows_figures_and_nothing_personal() -> None:
    hour(MONDAY, a="send", b="suggest", u="escalate")
    delivered(MONDAY, a=("accepted", "x"))
    decided("b", "edited", minutes=90)
    decided("u", "none of them")
    page = (settings().reports_dir / summed_up().facts["report"]).read_text(encoding="utf-8")
    assert "<h1>Quality of the week up to 2026-11-16 12:00 UTC</h1>" in page
    assert "<th>route</th><th>messages</th><th>accepted</th>" in page
    rows = {row.split("</td>")[0]: row.split("</td><td>")[1:] for row in page.split("<tr><td>")[1:]}
    assert rows["send"][:2] == ["1", "100.0%"]
    assert rows["suggest"][1:6] == ["0.0%", "100.0%", "0.0%", "0.0%", "100.0%"]
    assert rows["suggest"][6].startswith("90.0</td>")
    assert rows["escalate"][1:5] == ["–"] * 4
    assert rows["all"][:3] == ["3", "50.0%", "50.0%"]
    assert "nan" not in page
    assert "ada" not in page


def test_an_empty_week_is_a_row_of_nothing_without_a_report() -> None:
    result = summed_up()
    assert result.facts == {"messages": 0}
    assert table(result).loc["all"].tolist() == [0] * 7
    hour(MONDAY, a="send", b="suggest")  # messages alone: nobody has said anything about them
    assert summed_up().facts == {"messages": 0}
