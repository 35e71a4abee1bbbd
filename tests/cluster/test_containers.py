"""docker-compose.yml in real containers: two systems work, and what is killed comes back without a row lost or doubled.

`make test-compose`; not part of `make test`. Tests build on each other, in the order of this file.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from engine import Engine, leftovers, say
from installation import Installation

from baton.errors import ServiceError

pytestmark = pytest.mark.timeout(1800)
LARGEST = 1_600_000_000  # bytes of the image that all parts but those of the profiles share
HOURLY, WEEKLY, FIRST_WEEK = "transaction_monitoring", "replenishment", 114
MODELS = ("card_fraud", "transaction_anomaly", "demand")
VICTIMS = ("worker", "scheduler", "redis", "postgres", "api-server")
KILLS, FIRST_KILL = 5, 36  # of each; the hour of the first
STORE = {"BATON_STORE_URL": "s3://baton/store"}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The engine; when it has ended, the machine's network is as it was."""
    with Engine() as started:
        yield started
    assert leftovers() == []


@pytest.fixture(scope="module")
def sizes() -> dict[str, int]:
    """Bytes of the images, filled when they are built."""
    return {}


@pytest.fixture(scope="module")
def here(engine: Engine, sizes: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The installation with the demo's world, all of it well."""
    say(f"bases: {engine.prepare_bases()}")
    one = Installation(engine, tmp_path_factory.mktemp("installation"))
    sizes |= one.build()
    say(f"images: {sizes}")
    try:
        began = time.monotonic()
        one.compose("up", "--detach", "--wait", "--no-build", profiles="demo")
        say(f"up in {time.monotonic() - began:.0f} s")
        yield one
    except BaseException:
        say(one.compose("ps", "--all") + one.compose("logs", "--no-color", "--tail", "30"))
        raise
    finally:
        one.down()
    assert engine.docker("ps", "--all", "--quiet") + engine.docker("volume", "ls", "--quiet") == ""
    assert engine.docker("network", "ls", "--quiet", "--filter", "type=custom") == ""


def test_images_are_small(here: Installation, sizes: dict[str, int]) -> None:
    assert sizes["baton:local"] < LARGEST


def test_containers_are_bound_as_the_file_says(here: Installation) -> None:
    for name in here.services():
        container = here.container(name)
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{container['State']['Pid']}/status").read_text().splitlines()
        )
        assert "0" not in status["Uid"].split(), f"{name} runs as root"
        assert int(status["CapEff"], 16) == 0, name
        assert status["NoNewPrivs"] == "1", name
        assert container["HostConfig"]["ReadonlyRootfs"], name
        assert container["HostConfig"]["Memory"] > 0, name
        assert {each["HostIp"] for port in container["NetworkSettings"]["Ports"].values() for each in port or ()} <= {
            "127.0.0.1"
        }
        told = json.dumps(container)
        assert [secret for secret in here.secrets.iterdir() if secret.read_text() in told] == [], name


def test_nobody_reaches_out_who_need_not(here: Installation) -> None:
    code = "import socket; socket.create_connection(('198.51.100.1', 80), 3)"
    with pytest.raises(RuntimeError, match=r"unreachable|timed out"):
        here.run_in("worker", "python", "-c", code)


def test_databases_take_every_character(here: Installation) -> None:
    query = "select string_agg(distinct pg_encoding_to_char(encoding), ' ') from pg_database where not datistemplate"
    asked = here.compose("exec", "-T", "postgres", "psql", "--username", "postgres", "-Atc", query)
    assert asked.strip() == "UTF8"


def test_all_are_well_after_a_minute_and_none_was_started_again(here: Installation) -> None:
    time.sleep(60)
    assert set(here.restarts().values()) == {0}
    states = {name: here.container(name)["State"]["Health"]["Status"] for name in here.services()}
    assert set(states.values()) == {"healthy"}, states


def test_card_fraud_is_trained_approved_and_scores(here: Installation) -> None:
    for name in (HOURLY, WEEKLY, *(f"{model}_{verb}" for model in MODELS for verb in ("train", "promote"))):
        here.airflow.request("PATCH", f"/dags/{name}", json={"is_paused": False})
    runs = {model: train(here, model) for model in MODELS[:2]}
    for model, run in runs.items():
        assert here.airflow.wait(f"{model}_train", [run], timeout=600) == {run: "success"}
        tasks = here.airflow.tasks(f"{model}_train", run)
        assert {task["queue"] for task in tasks} == {"training"}
        assert {task["hostname"] for task in tasks} == {here.container("worker-training")["Config"]["Hostname"]}
    run = promotion(here, "card_fraud")
    here.airflow.answer("card_fraud_promote", run, "approve", approve=True, timeout=180)
    assert here.airflow.wait("card_fraud_promote", [run], timeout=180) == {run: "success"}
    approve_in_registry(here, "transaction_anomaly")
    partitions = here.moves("hours", "33", "36")
    started = {here.airflow.trigger(HOURLY, partition): partition for partition in partitions}
    states = here.airflow.wait(HOURLY, list(started), timeout=400)
    assert set(states.values()) == {"success"}, states
    for partition in partitions:
        every_row_once(here, HOURLY, partition)
    rows = [here.airflow.run(HOURLY, run) for run in started]
    took = [at(row["end_date"]) - at(row["start_date"]) for row in rows]
    say(f"{len(took)} runs at once that nothing hits: {max(took):.0f} s at most")


