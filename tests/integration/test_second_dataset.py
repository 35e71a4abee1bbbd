"""A newcomer's day: a pack, a model of each family from one command, flows of them, all run with `dag.test()` as written.

The data are the 569 real biopsies that scikit-learn carries (another field, another target, text files); the notes and the
weekly counts of the other families are made up.
"""

from __future__ import annotations

import runpy
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import select

from baton.authoring.lint import lint
from baton.authoring.new_flow import new_flow
from baton.authoring.new_model import NewModel, new_model
from baton.authoring.new_pack import new_pack
from baton.data import parts
from baton.packs import pack as packs
from baton.quarantine import batch
from baton.quarantine.rows import counts
from baton.record import tables
from baton.record.warehouse import read
from baton.registry.client import Registry
from baton.sources import large
from baton.stages.slots import Slot, head, history

pytestmark = pytest.mark.timeout(600)
ANSWER: Any = runpy.run_path(str(Path(__file__).parents[1] / "approving.py"))["answer"]
PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "published_rows.py"))
LIFECYCLES = Path(__file__).resolve().parents[2] / "dags" / "lifecycles.py"
HOURS = ["2026-11-20T09:00:00", "2026-11-20T10:00:00"]


def biopsies() -> pd.DataFrame:
    """569 rows in a seeded order: exam_id, taken_at, 30 measures, malignant (0/1)."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer(as_frame=True)
    frame = bunch.data.rename(columns=lambda name: name.replace(" ", "_"))
    frame = frame.assign(malignant=1 - bunch.target).sample(frac=1, random_state=7).reset_index(drop=True)
    frame.insert(0, "exam_id", range(1, len(frame) + 1))
    frame.insert(
        1,
        "taken_at",
        pd.date_range("2026-01-01", periods=len(frame), freq="h", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    return frame


@pytest.fixture(scope="module")
def clinic(workbench: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The pack `clinic`, installed as any third party's pack would be, and its model `malignancy`."""
    root = tmp_path_factory.mktemp("site")
    written = new_pack("clinic", root)
    assert written
    folder = root / "clinic"
    metadata = folder / "baton_clinic-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: baton-clinic\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[baton.packs]\nclinic = baton_clinic\n")
    sys.path.insert(0, str(folder))
    packs._installed.cache_clear()  # what is installed does not change in a running process, except here
    data, landing = workbench.home / "data" / "clinic", workbench.home / "landing" / "clinic"
    data.mkdir(parents=True)
    landing.mkdir(parents=True)
    frame = biopsies()
    frame.iloc[:450].to_csv(data / "history.csv", index=False)
    for hour, rows in zip(HOURS, (frame.iloc[450:510], frame.iloc[510:]), strict=True):
        unlabelled = rows.drop(columns="malignant").astype(object).assign(taken_at=f"{hour}Z")
        unlabelled.iloc[3, 2] = "n/a"  # one cell that is no number
        unlabelled.to_csv(landing / f"{hour.replace(':', '-')}.csv", index=False)
    new_model(NewModel(name="malignancy", pack="clinic", family="classification", source="rows", target="malignant"))
    yield packs.load_pack("clinic")
    sys.path.remove(str(folder))
    packs._installed.cache_clear()


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the flows of the pack are written."""
    return tmp_path_factory.mktemp("dags")


def dag(dag_id: str, file: Path = LIFECYCLES) -> Any:
    """The DAG as the shipped lifecycles.py builds it, or another file."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    bag = DagBag(str(file))
    assert not bag.import_errors
    if file != LIFECYCLES:
        sync_bag_to_db(bag, "dags-folder", None)  # `dag.test()` stores only what lies in Airflow's own folder
    found = bag.dags[dag_id]
    found.deadline = None  # Airflow 3.3.2 cannot store a deadline alert in `dag.test()`; the e2e tests run with it
    return found


def run(dag_id: str, file: Path = LIFECYCLES, **conf: Any) -> dict[str, list[str]]:
    """One run in this process, which must succeed; the states of each task."""
    result = dag(dag_id, file).test(run_conf=conf or None)
    states: dict[str, list[str]] = {}
    for task in result.get_task_instances():
        states.setdefault(task.task_id, []).append(str(task.state))
    assert result.state == "success", states
    return states


def promote(model: str) -> None:
    """Judge version 1, approve it, move the champion."""
    from baton.stages.job import StageJob
    from baton.stages.run import run as run_stage

    for step in ("judge", "move_champion"):
        job = StageJob("clinic", f"{model}_promote", step, "version-1", f"baton.lifecycle.promote:{step}",
                       options={"model": model})  # fmt: skip
        facts = run_stage(job).facts
        if step == "judge":
            assert facts["decision"] == "PROMOTE", facts
            ANSWER(model, 1, "a reviewer")


def test_yaml_of_the_new_model_has_no_mistakes(clinic: Any) -> None:
    assert lint([clinic.folder]) == []


