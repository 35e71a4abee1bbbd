"""The stage that looks up, against real servers: down, slow, lying, redirecting, endless; and what it costs then."""

from __future__ import annotations

import json
import runpy
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.airflow.connections.lookup import AirflowConnections
from baton.data.datasets import read
from baton.errors import BatonError, SpecError
from baton.record import ledger, tables, warehouse
from baton.stages.run import run
from baton.stages.slots import StageResult

HERE = Path(__file__).parent
SERVER: dict[str, Any] = runpy.run_path(str(HERE / "tool_server.py"))
STAGE: dict[str, Any] = runpy.run_path(str(HERE.parent / "unit" / "step_stage.py"))
commit, job, rows = (STAGE[name] for name in ("commit", "job", "rows"))
ANSWER = {"score": 7, "label": "scanner", "share": 0.5, "bad": True, "tags": ["ssh", "web"]}
TOOL = """\
reputation:
  description: how bad an address is
  conn_id: threat_intelligence
  path: reputation/{value}
  answer: {score: integer, label: "text?", share: number, bad: flag, tags: list}
  per_second: 5000
  timeout_seconds: 0.5
"""


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        (folder / "tools.yaml").write_text(TOOL)
        yield folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with SERVER["running"](ANSWER) as made:
        connect(monkeypatch, made.server_port)
        yield made


