"""Published predictions as a file."""

from __future__ import annotations

import csv
import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from baton.cli.app import app
from baton.console.queries import predictions
from baton.console.queries.predictions import export
from baton.errors import BatonError
from baton.progress import Pace, Standing, heard_by
from baton.record import warehouse

PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "published_rows.py"))

HOURS = [f"2026-11-20T{hour:02d}:00:00" for hour in (9, 10, 11)]


@pytest.fixture(autouse=True)
def published(home: Path) -> Any:
    warehouse.migrate()
    rows = [
        {"entity_key": key, "model": model, "version": 2, "score": 0.25, "reasons": '[["amount", 1.5]]'}
        for key in ("=a", "b") for model in ("late", "odd")
    ]  # fmt: skip
    for flow in ("shop", "other"):
        for hour in HOURS:
            PUBLISHED["seed"](flow, hour, predictions=rows)
    yield
    warehouse.engine().dispose()


def test_a_flows_predictions_go_into_a_private_file(home: Path) -> None:
    seen: list[int] = []
    with heard_by(Pace(lambda one: seen.append(one.done), -1.0, -1.0)):
        assert export(home / "all.parquet", "shop") == 12
    assert seen == [0, 1, 2, 3], "partition by partition"
    frame = pd.read_parquet(home / "all.parquet")
    assert frame["partition"].tolist() == sorted(HOURS * 4)
    assert frame["entity_key"].iloc[0] == "=a"
    assert frame["reasons"].iloc[0] == '[["amount", 1.5]]'
    assert (frame["score"].dtype, frame["version"].dtype) == ("float64", "int64")
    assert "commit_id" not in frame
    assert (home / "all.parquet").stat().st_mode & 0o777 == 0o600


def test_a_part_of_them_as_a_table_that_no_spreadsheet_runs(home: Path) -> None:
    path = home / "some.csv"
    done = CliRunner().invoke(
        app, ["predictions", str(path), "--flow", "shop", "--model", "odd", "--from", HOURS[1], "--until", HOURS[1]]
    )
    assert done.output == f"{path}: 2 predictions\n"
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["partition"], line["entity_key"], line["model"], line["score"]) for line in lines] == [
        (HOURS[1], "'=a", "odd", "0.25"), (HOURS[1], "b", "odd", "0.25"),
    ]  # fmt: skip


def test_what_cannot_be_written_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BatonError, match=r"end in \.csv or \.parquet"):
        export(home / "x.txt", "shop")
    with pytest.raises(BatonError, match="no predictions of flow shop with model lates"):
        export(home / "x.csv", "shop", "lates")
    (home / "there.csv").write_text("mine")
    with pytest.raises(BatonError, match="exists"):
        export(home / "there.csv", "shop")
    assert (home / "there.csv").read_text() == "mine"

    def breaks(standing: Standing) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), heard_by(Pace(breaks, -1.0, -1.0)):
        export(home / "half.csv", "shop")
    assert not (home / "half.csv").exists()
    assert predictions.KEPT[0] == "flow"
