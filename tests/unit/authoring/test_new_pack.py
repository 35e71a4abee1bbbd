"""`baton new pack --from`: what is written from a file of rows lints, tests itself, and can be tried at once."""

from __future__ import annotations

import runpy
import sqlite3
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from baton.authoring.lint import lint
from baton.authoring.new_pack import Look, pack_from
from baton.cli.app import app
from baton.errors import SourceError, SpecError
from baton.lifecycle.trial import attempt
from baton.packs import pack as packs
from baton.packs.pack import read_pack
from baton.record import warehouse
from baton.settings import settings


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder with dags/, as a newcomer has it."""
    monkeypatch.setenv("BATON_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BATON_PROJECT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    settings.cache_clear()
    (tmp_path / "dags").mkdir()
    yield tmp_path
    warehouse.engine().dispose()
    packs._installed.cache_clear()
    settings.cache_clear()


def installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packs._installed.cache_clear()
    monkeypatch.setattr(packs, "entry_points", lambda group: [EntryPoint(name, f"baton_{name}", group)])


def orders(file: Path, count: int = 600) -> Path:
    rng = np.random.default_rng(5)
    price, days = rng.gamma(2.0, 40.0, count).round(2), rng.integers(1, 15, count)
    frame = pd.DataFrame({
        "order_no": np.arange(1, count + 1), "customer_name": [f"Ann Example {n}" for n in range(count)],
        "ordered_at": pd.date_range("2026-01-01", periods=count, freq="h").strftime("%Y-%m-%dT%H:%M:%SZ"),
        "channel": rng.choice(["web", "shop"], count), "price": price, "days": days,
        "returned": (price + 8 * days + rng.normal(0, 10, count) > 150).astype(int),
    })  # fmt: skip
    frame.to_csv(file, index=False) if file.suffix == ".csv" else frame.to_parquet(file)
    return file


def texts(file: Path) -> Path:
    words = {"card": "I have lost my card on the way", "loan": "what would a loan cost me a month"}
    rows = [
        {"nr": f"m{n}", "at": f"2026-01-{1 + n // 24:02d}T{n % 24:02d}:00:00Z", "message": f"{words[topic]} {n}, please", "topic": topic}
        for n in range(240) for topic in [("card", "loan")[n % 2]]
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


def sales(file: Path) -> Path:
    days = pd.date_range("2026-01-01", periods=90).strftime("%Y-%m-%d")
    rows = [{"day": day, "shop": shop, "units": 20 + n % 7} for shop in "abc" for n, day in enumerate(days)]
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


def written(project: Path, name: str, file: Path | str, monkeypatch: pytest.MonkeyPatch) -> Any:
    look = Look.at(str(file))
    answers = {question.name: question.default for question in look.questions()}
    files = pack_from(name, look, answers, project, project / "dags")
    assert all(path.exists() for path in files)
    monkeypatch.syspath_prepend(project / name)  # as `pip install -e` does
    mistakes = [one for one in lint([project / name, *(project / "dags").glob(f"{name}_*.py")]) if not one.note]
    assert mistakes == [], "\n".join(map(str, mistakes))
    return read_pack(name, project / name / f"baton_{name}")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_of_orders_becomes_a_pack_that_can_be_tried(
    ending: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"shop_{ending}"
    made = written(project, name, orders(project / f"orders.{ending}"), monkeypatch)
    assert {model: spec.family for model, spec in made.models.items()} == {
        "returned": "classification",
        "returned_unusual": "anomaly",
    }
    assert (made.models["returned"].data.entity, made.models["returned"].data.time) == ("order_no", "ordered_at")
    assert made.sources["rows"].step_text == "1d"
    incoming = made.contracts["returned_rows"]
    assert incoming.columns["customer_name"].pii == "direct"
    assert "returned" not in incoming.columns
    learnt = {one.meta.rule for one in incoming.expectations}
    assert {"price_range", "days_range", "channel_unknown", "price_missing"} <= learnt
    assert "customer_name_missing" not in learnt
    assert (project / "dags" / f"{name}_returned.py").exists()
    assert (project / "dags" / f"{name}_returned_labels.py").exists()
    readme = (project / name / f"baton_{name}" / "README.md").read_text()
    assert "| `customer_name` | str | personal: somebody's name |" in readme
    assert "| `channel_unknown` | `channel` is one of shop, web | 0.00% |" in readme

    installed(name, monkeypatch)
    for test in runpy.run_path(str(project / name / "test_steps.py")).values():
        if getattr(test, "__name__", "").startswith("test_"):
            test()
    if ending == "parquet":
        return  # tried once is enough
    trial = attempt("returned")
    assert trial.rejected == 0
    assert trial.metrics["roc_auc"] > 0.9


@pytest.mark.parametrize(("kind", "name"), [("text", "letters"), ("forecast", "stock")])
def test_messages_and_series_are_known_by_their_shape(
    kind: str, name: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = (texts if kind == "text" else sales)(project / "rows.csv")
    made = written(project, name, file, monkeypatch)
    (spec,) = made.models.values()
    assert spec.family == kind
    assert spec.data.target == ("topic" if kind == "text" else "units")
    assert spec.data.entity == ("nr" if kind == "text" else "shop")
    installed(name, monkeypatch)
    for test in runpy.run_path(str(project / name / "test_steps.py")).values():
        if getattr(test, "__name__", "").startswith("test_"):
            test()


def test_the_command_asks_at_most_five_questions_and_none_with_yes(project: Path) -> None:
    file = orders(project / "orders.csv", 200)
    done = CliRunner().invoke(app, ["new", "pack", "shop", "--from", str(file)], input="\n\n\nnone\n1h\n")
    assert done.exit_code == 0, done.output
    assert done.output.count("?") == 5
    assert "Which column identifies a row? [order_no]:" in done.output
    assert done.output.endswith("next: pip install --no-deps -e shop, then baton try returned\n")
    made = read_pack("shop", project / "shop" / "baton_shop")
    assert made.sources["rows"].step_text == "1h"
    assert made.contracts["returned_rows"].columns["customer_name"].pii is None
    silent = CliRunner().invoke(app, ["new", "pack", "other", "--from", str(file), "--yes", "--target", "returned"])
    assert silent.exit_code == 0, silent.output
    assert "?" not in silent.output


def test_what_cannot_be_written_says_why_and_leaves_nothing(project: Path) -> None:
    file = orders(project / "orders.csv", 50)
    look = Look.at(str(file))
    good = {question.name: question.default for question in look.questions()}
    before = sorted(path.relative_to(project) for path in project.rglob("*"))
    for said, message in (
        ({"target": "retuned"}, "--target retuned: not in .*did you mean `returned`"),
        ({"target": ""}, "says what turned out to be true"),
        ({"personal": "channel, nme"}, "--personal nme"),
        ({"step": "2h"}, "--step 2h: .*Allowed: 15m, 1h, 1d, 7d"),
        ({"target": "price"}, "--target price: it is neither 0 or 1"),
        ({"personal": "order_no"}, "pii: direct"),
    ):
        with pytest.raises(SpecError, match=message):
            pack_from("shop", look, {**good, **said}, project, project / "dags")
        assert sorted(path.relative_to(project) for path in project.rglob("*")) in (
            before, sorted([*before, *map(Path, ("home", "home/data"))]),
        )  # fmt: skip
    done = CliRunner().invoke(app, ["new", "pack", "shop", "--yes"])
    assert done.exit_code == 2


def test_rows_of_a_database_or_an_interface_become_a_source_that_asks_for_a_partitions_own(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.read_csv(orders(project / "orders.csv"))
    with sqlite3.connect(project / "shop.db") as conn:
        frame.to_sql("orders", conn, index=False)
    conn.close()
    made = written(project, "of_db", f"sqlite:///{project}/shop.db#orders", monkeypatch)
    assert made.sources["rows"].kind == "sql"
    assert 'FROM "orders" WHERE "ordered_at" >= :start' in made.sources["rows"].query
    assert made.sources["rows"].time_format == "%Y-%m-%dT%H:%M:%SZ"
    assert made.models["returned"].training.history.source == "past"
    assert len(pd.read_parquet(project / "home" / "data" / "of_db" / "history.parquet")) == 600

    answer = httpx.Response(200, content=frame.to_json(orient="records"), request=httpx.Request("GET", "http://shop"))
    monkeypatch.setattr(httpx, "get", lambda address, timeout: answer)
    made = written(project, "of_api", "http://shop.example:8080/api/orders?limit=600", monkeypatch)
    source = made.sources["rows"]
    assert (source.kind, source.endpoint, source.params) == ("http", "api/orders", {"from": "{start}", "to": "{end}"})
    assert (
        "an Airflow connection `of_api` of type HTTP whose host is `http://shop.example:8080`"
        in (project / "of_api" / "baton_of_api" / "README.md").read_text()
    )
    for origin, message in (
        (f"sqlite:///{project}/shop.db", "there are: orders"),
        ("sqlite:///no.db#x", "no such database"),
    ):
        with pytest.raises(SourceError, match=message):
            Look.at(origin)


def test_rows_without_a_key_and_a_time_are_numbered_and_keep_their_order(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = texts(project / "rows.csv")
    pd.read_csv(file)[["message", "topic"]].to_csv(file, index=False)
    made = written(project, "bare", file, monkeypatch)
    spec = made.models["topic"]
    assert (spec.family, spec.data.entity, spec.data.time, spec.data.text) == (
        "text",
        "row_id",
        "received_at",
        ("message",),
    )
    kept = pd.read_parquet(project / "home" / "data" / "bare" / "history.parquet")
    assert kept["row_id"].tolist() == list(range(1, 241))
    assert kept["received_at"].is_monotonic_increasing
    assert (
        "Later deliveries must\nbring these columns too." in (project / "bare" / "baton_bare" / "README.md").read_text()
    )
