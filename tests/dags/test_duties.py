"""Who starts a training or a promotion by hand needs the duty, once its model's owner gave it; what starts by itself needs nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from baton.airflow.operators.runs import OfPromotion, OfTraining
from baton.governance import duties
from baton.lifecycle import assemble, promote
from baton.record import ledger, warehouse
from baton.settings import settings

MODEL = "card_fraud"


@pytest.fixture(autouse=True)
def _made(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    warehouse.migrate()
    monkeypatch.setattr(assemble, "as_of", lambda model, until: "2026-11-20T09:00:00")  # nothing is published here
    monkeypatch.setattr(promote, "version_to_judge", lambda model, asked: 3)
    monkeypatch.setattr(promote, "is_champion", lambda model, version: False)
    yield
    warehouse.engine().dispose()


def started(of: Any, by: str | None, earlier: str | None = None) -> str:
    run = SimpleNamespace(run_id="r", triggering_user_name=by)
    return str(of(MODEL).asked({"dag_run": run, "params": {}}, earlier).partition)


@pytest.mark.parametrize(("of", "duty"), [(OfTraining, "modify"), (OfPromotion, "activate")])
def test_a_run_by_hand_is_for_who_has_the_duty(of: Any, duty: Any, home: Path) -> None:
    assert started(of, "bob"), "as Airflow lets them, while nobody was given it"
    with warehouse.write() as conn:
        made = duties.give(conn, f"model:{MODEL}", duty, "ann", duties.Who("op"), datetime.now(UTC).date(), "her model")
        duties.agree(conn, made.id, ["admin"], 1)
    before = len(ledger.entries(kind=assemble.TRAINING_STARTED))
    for nobody in ("bob", "", "anonymous"):
        with pytest.raises(AirflowFailException, match=f"may not {duty} model:{MODEL}: that is for op, admin"):
            started(of, nobody)
    assert len(ledger.entries(kind=assemble.TRAINING_STARTED)) == before
    for good in ("ann", "op", "Admin", None):  # None: the clock, an event, the monitor
        assert started(of, good)
    assert started(of, "bob", earlier="version-3"), "asked once a run, in its first stage"
    (home / "governance").write_text("single\n")
    settings.cache_clear()
    assert started(of, "bob")