def test_replenishment_is_trained_approved_and_orders_once(here: Installation) -> None:
    run = train(here, "demand", until=here.moves("week", str(FIRST_WEEK - 1)))
    assert here.airflow.wait("demand_train", [run], timeout=600) == {run: "success"}
    approve_in_registry(here, "demand")
    partition = here.moves("deliver", str(FIRST_WEEK))
    run = here.airflow.trigger(WEEKLY, partition)
    review = until(
        lambda: next(
            (t for t in here.airflow.tasks(WEEKLY, run) if t["task_id"] == "review" and t["state"] not in (None, "scheduled", "queued", "running")), None,
        ),
        "the review is reached", 300,
    )  # fmt: skip
    if review["state"] in ("awaiting_input", "deferred"):
        here.airflow.answer(WEEKLY, run, "review", approve=True, params=here.moves("answers", str(FIRST_WEEK)))
    assert here.airflow.wait(WEEKLY, [run], timeout=300) == {run: "success"}
    every_row_once(here, WEEKLY, partition)
    orders = here.moves("orders", partition)
    assert orders["sent"]
    assert orders["sent"] == orders["there"]
    assert orders["others"] == []


def test_what_is_killed_comes_back_and_loses_nothing(here: Installation) -> None:
    """Each part five times, in turns, each time in the middle of a run that has just begun; earlier ones go on beside it."""
    partitions = here.moves("hours", str(FIRST_KILL), str(FIRST_KILL + KILLS * len(VICTIMS)))
    killed, started = [], {}
    for number, partition in enumerate(partitions):
        victim = VICTIMS[(number + number // len(VICTIMS)) % len(VICTIMS)]
        run = until(partial(here.airflow.trigger, HOURLY, partition), "a run is triggered", 120)
        started[run] = partition
        until(partial(running, here, run), f"a task runs before {victim} goes", 240)
        moment = time.time()
        killed.append((victim, moment, here.kill(victim)))
        say(f"{number + 1}. {victim}: well again after {killed[-1][2]} s")
    states = here.airflow.wait(HOURLY, list(started), timeout=600)
    began_ended = sorted(
        (at(task["start_date"]), at(task["end_date"]))
        for run in started for task in here.airflow.tasks(HOURLY, run) if task["state"] == "success"
    )  # fmt: skip
    ended = [at(here.airflow.run(HOURLY, run)["end_date"]) for run in started]
    found = [
        (victim, {
            "well by its own check": well,
            "a task that began later done": min(end for start, end in began_ended if start > moment) - moment,
            "the run that was hit green": end - moment,  # what is killed meanwhile hits it as well
        })
        for (victim, moment, well), end in zip(killed, ended, strict=True)
    ]  # fmt: skip
    for victim in VICTIMS:
        say(f"{victim}, at most: {told(max, (times for name, times in found if name == victim))}")
    say(f"{len(found)} kills, p95: {told(p95, (times for _, times in found))}")
    assert set(states.values()) == {"success"}, states
    for partition in partitions:
        every_row_once(here, HOURLY, partition)
    assert p95(times["well by its own check"] for _, times in found) <= 60
    # nothing waits until Airflow takes a task for stuck that a killed worker had taken and not begun
    assert max(times["the run that was hit green"] for _, times in found) < 300


def test_an_object_store_holds_datasets(here: Installation) -> None:
    here.compose("up", "--detach", "--wait", "--no-build", "s3", profiles="s3")
    write = "from baton.data.datasets import write; import pandas as pd; print(write(pd.DataFrame({'n': [1, 2]}), 'a.parquet').to_dict())"
    ref = here.run_in("worker", "python", "-c", write, variables=STORE).splitlines()[-1]
    look = f"from baton.data.datasets import DatasetRef, read; print(list(read(DatasetRef.from_dict({ref})).n))"
    assert here.run_in("api-server", "python", "-c", look, variables=STORE).splitlines()[-1] == "[1, 2]"
    with pytest.raises(RuntimeError, match=r"(?i)access.?denied|forbidden|permission"):  # it only reads
        here.run_in("api-server", "python", "-c", write.replace("a.parquet", "b.parquet"), variables=STORE)
    for port in (8888, 9333, 8080, 8334, 18334):  # its inner doors ask for no key
        with pytest.raises(RuntimeError, match="Connection refused"):
            here.run_in("worker", "python", "-c", f"import socket; socket.create_connection(('s3', {port}), 5)")


def test_the_ledger_is_whole(here: Installation) -> None:
    assert "all as written" in here.run_in("worker", "baton", "ledger", "verify")


def test_a_backup_brings_back_what_is_lost(here: Installation) -> None:
    partitions = here.moves("hours", "33", "36")
    before = [here.moves("account", HOURLY, partition) for partition in partitions]
    began = time.monotonic()
    here.compose("run", "--rm", "-T", "backup", profiles="backup")
    say(f"backup written in {time.monotonic() - began:.0f} s")
    signed = here.run_in("worker", "cat", "/var/lib/baton/keys/signing.pub")
    (here.secrets / "BACKUP_SIGNED_BY").write_text(signed)
    here.lose(kept="backups")
    began = time.monotonic()
    here.compose("run", "--rm", "-T", "restore", profiles="backup")
    restored = time.monotonic()
    here.compose("up", "--detach", "--wait", "--no-build", profiles="demo")
    assert "all as written" in here.run_in("worker", "baton", "verify")
    say(f"all lost: restored in {restored - began:.0f} s, up and verified after {time.monotonic() - began:.0f} s")
    del here.airflow  # another server, another token
    assert [here.moves("account", HOURLY, partition) for partition in partitions] == before
    here.run_in("worker", "baton", "actions", "start")
    here.airflow.request("PATCH", f"/dags/{HOURLY}", json={"is_paused": False})
    (partition,) = here.moves("hours", "32", "33")
    run = here.airflow.trigger(HOURLY, partition)
    assert here.airflow.wait(HOURLY, [run], timeout=240) == {run: "success"}
    every_row_once(here, HOURLY, partition)


def train(here: Installation, model: str, **conf: Any) -> str:
    """Trigger a training; returns the run's id."""
    return here.airflow.trigger(f"{model}_train", conf=conf)


def promotion(here: Installation, model: str) -> str:
    """The promotion that a training has started."""
    return here.airflow.wait_for_run(f"{model}_promote", set(), timeout=120)


def approve_in_registry(here: Installation, model: str) -> None:
    """Approve as the reviewer does in MLflow, behind its published port."""
    run = promotion(here, model)
    asks = ("awaiting_input", "deferred")
    until(lambda: [t for t in here.airflow.tasks(f"{model}_promote", run) if t["task_id"] == "approve" and t["state"] in asks],
          f"{model} asks", 180)  # fmt: skip
    mlflow = here.registry("reviewer", "MLFLOW_REVIEWER_PASSWORD")
    version = mlflow.get("/registered-models/alias", name=model, alias="challenger")["model_version"]["version"]
    mlflow.post("/model-versions/set-tag", name=model, version=version, key="baton.review", value="approved")
    assert here.airflow.wait(f"{model}_promote", [run], timeout=180) == {run: "success"}


def every_row_once(here: Installation, flow: str, partition: str) -> None:
    """Each row that was read is published, open or discarded, and none is there twice."""
    found = here.moves("account", flow, partition)
    assert found["rows_in"] > 0
    assert found["rows"] == found["keys"] > 0, found
    assert found["commits_twice"] == 0, found
    if flow == HOURLY:
        assert found["rows_in"] == found["published"] + found["open"] + found["discarded"], found
        assert found["published"] == found["rows"], found


def running(here: Installation, run: str) -> list[dict[str, Any]]:
    """Tasks of an hourly run that are at work."""
    return [task for task in here.airflow.tasks(HOURLY, run) if task["state"] == "running"]


def at(moment: str) -> float:
    """A moment of Airflow's, as seconds."""
    return datetime.fromisoformat(moment).timestamp()


def told(of: Callable[[Iterable[float]], float], times: Iterable[dict[str, float]]) -> str:
    """Each kind of time, of all kills in one figure."""
    known = list(times)
    return ", ".join(f"{kind} {of(one[kind] for one in known):.0f} s" for kind in known[0])


def p95(values: Iterable[float]) -> float:
    """The value that one in twenty exceeds."""
    known = sorted(values)
    return known[int(0.95 * len(known))]


def until(found: Callable[[], Any], what: str, seconds: float) -> Any:
    """Ask until there is an answer; a server that is away meanwhile is asked again."""
    deadline, why = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        try:
            if answer := found():
                return answer
        except ServiceError as error:
            why = f": {error}"
        time.sleep(0.3)
    raise AssertionError(f"not within {seconds:.0f} s: {what}{why}")
