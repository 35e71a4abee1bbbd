"""Two hours answer the same person at the same moment, on a real Postgres server: one mail.

SQLite cannot show it: its writers take turns.
"""

from __future__ import annotations

import threading

import pandas as pd
import pytest

from baton.effects import outbox
from baton.stages import slots
from baton.stages.job import StageJob
from baton.stages.run import run

FLOW, HOURS = "document_intake", ("2026-11-20T09:00:00", "2026-11-20T10:00:00")


pytestmark = pytest.mark.usefixtures("postgres_home")


def job(hour: str) -> StageJob:
    frame = pd.DataFrame([{"entity_key": "same", "route": "reply", "sender": "ann@example.org", "reply": f"Answer of {hour}",
                           "sender_name": "Ann", "risk": 0.1}])  # fmt: skip
    published = slots.run_stage(
        slots.Slot(FLOW, "publish", hour), lambda inputs: slots.StageOutput(frame), inputs={}, params={}, models={},
        code="test", run_id="test",
    )  # fmt: skip
    return StageJob("customer_experience", FLOW, "answer", hour, "baton_packs.customer_experience.letters.replies:place",
                    inputs={"decisions": published.ref})  # fmt: skip


def test_two_hours_at_the_same_moment_answer_a_person_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (threading.Thread(target=run, args=[job(hour)], name=hour) for hour in HOURS)
    enqueued, at_it = threading.Event(), threading.Event()

    def pause(point: str) -> None:
        """The first one stays before its commit until the second one had the time to look."""
        if threading.current_thread() is first and point == "before_commit":
            enqueued.set()
            assert at_it.wait(30)
            second.join(2)
        if threading.current_thread() is second and point == "named":
            at_it.set()

    monkeypatch.setattr(slots, "FAULT", pause)
    first.start()
    assert enqueued.wait(30)
    second.start()
    for thread in (first, second):
        thread.join(60)
    assert [(one.partition, one.entity_key) for one in outbox.effects(FLOW)] == [(HOURS[0], "same")]
    assert all(slots.head(slots.Slot(FLOW, "answer", hour)) is not None for hour in HOURS)
