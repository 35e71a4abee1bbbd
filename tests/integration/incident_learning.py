"""The life of `network_intrusion` by its stages, in a network that changed: windows, an attack in it, verdicts; loaded by path."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pandas as pd

from baton.data.identity import with_row_identity
from baton.lifecycle.assemble import as_of
from baton.packs.pack import find_model, load_pack
from baton.sources.reading import read_history
from baton.stages.slots import StageResult
from baton_demo.incident_response import company, simulate
from baton_packs.incident_response.detection import stages as detection

F: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("incident_flow.py")))
step, given = F["step"], F["given"]
MODEL, PACK, CANDIDATE = "network_intrusion", "incident_response", "boosting"
PARTITIONS = [f"2026-12-01T10:{minute:02d}:00" for minute in range(0, 60, 5)]
ATTACKED = PARTITIONS[6:10]  # in these somebody guesses passwords
GUESSED = 60  # connections of it in each
NO_EVENTS = pd.DataFrame(
    columns=["metadata_uid", "query_hostname", "dst_endpoint_hostname", "http_request_url", "raw_data"], dtype=object
)


def smaller(patch: Any) -> None:
    """Of the candidates the quickest alone: what they are worth is the benchmark's question."""
    _, spec = find_model(MODEL)
    one = [candidate for candidate in spec.candidates if candidate.name == CANDIDATE]
    patch.setitem(load_pack(PACK).models, MODEL, spec.model_copy(update={"candidates": tuple(one)}))


def train(since: str | None = None) -> StageResult:
    """The stages of `network_intrusion_train` in order, as its DAG wires them."""
    of, at = {"flow": f"{MODEL}_train", "since": since}, as_of(MODEL)
    rows = step("assemble", at, "baton.lifecycle.assemble:assemble", {"model": MODEL}, **of)
    good = step("contract", at, "baton.steps.contract:contract", {"contract": "labelled_connections"}, data=rows, **of)
    options = {"model": MODEL, "candidate": CANDIDATE}
    tried = step(f"candidate__{CANDIDATE}", at, "baton.lifecycle.fit:candidate", options, data=good, **of)
    return step("register", at, "baton.lifecycle.fit:register", {"model": MODEL}, data=good, **{CANDIDATE: tried}, **of)


def judge(version: int) -> StageResult:
    return step(
        "judge", f"version-{version}", "baton.lifecycle.promote:judge", {"model": MODEL}, flow=f"{MODEL}_promote"
    )


def move(version: int) -> StageResult:
    options = {"model": MODEL}
    return step(
        "move_champion", f"version-{version}", "baton.lifecycle.promote:move_champion", options, flow=f"{MODEL}_promote"
    )


def changed() -> dict[str, pd.DataFrame]:
    """Connections of each partition in the changed network, in some of them with an attack out of the known ones."""
    guessing = read_history(load_pack(PACK), "connections")[lambda frame: frame["attack"] == "guess"]
    found = {}
    for partition, frame in simulate.changed_connections(PARTITIONS, 21).items():
        frame = frame.assign(time=pd.to_datetime(frame["time"], utc=True, format="ISO8601"))
        if partition in ATTACKED:
            number = ATTACKED.index(partition)
            rows = guessing.iloc[number * GUESSED : (number + 1) * GUESSED].drop(
                columns=["attack", "is_attack", "seconds"]
            )
            target = company.hosts()[company.JUMP]
            own = {"src_endpoint_ip": company.ATTACKER, "dst_endpoint_ip": target.address, "device_hostname": target.name,
                   "time": pd.Timestamp(partition, tz="UTC") + pd.Timedelta("2min"),
                   "metadata_uid": [f"{partition}-attack-{at}" for at in range(len(rows))]}  # fmt: skip
            frame = pd.concat([frame, rows.assign(**own)], ignore_index=True)
        found[partition] = frame
    return found


def through(partition: str, frame: pd.DataFrame, version: int) -> None:
    """A partition of the flow from its connections to its cases."""
    events = given("contract", partition, NO_EVENTS)
    traffic = given("once", partition, with_row_identity(frame, "connections"))
    models = {MODEL: version}
    scores = step(
        f"score__{MODEL}", partition, "baton.steps.score:score", {"model": MODEL}, versions=models, data=traffic
    )
    if partition not in ATTACKED:
        step("publish", partition, "baton.steps.publish:publish_predictions", versions=models, scores=scores)
        return
    none = pd.DataFrame({"entity_key": [], "score": [], "reasons": []})
    said = F["rows"](scores)
    found = detection.model_alerts(frame, said, pd.DataFrame({"count_id": []}), none)
    alerts = given("alerts", partition, found[found["src_ip"] == company.ATTACKER])
    F["decide"](partition, events, alerts, {MODEL: scores})


def a_day_later(partition: str) -> StageResult:
    """The run of `incident_outcomes` for a partition."""
    of = {"flow": "incident_outcomes"}
    quiet = step("outcomes", partition, f"{F['PACK']}.incidents.outcomes:stage", {"flow": F["FLOW"]}, **of)
    options = {"about": F["FLOW"], "entity": "entity_key", "labels": ["is_attack", "attacked"], "origin": "quiet"}
    return step("publish", partition, "baton.steps.publish:publish_labels", options, data=quiet, **of)