def connect(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    given = {"conn_type": "http", "host": "127.0.0.1", "port": port, "password": SERVER["TOKEN"]}
    monkeypatch.setenv("AIRFLOW_CONN_THREAT_INTELLIGENCE", json.dumps(given))


def declare(pack: Path, **fields: Any) -> None:
    (pack / "tools.yaml").write_text(
        TOOL + "".join(f"  {name}: {json.dumps(value)}\n" for name, value in fields.items())
    )


def look(values: list[Any], hour: int = 0, tool: str = "reputation", **options: Any) -> StageResult:
    data = commit("contract", hour, pd.DataFrame({"address": pd.array(values, dtype="string")}))
    given = {"tool": tool, "column": "address", **options}
    return run(job("reputation", "baton.steps.look_up:look_up", hour, inputs={"data": data}, options=given,
                   connections=AirflowConnections()))  # fmt: skip


def sources(result: StageResult) -> dict[str, str]:
    frame = read(result.ref)
    return dict(zip(frame["value"], frame["source"], strict=True))


def let_probe() -> None:
    with warehouse.write() as conn:
        conn.execute(tables.breakers.update().values(retry_at="2026-01-01T00:00:00.000000Z"))


def numbered(count: int) -> list[str]:
    return [f"10.{n // 65536}.{n // 256 % 256}.{n % 256}" for n in range(count)]


# --- well ---


def test_each_distinct_value_is_asked_once_and_its_answer_is_typed(server: Any) -> None:
    result = look(["10.0.0.1", "10.0.0.2", "10.0.0.1", None, "", "10.9.9.unknown"])
    frame = read(result.ref).set_index("value")
    assert dict(server.asked) == {"10.0.0.1": 1, "10.0.0.2": 1, "10.9.9.unknown": 1}
    assert frame.loc["10.0.0.1"].drop("age_seconds").to_dict() == {
        **ANSWER, "tags": '["ssh", "web"]', "known": True, "source": "live",
    }  # fmt: skip
    assert frame["known"].tolist() == [True, True, False]
    assert frame.loc["10.9.9.unknown", ["score", "label", "tags"]].isna().all()
    assert result.facts == {
        "tool": "reputation", "values": 3, "asked": 3, "live": 3, "cached": 0, "stale": 0, "missing": 0, "unknown": 1,
    }  # fmt: skip


def test_a_fresh_answer_comes_from_the_cache_for_other_partitions_too(server: Any) -> None:
    look(["10.0.0.1", "10.0.0.unknown"])
    again = look(["10.0.0.unknown", "10.0.0.1", "10.0.0.2"], hour=1)
    assert sources(again) == {"10.0.0.1": "cached", "10.0.0.unknown": "cached", "10.0.0.2": "live"}
    assert "degraded" not in again.facts
    assert set(server.asked.values()) == {1}
    assert look(["10.0.0.unknown", "10.0.0.1", "10.0.0.2"], hour=1).cached


def test_a_value_stands_in_the_address_as_one_segment(server: Any) -> None:
    odd = ["a/../b", "x?y=1#z", "fe80::1%eth0", "ü b"]
    assert set(sources(look([*odd, "..", "nul\x00"])).values()) == {"live", "missing"}
    assert set(server.asked) == set(odd)


def test_cells_may_be_lists_of_values(server: Any) -> None:
    result = look(['["10.0.0.1", "10.0.0.2"]', None, "[]", '["10.0.0.2", null]'], lists=True)
    assert set(sources(result)) == {"10.0.0.1", "10.0.0.2"}
    with pytest.raises(BatonError, match="row 2, column address: is no JSON list"):
        look(["[]", "10.0.0.1"], hour=1, lists=True)


def test_no_rows_ask_nobody_and_keep_the_columns(server: Any) -> None:
    result = look([])
    assert list(read(result.ref)) == ["value", *ANSWER, "known", "source", "age_seconds"]
    assert (result.facts["values"], dict(server.asked)) == (0, {})


def test_questions_are_bounded_in_number_and_rate(server: Any, pack: Path) -> None:
    declare(pack, at_once=3)
    (pack / "tools.yaml").write_text((pack / "tools.yaml").read_text().replace("per_second: 5000", "per_second: 40"))
    start = time.monotonic()
    result = look(numbered(80))
    assert result.facts["live"] == 80
    assert time.monotonic() - start >= 0.9  # a second's tokens at once, the other 40 in a second
    assert server.most_at_once <= 3


def test_a_tool_that_the_pack_does_not_have_is_named(server: Any) -> None:
    with pytest.raises(SpecError, match="no tool `reputaton`, did you mean `reputation`"):
        look(["10.0.0.1"], tool="reputaton")
    with pytest.raises(BatonError, match="there is no column adress to look up; there are address"):
        look(["10.0.0.1"], column="adress")


# --- unwell ---

WORDS = {
    "down": "no answer (RemoteProtocolError)", "slow": "no answer within 0.5 s", "drip": "no whole answer within 0.5 s",
    "wrong": "field `score` of the answer should be integer, it is an object", "redirect": "it redirects (302)",
    "huge": "longer than 64 kB", "page": "the answer is no JSON", "half": "no answer (RemoteProtocolError)",
    "packed": "the answer is packed", "500": "it answers 500 Internal Server Error", "429": "it answers 429",
    "refuse": "it answers 403 Forbidden",
}  # fmt: skip


@pytest.mark.parametrize("mood", WORDS)
def test_whatever_a_tool_does_the_stage_is_green_and_says_it(server: Any, pack: Path, mood: str) -> None:
    declare(pack, ttl_seconds=0)
    look(["10.0.0.1"])
    server.mood = mood
    start = time.monotonic()
    result = look(["10.0.0.1", "10.0.0.2"], hour=1)
    assert time.monotonic() - start < 5
    assert sources(result) == {"10.0.0.1": "stale", "10.0.0.2": "missing"}
    (sentence,) = result.facts["degraded"]
    assert WORDS[mood] in sentence
    assert "1 are from the cache" in sentence
    assert "1 have no answer" in sentence
    assert "10.0.0" not in sentence
    assert server.asked["secret"] == 0, "no redirect is followed"
    frame = read(result.ref).set_index("value")
    assert frame.loc["10.0.0.1", "score"] == 7
    assert 0 <= frame.loc["10.0.0.1", "age_seconds"] < 60
    assert "previous instructions" not in frame.to_json()


def test_a_degraded_result_is_asked_for_again_when_the_run_is_repeated(server: Any) -> None:
    server.mood = "500"
    assert look(["10.0.0.1"]).facts["missing"] == 1
    assert not look(["10.0.0.1"]).cached
    server.mood = "ok"
    healed = look(["10.0.0.1"])
    assert (sources(healed), healed.cached) == ({"10.0.0.1": "live"}, False)
    assert look(["10.0.0.1"]).cached


def test_a_required_tool_stops_the_flow_and_a_retry_asks_for_the_rest_only(server: Any, pack: Path) -> None:
    declare(pack, required=True, at_once=1)
    server.moods = ["ok", "500", "500"]
    with pytest.raises(BatonError, match=r"of 3 values 2 have no answer: it answers 500.*required"):
        look(["a", "b", "c"])
    assert set(sources(look(["a", "b", "c"])).values()) == {"cached", "live"}
    assert dict(server.asked) == {"a": 1, "b": 2, "c": 2}


def test_a_value_that_the_tool_refuses_is_no_failure_of_the_tool(server: Any) -> None:
    result = look([f"{n}.bad" for n in range(30)] + ["10.0.0.1"])
    assert (result.facts["missing"], result.facts["live"]) == (30, 1)
    assert "it answers 400 Bad Request (30)" in result.facts["degraded"][0]
    assert rows(tables.breakers) == []


def test_a_connection_that_cannot_be_used_tells_nothing_about_the_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    result = look(["10.0.0.1"])
    assert "connection threat_intelligence cannot be used: AirflowNotFoundException" in result.facts["degraded"][0]
    assert rows(tables.breakers) == []


def test_personal_values_are_nowhere_but_in_the_result(server: Any, pack: Path) -> None:
    server.moods = ["ok", "500"]
    declare(pack, pii=True, at_once=1)
    result = look(["ada.lovelace", "grace.hopper"])
    assert set(read(result.ref)["value"]) == {"ada.lovelace", "grace.hopper"}
    with warehouse.read() as conn:
        mine = tables.commits.select().where(tables.commits.c.stage == "reputation")
        all_of = (*(table.select() for table in (tables.lookups, tables.breakers, tables.ledger)), mine)
        held = str([tuple(row) for query in all_of for row in conn.execute(query)])
    assert "lovelace" not in held
    assert "hopper" not in held


# --- what a dead one costs ---


@pytest.mark.parametrize("mood", ["nobody", "slow", "drip", "wrong"])
def test_a_dead_dependency_costs_bounded_time_for_ten_thousand_values(
    server: Any, monkeypatch: pytest.MonkeyPatch, mood: str
) -> None:
    server.mood = mood
    if mood == "nobody":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            connect(monkeypatch, free.getsockname()[1])
    start = time.monotonic()
    result = look(numbered(10_000))
    first = time.monotonic() - start
    assert result.facts["missing"] == 10_000
    assert result.facts["asked"] <= 5 + 8  # failures that open it, and those under way meanwhile
    assert first < 10
    start = time.monotonic()
    again = look(numbered(10_000), hour=1)
    assert again.facts["asked"] == 0
    assert time.monotonic() - start < 5
    let_probe()
    assert look(numbered(10_000), hour=2).facts["asked"] == 1, "one probe, whatever waits"
    assert [one.kind for one in ledger.entries() if one.kind.startswith("breaker")] == ["breaker_opened"]


def test_a_tool_that_is_well_again_is_found_out_by_one_question_and_the_rest_follow(server: Any) -> None:
    server.mood = "500"
    look(numbered(100))
    server.mood = "ok"
    assert look(numbered(100), hour=1).facts["asked"] == 0
    let_probe()
    result = look(numbered(100), hour=2)
    assert (result.facts["live"], "degraded" in result.facts) == (100, False)
    (closed,) = [one for one in ledger.entries() if one.kind == "breaker_closed"]
    assert (closed.subject, closed.payload["probes"]) == ("tool:shop/reputation", 1)
    assert closed.payload["seconds"] > 0


def test_the_budget_of_a_stage_ends_its_questions(server: Any, pack: Path) -> None:
    declare(pack, budget_seconds=1.0, at_once=2, breaker={"failures": 100, "share": 1.0, "of": 1000})
    server.mood, server.pause = "slow", 0.3
    start = time.monotonic()
    result = look(numbered(1000))
    assert time.monotonic() - start < 4
    assert 2 <= result.facts["live"] <= 10
    assert "not asked: the 1 s for all questions were over" in result.facts["degraded"][0]


def test_two_processes_ask_a_tool_no_more_often_than_one_may(tmp_path: Path) -> None:
    """Each would have a full bucket of its own: twice the questions in a second."""
    code = f"""
import time
from pathlib import Path
from baton.lookups.bucket import Bucket
bucket, until = Bucket(Path({str(tmp_path / "rate")!r}), 40.0), time.monotonic() + 60
times = []
for _ in range(60):
    assert bucket.take(until)
    times.append(time.monotonic())
print(times)
"""
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=60)[0] for process in started]
    times = sorted(at for one in told for at in json.loads(one))
    assert len(times) == 120
    assert times[-1] - times[0] >= (120 - 40 - 1) / 40, "120 questions at 40 a second, the first 40 at once"