def test_model_lives_from_its_yaml_alone(clinic: Any) -> None:
    run("malignancy_train")
    registry = Registry()
    assert registry.aliases("malignancy") == {"challenger": 1}
    metrics = head(Slot("malignancy_train", "register", "history")).facts["holdout"]  # type: ignore[union-attr]
    assert metrics["roc_auc"] > 0.97

    run("malignancy_train")  # the same trigger again: the same version
    assert registry.aliases("malignancy") == {"challenger": 1}

    promote("malignancy")
    assert registry.alias("malignancy", "champion") == 1

    for hour in HOURS:
        run("malignancy_score", partition_from=hour)
    published = Counter(row["partition"] for row in PUBLISHED["rows_of"]("predictions", flow="malignancy_score"))
    assert published == {HOURS[0]: 59, HOURS[1]: 58}
    assert counts("malignancy_score")["open"] == 2  # the cells that are no number, one a partition


def test_a_repeated_partition_is_not_computed_again(clinic: Any) -> None:
    before = history(Slot("malignancy_score", "publish", HOURS[0]))
    run("malignancy_score", partition_from=HOURS[0])
    assert history(Slot("malignancy_score", "publish", HOURS[0])) == before


def test_partition_without_data_is_skipped_and_says_so(clinic: Any) -> None:
    result = dag("malignancy_score").test(run_conf={"partition_from": "2026-11-20T11:00:00"})
    states = {task.task_id: task.state for task in result.get_task_instances()}
    assert states["ingest"] == "skipped"
    assert set(states.values()) == {"skipped"}


def test_wrong_schema_stops_the_run_with_all_rows_kept(clinic: Any, workbench: Any) -> None:
    hour = "2026-11-20T12:00:00"
    landing: Path = workbench.home / "landing" / "clinic" / f"{hour.replace(':', '-')}.csv"
    biopsies().iloc[:5].drop(columns=["malignant", "mean_radius"]).to_csv(landing, index=False)
    result = dag("malignancy_score").test(run_conf={"partition_from": hour})
    assert result.state == "failed"
    facts = head(Slot("malignancy_score", "contract", hour)).facts  # type: ignore[union-attr]
    assert facts["status"] == "broken"
    assert "mean_radius" in " ".join(facts["failures"])
    assert counts("malignancy_score", hour)["open"] == 5


def written_flow(clinic: Any, dags: Path, name: str, source: str, contract: str, models: list[str]) -> Path:
    """The flow that `baton new flow` writes; nobody is asked, since nobody would answer here."""
    new_flow(name, "clinic", source, contract, models, dags)
    assert [one for one in lint([dags, clinic.folder]) if not one.note] == []
    file = dags / f"{name}.py"
    text = file.read_text()
    assert ':decide", ' in text
    file.write_text(text.replace(':decide", ', ':decide", {"params": {"approve_from": 1.1}}, '))
    return file


def rows_of(table: Any, flow: str) -> list[dict[str, Any]]:
    with read() as conn:
        return [dict(row) for row in conn.execute(select(table).where(table.c.flow == flow)).mappings()]


def test_two_models_decide_open_cases_and_learn_from_late_labels(clinic: Any, workbench: Any, dags: Path) -> None:
    new_model(NewModel("unusual", "clinic", "anomaly", "rows", "malignant", scoring=False))
    run("unusual_train")
    promote("unusual")
    file = written_flow(clinic, dags, "examinations", "rows", "malignancy_rows", ["malignancy", "unusual"])
    text = file.read_text().replace('"malignancy_rows")', '"malignancy_rows", shared=True)', 1)
    file.write_text(text.replace('flow.ingest("rows")', 'flow.ingest("rows", shared=True)', 1))
    states = run("examinations", file, partition_from=HOURS[0])
    for idle in ("read_pieces", "judge_parts"):
        assert states.pop(idle) == ["skipped"], "one part: nothing to share, and nothing behind it is skipped"
    assert {state for of_task in states.values() for state in of_task} == {"success"}
    assert len(PUBLISHED["rows_of"]("decisions", flow="examinations")) == 59
    assert len(PUBLISHED["rows_of"]("predictions", flow="examinations")) == 2 * 59
    opened = rows_of(tables.cases, "examinations")
    assert opened
    assert opened[0]["resolutions"] == {"yes": {"malignant": 1}, "no": {"malignant": 0}}

    truth = biopsies().iloc[450:510][["exam_id", "malignant"]]
    truth.to_csv(workbench.home / "landing" / "clinic" / f"labels-{HOURS[0].replace(':', '-')}.csv", index=False)
    run("examinations_labels", dags / "examinations_labels.py", partition_from=HOURS[0])
    assert len(rows_of(tables.labels, "examinations")) == 60
    run("malignancy_train", until=HOURS[1])  # its rows are the history's and, by now, the flow's
    assert Registry().aliases("malignancy")["challenger"] == 2


def add_source(
    clinic: Any, workbench: Any, name: str, step: str, history: pd.DataFrame, later: dict[str, pd.DataFrame]
) -> None:
    path = clinic.folder / "sources.yaml"
    path.write_text(
        f"{path.read_text()}\n{name}:\n  kind: file\n  description: {name}\n  step: {step}\n"
        f'  path: "{{landing}}/clinic/{name}-{{partition}}.csv"\n  history: "{{data}}/clinic/{name}.csv"\n'
    )
    history.to_csv(workbench.home / "data" / "clinic" / f"{name}.csv", index=False)
    for partition, frame in later.items():
        frame.to_csv(workbench.home / "landing" / "clinic" / f"{name}-{partition.replace(':', '-')}.csv", index=False)


