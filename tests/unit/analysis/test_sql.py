"""`baton sql`: answers over the views, as of now or of a moment; refuses all but one SELECT, and all that is outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from baton.analysis import views
from baton.analysis.sql import Allowance, Response, ask
from baton.analysis.views import Extent
from baton.cli.app import app
from baton.data import objects
from baton.errors import BatonError
from baton.record import ledger, tables, warehouse
from baton.stages.job import StageJob
from baton.stages.slots import Slot, StageOutput, StageResult, run_stage
from baton.steps.publish import publish

FLOW = "shop"
HOURS = [f"2026-11-20T{hour:02d}:00:00" for hour in range(3)]
KEYS = ["a", "b", "c"]


def stage(name: str, hour: int, frame: pd.DataFrame) -> StageResult:
    return run_stage(
        Slot(FLOW, name, HOURS[hour]), lambda _: StageOutput(frame), inputs={}, params={"rows": frame.to_json()}, models={},
        code="c", run_id="r",
    )  # fmt: skip


def published(hour: int, risk: float, version: int = 1) -> None:
    """Scores and decisions of an hour, published as a flow does it."""
    scores = pd.DataFrame({
        "entity_key": KEYS, "model": "late", "version": version, "score": [risk, 0.1, 0.2], "reasons": ['["x1"]', None, None],
        "accepted": [1.0, None, 0.0], "q0.1": [0.5, 0.5, 0.5],
    })  # fmt: skip
    decided = pd.DataFrame({
        "entity_key": KEYS, "risk": [risk, 0.1, 0.2], "route": ["review", "clear", "clear"], "money": [1.0, 2.0, 3.0],
        "title": ["Ann Example", None, None], "reasons": ['["because of Ann"]', None, None],
    })  # fmt: skip
    inputs = {"decisions": stage("decide", hour, decided).ref, "score__late": stage("score__late", hour, scores).ref}
    job = StageJob(
        "shop", FLOW, "publish", HOURS[hour], "baton.steps.publish:publish", inputs=inputs, models={"late": version},
        options=publish.options(case_routes=["review"], resolutions={"late": {"late": 1}}),
    )  # fmt: skip
    run_stage(
        job.slot, lambda _: publish(job), inputs=inputs, params={}, models=job.models, code="c", run_id="r"
    )  # fmt: skip


@pytest.fixture
def filled(home: Path) -> Path:
    warehouse.migrate()
    published(0, 0.9), published(1, 0.8)
    with warehouse.write() as conn:
        conn.execute(tables.labels.insert(), [
            {"flow": FLOW, "entity_key": key, "origin": "o", "target": "late", "partition": HOURS[0], "label": float(key == "a"),
             "known_at": warehouse.now(), "rank": 0}
            for key in KEYS
        ])  # fmt: skip
    return home


def rows(question: str, **bounds: Any) -> list[tuple[Any, ...]]:
    return ask(question, Extent(**bounds)).rows


# --- answers ---


def test_views_are_joined_and_read_as_often_as_a_question_names_them(filled: Path) -> None:
    assert rows("select count(*), sum(score) from predictions") == [(6, pytest.approx(2.3))]
    joined = """
        select p.entity_key, d.route, l.label, c.status, p.version
        from predictions p join decisions d using (flow, partition, entity_key) join labels l using (flow, partition, entity_key)
        left join cases c using (flow, entity_key) order by 1"""
    assert rows(joined) == [("a", "review", 1.0, "open", 1), ("b", "clear", 0.0, None, 1), ("c", "clear", 0.0, None, 1)]
    assert rows("select count(*) from predictions x join predictions y using (entity_key)") == [(12,)]
    assert rows(
        "select reasons, quantiles, models from predictions join decisions using (partition, entity_key) limit 1"
    ) == [('["x1"]', '{"0.1": 0.5}', '{"late": 1}')]
    assert rows("with one as (from decisions) select max(risk) from one;") == [(0.9,)]


def test_bounds_are_what_is_read(filled: Path) -> None:
    published(2, 0.7)
    assert rows("select distinct partition from decisions order by 1", first=HOURS[1]) == [(HOURS[1],), (HOURS[2],)]
    assert rows("select count(*) from predictions", first=HOURS[1], last=HOURS[1]) == [(3,)]
    assert rows("select count(*) from labels", flow="other") == [(0,)]


def test_a_moment_shows_what_was_published_then(filled: Path) -> None:
    then = warehouse.now()
    question = (
        "select partition, entity_key, score, version, accepted, reasons, quantiles from predictions order by 1, 2"
    )
    decided = "select partition, entity_key, risk, route, money, models from decisions order by 1, 2"
    before = rows(question), rows(decided)
    published(1, 0.3, version=2), published(2, 0.4, version=2)
    assert rows("select distinct version from predictions order by 1") == [(1,), (2,)]
    assert (rows(question, at=then), rows(decided, at=then)) == before
    assert rows("select count(*) from predictions", at="2020-01-01T00:00:00.000000Z") == [(0,)]
    late = ask("select count(*) from labels", Extent(at=then))
    assert (late.rows, "corrected after" in late.notes[0]) == ([(3,)], True)
    with pytest.raises(BatonError, match="cases are kept as they are now"):
        rows("select * from cases", at=then)


def test_an_earlier_object_that_is_gone_is_said(filled: Path) -> None:
    then = warehouse.now()
    published(1, 0.3)
    for item in list(objects.listed(lambda name: f"score__late/{HOURS[1]}" in name)):
        objects.delete(item.uri)
    with pytest.raises(BatonError, match=rf"shop, partition {HOURS[1]} as of .*missing.*begin later, with --from"):
        rows("select * from predictions", at=then)
    assert rows("select count(*) from predictions", at=then, last=HOURS[0]) == [(3,)]


def test_what_may_name_people_is_hidden_unless_asked_for_on_record(filled: Path) -> None:
    hidden = ask("select title, reasons, text from cases", Extent())
    assert hidden.rows == [(None, None, None)]
    assert "cases: title, reasons, text are hidden" in hidden.notes[0]
    assert [entry.kind for entry in ledger.entries(kind="personal_data_read")] == []
    question = "select title, reasons from cases where title like 'Ann%'"
    shown = ask(question, Extent(personal=True))
    assert (shown.rows, shown.notes) == ([("Ann Example", '["because of Ann"]')], [])
    (entry,) = ledger.entries(kind="personal_data_read")
    assert "Ann" not in str(entry.payload)


# --- bounds ---


def test_an_answer_has_so_many_rows_at_most(filled: Path) -> None:
    found = ask("select * from predictions order by score desc", Extent(), Allowance(rows=2))
    assert ([row[5] for row in found.rows], found.more) == ([0.9, 0.8], True)
    assert not ask("select 1", Extent(), Allowance(rows=1)).more


def test_time_and_memory_end_a_question(filled: Path) -> None:
    with pytest.raises(BatonError, match=r"no answer within 0\.1 s: name a flow"):
        ask("select sum(a.range * b.range) from range(10000000) a, range(10000000) b", Extent(), Allowance(seconds=0.1))
    with pytest.raises(BatonError, match="more than 5 MB"):
        ask("select list(range) from range(100000000)", Extent(), Allowance(memory=5_000_000))


def test_a_view_is_read_batch_by_batch(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "AT_ONCE", 2)
    seen: list[int] = []
    assert sum(batch.num_rows for batch in _reader(seen)) == 6
    assert seen == [2, 1, 2, 1]  # of each partition
    with pytest.raises(BatonError, match="no answer within 0 s"):
        ask("select count(*) from predictions", Extent(), Allowance(seconds=0))


def _reader(seen: list[int]) -> Any:
    import pyarrow as pa

    return pa.RecordBatchReader.from_stream(views.View("predictions", Extent(), lambda _, rows: seen.append(rows)))


# --- refusals ---


@pytest.mark.parametrize(
    "question",
    [
        "", "delete from predictions", "drop view labels", "create table t as select 1", "select 1; select 2", "attach 'x.db'",
        "set enable_external_access = true", "copy (select 1) to 'x.csv'", "install sqlite", "pragma version", "insert into labels values (1)",
        "select 1; attach 'x.db'", "explain select 1", "call pragma_version()", "export database 'x'", "use memory", "checkpoint",
    ],
)  # fmt: skip
def test_all_but_one_select_is_refused(question: str) -> None:
    with pytest.raises(BatonError, match="one SELECT is answered, this is"):
        rows(question)


@pytest.mark.parametrize(
    "question",
    [
        "select * from read_csv('{home}/secret.csv')", "select * from '{home}/secret.csv'", "select * from read_text('{home}/*')",
        "select * from glob('{home}/*')", "select * from read_blob('/etc/hostname')", "select * from read_parquet('https://example.com/x')",
        "select * from sqlite_scan('{home}/warehouse.db', 'ledger')", "select getenv('HOME')", "select * from views",
        "select * from query('copy (select 1) to ''{home}/x.csv''')", "select * from duckdb_secrets(); attach '{home}/x'",
    ],
)  # fmt: skip
def test_nothing_outside_is_reached(home: Path, question: str) -> None:
    warehouse.migrate()
    (home / "secret.csv").write_text("secret\n1\n")
    before = sorted(home.rglob("*"))
    with pytest.raises(BatonError) as refused:
        rows(question.format(home=home))
    assert "views: predictions" in str(refused.value) or "one SELECT" in str(refused.value)
    assert sorted(home.rglob("*")) == before


def test_a_mistake_names_the_views(filled: Path) -> None:
    with pytest.raises(BatonError, match=r"scor.*views: predictions \(flow, partition, entity_key"):
        rows("select scor from predictions")
    with pytest.raises(BatonError, match="not SQL"):
        rows("selec 1")


# --- the command ---


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["sql", *words], env={"COLUMNS": "500"})


def test_the_command_prints_tables_and_json(filled: Path) -> None:
    said = run(
        "select entity_key, score from predictions order by score desc", "--rows", "1", "--from", "2026-11-20T00"
    )
    assert (said.exit_code, "0.9" in said.stdout, "only the first 1 rows" in said.stderr) == (0, True, True)
    said = run("select entity_key, reasons from predictions where score > 0.85", "--json")
    assert json.loads(said.stdout) == {"entity_key": "a", "reasons": '["x1"]'}
    assert run("select count(*) from predictions", "--as-of", "2026-11-20").exit_code == 0
    assert run("select 1", "--as-of", "yesterday").exit_code == 2
    assert run("delete from labels").exit_code == 1
    assert isinstance(ask("select 1", Extent()), Response)
