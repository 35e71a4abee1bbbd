"""A newcomer's folder with nothing in it: a pack, a model of each family and flows of them from commands alone, on the started services.

The rows are the 569 biopsies that scikit-learn carries, and made-up notes and weekly counts. What the scaffolds write is run as
written; `tests/integration/test_second_dataset.py` looks at it more closely, without services.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.services.airflow_api import Orchestrator

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "bench"))  # the newcomer's moves are shared with `make bench NAME=first_hour`
pytestmark = pytest.mark.timeout(900)
HOUR, DAY = "2026-11-20T09:00:00", "2026-10-01T00:00:00"
MODELS = {
    "malignancy": ["classification", "rows", "malignant", "--no-scoring"],
    "unusual": ["anomaly", "rows", "malignant", "--no-scoring"],
    "note_kind": ["text", "notes", "kind", "--no-scoring"],
    "visits_ahead": ["forecast", "visits", "visits", "--no-scoring"],
}
FLOWS = {  # flow -> source, contract, models, partition
    "examinations": ("rows", "malignancy_rows", ["malignancy", "unusual"], HOUR),
    "note_desk": ("notes", "note_kind_rows", ["note_kind"], HOUR),
    "staffing": ("visits", "visits_ahead_rows", ["visits_ahead"], DAY),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one's own: the registration of DAGs and pages, and the rows that arrived."""
    folder = tmp_path_factory.mktemp("newcomer")
    for file in ("dags/lifecycles.py", "plugins/baton_console.py"):
        (folder / file).parent.mkdir()
        shutil.copy(ROOT / file, folder / file)
    return folder