def test_a_batch_of_several_parts_is_judged_by_several_tasks(
    clinic: Any, dags: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROWS", 20)
    monkeypatch.setattr(parts, "STEP", 1)
    monkeypatch.setattr(batch, "FRAME_ROWS", 10)
    states = run("examinations", dags / "examinations.py", partition_from=HOURS[1])
    assert states["judge_parts"] == ["success"] * 3
    assert set(states.pop("read_pieces")) == {"skipped"}, "a CSV file is read by one task"
    assert {state for of_task in states.values() for state in of_task} == {"success"}
    published = [row for row in PUBLISHED["rows_of"]("decisions", flow="examinations") if row["partition"] == HOURS[1]]
    assert len(published) == 58
    assert counts("examinations", HOURS[1])["open"] == 1


def test_a_large_file_is_read_by_several_tasks(
    clinic: Any, workbench: Any, dags: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROWS", 20)
    monkeypatch.setattr(parts, "STEP", 1)
    monkeypatch.setattr(batch, "FRAME_ROWS", 10)
    monkeypatch.setattr(large, "BYTES", 100)
    hour = "2026-11-20T13:00:00"
    path = workbench.home / "landing" / "clinic" / f"{hour.replace(':', '-')}.parquet"
    rows = (
        biopsies()
        .iloc[:58]
        .drop(columns="malignant")
        .assign(exam_id=range(7000, 7058), taken_at=pd.Timestamp(f"{hour}Z"))
    )
    rows.to_parquet(path, row_group_size=10, index=False)
    states = run("examinations", dags / "examinations.py", partition_from=hour)
    assert [len(states[task]) for task in ("read_pieces", "judge_parts", "score__malignancy")] == [3, 3, 3]
    assert {state for of_task in states.values() for state in of_task} == {"success"}
    arrived = head(Slot("examinations", "ingest", hour))
    assert arrived is not None
    assert (arrived.ref.rows, arrived.facts["rows_in"], arrived.facts["source"]) == (58, 58, "rows")
    published = [row for row in PUBLISHED["rows_of"]("decisions", flow="examinations") if row["partition"] == hour]
    assert sorted(int(row["entity_key"]) for row in published) == list(range(7000, 7058))


def test_a_text_model_and_its_flow(clinic: Any, workbench: Any, dags: Path) -> None:
    words = {
        "pain": "the patient feels strong pain in the",
        "fever": "high fever since yesterday and a hot",
        "fall": "fell on the stairs and hurt the",
    }
    notes = [(kind, f"{words[kind]} {part} {n}") for n in range(60) for kind in words for part in ("arm", "head")]
    times = pd.date_range("2026-01-01", periods=len(notes), freq="h", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ")
    frame = pd.DataFrame(
        {"note_id": range(len(notes)), "at": times, "note": [t for _, t in notes], "kind": [k for k, _ in notes]}
    )
    hour = frame.iloc[:9].drop(columns="kind").assign(note_id=range(900, 909), at=f"{HOURS[0]}Z")
    add_source(clinic, workbench, "notes", "1h", frame, {HOURS[0]: hour})
    new_model(NewModel("note_kind", "clinic", "text", "notes", "kind"))
    run("note_kind_train")
    promote("note_kind")
    file = written_flow(clinic, dags, "note_desk", "notes", "note_kind_rows", ["note_kind"])
    run("note_desk", file, partition_from=HOURS[0])
    said = {row["entity_key"]: row["category"] for row in PUBLISHED["rows_of"]("predictions", flow="note_desk")}
    assert [said[str(900 + n)] for n in range(9)] == [kind for kind, _ in notes[:9]]


def test_a_forecast_model_and_its_flow(clinic: Any, workbench: Any, dags: Path) -> None:
    days = pd.date_range("2026-08-03", periods=60, freq="D", tz="UTC")
    frame = pd.DataFrame([
        {"ward": ward, "day": f"{day:%Y-%m-%d}", "visits": 20 * size + 5 * (day.dayofweek < 5) + (day.dayofyear * 7 + size) % 4}
        for size, ward in enumerate(("north", "south", "east"), 1) for day in days
    ])  # fmt: skip
    last = frame["day"].max()
    add_source(
        clinic, workbench, "visits", "1d", frame[frame["day"] < last], {f"{last}T00:00:00": frame[frame["day"] == last]}
    )
    new_model(NewModel("visits_ahead", "clinic", "forecast", "visits", "visits", scoring=False))
    run("visits_ahead_train")
    promote("visits_ahead")
    file = written_flow(clinic, dags, "staffing", "visits", "visits_ahead_rows", ["visits_ahead"])
    run("staffing", file, partition_from=f"{last}T00:00:00")
    assert (
        len(PUBLISHED["rows_of"]("decisions", flow="staffing")) == 3 * 7
    )  # three wards, the horizon that was found out
