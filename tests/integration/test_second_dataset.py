"""A newcomer's day: a pack, a model from one command, a second data set, its four DAGs run with `dag.test()`.

The data are the 569 real biopsies that scikit-learn carries: another field, another target, text files.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import func, select

from baton.authoring.lint import lint
from baton.authoring.new_model import NewModel, new_model
from baton.authoring.new_pack import new_pack
from baton.packs import pack as packs
from baton.quarantine.rows import counts
from baton.record import tables
from baton.record.warehouse import read
from baton.registry.client import Registry
from baton.stages.slots import Slot, head, history

pytestmark = pytest.mark.timeout(600)
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
        unlabelled = rows.drop(columns="malignant").astype(object)
        unlabelled.iloc[3, 2] = "n/a"  # one cell that is no number
        unlabelled.to_csv(landing / f"{hour.replace(':', '-')}.csv", index=False)
    new_model(NewModel(name="malignancy", pack="clinic", family="classification", source="rows", target="malignant"))
    yaml = folder / "baton_clinic" / "models" / "malignancy.yaml"
    yaml.write_text(yaml.read_text().replace("min_rows: 1000", "min_rows: 200"))  # a small clinic
    yield packs.load_pack("clinic")
    sys.path.remove(str(folder))
    packs._installed.cache_clear()


def dag(dag_id: str) -> Any:
    """The DAG as the shipped lifecycles.py builds it."""
    from airflow.dag_processing.dagbag import DagBag

    found = DagBag(str(Path(__file__).resolve().parents[2] / "dags" / "lifecycles.py")).dags[dag_id]
    found.deadline = None  # Airflow 3.3.2 cannot store a deadline alert in `dag.test()`; the e2e tests run with it
    return found


def run(dag_id: str, **conf: Any) -> None:
    """One run in this process; every task must succeed."""
    result = dag(dag_id).test(run_conf=conf or None)
    assert result.state == "success", {task.task_id: task.state for task in result.get_task_instances()}


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

    from baton.lifecycle.promote import record_answer
    from baton.stages.job import StageJob
    from baton.stages.run import run as run_stage

    for step in ("judge", "move_champion"):
        job = StageJob(
            "clinic",
            "malignancy_promote",
            step,
            "version-1",
            f"baton.lifecycle.promote:{step}",
            options={"model": "malignancy"},
        )
        facts = run_stage(job).facts
        if step == "judge":
            assert facts["decision"] == "PROMOTE", facts
            record_answer("malignancy", 1, "approved", "a reviewer", "airflow")
    assert registry.alias("malignancy", "champion") == 1

    for hour in HOURS:
        run("malignancy_score", partition_from=hour)
    table = tables.predictions
    with read() as conn:
        published = dict(
            conn.execute(
                select(table.c.partition, func.count())
                .where(table.c.flow == "malignancy_score")
                .group_by(table.c.partition)
            ).fetchall()
        )
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