@pytest.fixture(scope="module")
def environment(project: Path) -> dict[str, str]:
    """A terminal in that folder; what `pip install -e clinic` would do is done by the path."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BATON_", "AIRFLOW", "MLFLOW_"))}
    paths = [str(project / "clinic"), str(ROOT / "include")]
    return {**clean, "PYTHONPATH": os.pathsep.join(paths), "BATON_PROJECT": str(project), "BATON_SCHEDULES": "false",
            "BATON_HOME": str(project / ".baton"), "OMP_NUM_THREADS": "1"}  # fmt: skip


def baton(project: Path, environment: dict[str, str], *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "baton.cli.app", *words], cwd=project, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"baton {' '.join(words)}: {done.stdout[-1500:]}{done.stderr[-1500:]}"


def arrive(project: Path, source: str, history: pd.DataFrame, partition: str, later: pd.DataFrame) -> None:
    """Put a source's history and one later delivery where the scaffold's `sources.yaml` looks for them."""
    data, landing = project / ".baton" / "data" / "clinic", project / ".baton" / "landing" / "clinic"
    data.mkdir(parents=True, exist_ok=True)
    landing.mkdir(parents=True, exist_ok=True)
    named = partition.replace(":", "-")
    history.to_csv(data / ("history.csv" if source == "rows" else f"{source}.csv"), index=False)
    later.to_csv(landing / (f"{named}.csv" if source == "rows" else f"{source}-{named}.csv"), index=False)


def biopsies() -> tuple[pd.DataFrame, pd.DataFrame]:
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer(as_frame=True)
    frame = bunch.data.rename(columns=lambda name: name.replace(" ", "_"))
    frame = frame.assign(malignant=1 - bunch.target).sample(frac=1, random_state=7).reset_index(drop=True)
    times = pd.date_range("2026-01-01", periods=len(frame), freq="h", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ")
    frame = frame.assign(exam_id=range(1, len(frame) + 1), taken_at=times)
    return frame.iloc[:450], frame.iloc[450:510].drop(columns="malignant").assign(taken_at=f"{HOUR}Z")


def notes() -> tuple[pd.DataFrame, pd.DataFrame]:
    words = {
        "pain": "the patient feels strong pain in the",
        "fever": "high fever since yesterday and a hot",
        "fall": "fell and hurt the",
    }
    rows = [(kind, f"{said} {part} {n}") for n in range(60) for kind, said in words.items() for part in ("arm", "head")]
    times = pd.date_range("2026-01-01", periods=len(rows), freq="h", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ")
    frame = pd.DataFrame(
        {"note_id": range(len(rows)), "at": times, "note": [t for _, t in rows], "kind": [k for k, _ in rows]}
    )
    return frame, frame.iloc[:9].drop(columns="kind").assign(note_id=range(900, 909), at=f"{HOUR}Z")


def visits() -> tuple[pd.DataFrame, pd.DataFrame]:
    days = pd.date_range(end=DAY[:10], periods=60, freq="D", tz="UTC")
    frame = pd.DataFrame([
        {"ward": ward, "day": f"{day:%Y-%m-%d}", "visits": 20 * size + 5 * (day.dayofweek < 5) + (day.dayofyear * 7 + size) % 4}
        for size, ward in enumerate(("north", "south", "east"), 1) for day in days
    ])  # fmt: skip
    return frame[frame["day"] < DAY[:10]], frame[frame["day"] == DAY[:10]]


@pytest.fixture(scope="module")
def airflow(project: Path, environment: dict[str, str]) -> Iterator[Orchestrator]:
    """Everything written by commands, then `baton up`."""
    from newcomer import up

    baton(project, environment, "new", "pack", "clinic")
    metadata = project / "clinic" / "baton_clinic-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: baton-clinic\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[baton.packs]\nclinic = baton_clinic\n")
    sources = project / "clinic" / "baton_clinic" / "sources.yaml"
    for name, step in (("notes", "1h"), ("visits", "1d")):
        written = f'  path: "{{landing}}/clinic/{name}-{{partition}}.csv"\n  history: "{{data}}/clinic/{name}.csv"\n'
        sources.write_text(
            f"{sources.read_text()}\n{name}:\n  kind: file\n  description: {name}\n  step: {step}\n{written}"
        )
    for source, partition, (history, later) in (
        ("rows", HOUR, biopsies()),
        ("notes", HOUR, notes()),
        ("visits", DAY, visits()),
    ):
        arrive(project, source, history, partition, later)
    for model, (family, source, target, *more) in MODELS.items():
        asked = ["--pack", "clinic", "--family", family, "--source", source, "--target", target, *more]
        baton(project, environment, "new", "model", model, *asked)
    for flow, (source, contract, models, _) in FLOWS.items():
        named = [word for model in models for word in ("--model", model)]
        baton(
            project,
            environment,
            "new",
            "flow",
            flow,
            "--pack",
            "clinic",
            "--source",
            source,
            "--contract",
            contract,
            *named,
        )
    baton(project, environment, "lint", "clinic", "dags")
    with up(project, environment, "clinic") as started:
        yield started


def asked(project: Path, question: str) -> dict[str, Any]:
    """The answer's first column -> its second, as `baton sql` has them."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BATON_", "AIRFLOW", "MLFLOW_"))}
    home = {"PYTHONPATH": str(ROOT / "include"), "BATON_HOME": str(project / ".baton"), "BATON_PROJECT": str(project)}
    command = [sys.executable, "-m", "baton.cli.app", "sql", question, "--json"]
    done = subprocess.run(command, cwd=project, env={**clean, **home}, capture_output=True, text=True, check=True)
    return dict(tuple(json.loads(line).values()) for line in done.stdout.splitlines())


def test_every_family_is_trained_approved_and_used_as_it_was_written(project: Path, airflow: Orchestrator) -> None:
    from newcomer import answered, succeeded, trained

    for model in MODELS:
        trained(airflow, model)
    runs = {flow: airflow.trigger(flow, partition) for flow, (*_, partition) in FLOWS.items()}
    for flow, run in runs.items():
        answered(airflow, flow, run, "review")
        succeeded(airflow, flow, run)
    predicted = asked(project, "select flow, count(*) as n from predictions group by flow")
    decided = asked(project, "select flow, count(*) as n from decisions group by flow")
    said = asked(project, "select entity_key, category from predictions where flow = 'note_desk'")
    assert predicted["examinations"] == 2 * 60
    assert decided == {"examinations": 60, "note_desk": 9, "staffing": 3 * 7}  # three wards, a week ahead
    assert [said[str(900 + n)] for n in range(6)] == ["pain", "pain", "fever", "fever", "fall", "fall"]
