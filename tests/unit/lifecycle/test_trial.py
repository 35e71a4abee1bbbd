"""`baton try`: what training would do with the rows at hand, without services; and what the search and the page make of it."""

from __future__ import annotations

import json
import runpy
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from baton.cli.app import app
from baton.errors import BatonError, ContractBroken, ModelError, SpecError
from baton.lifecycle import trial_page
from baton.lifecycle.trial import Trial, attempt
from baton.record import ledger
from baton.specs.model import GridSpec

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
CONTRACT = """\
contract: orders
version: 1
owner: tests
description: orders with their truth
key: order_id
columns:
  order_id: {type: int}
  ordered_at: {type: timestamp}
  amount: {type: float}
  noise: {type: float}
  late: {type: int}
tolerated: 0.1
expectations:
  - type: expect_column_values_to_be_between
    kwargs: {column: amount, min_value: 0}
    severity: warning
    meta: {rule: amount_negative}
"""
CANDIDATES = """\
candidates:
  - {name: logistic, estimator: sklearn.linear_model.LogisticRegression}
  - {name: forest, estimator: sklearn.ensemble.RandomForestClassifier, params: {n_estimators: 5, max_depth: 1}}
  - {name: both, ensemble: [logistic, forest]}
  - {name: broken, estimator: sklearn.linear_model.LogisticRegression, params: {C: -1.0}}
"""


def orders(count: int, first: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(3 + first)
    amount = rng.uniform(0, 10, count)
    return pd.DataFrame({
        "order_id": np.arange(first, first + count),
        "ordered_at": pd.Timestamp("2026-11-01", tz="UTC") + pd.to_timedelta(np.arange(first, first + count), unit="h"),
        "amount": amount, "noise": rng.normal(size=count), "late": (amount + rng.normal(0, 1, count) > 7).astype(int),
    })  # fmt: skip


@pytest.fixture(autouse=True)
def shop(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        (folder / "contracts" / "orders.yaml").write_text(CONTRACT)
        model = folder / "models" / "late_order.yaml"
        text = model.read_text().replace("features: [amount]", "features: [amount, noise]")
        model.write_text(text[: text.index("candidates:")] + CANDIDATES)
        (home / "data" / "shop").mkdir(parents=True)
        rows = orders(400)
        rows.loc[5, "amount"] = -1.0
        rows.to_parquet(home / "data" / "shop" / "history.parquet")
        yield folder


def tried(**asked: Any) -> Trial:
    return attempt("late_order", **asked)


def test_every_candidate_is_ranked_by_every_metric_and_the_winner_measured_on_rows_it_did_not_see() -> None:
    trial = tried()
    assert (trial.rows, trial.rejected) == (399, 1)
    assert list(trial.table["logistic"]) == ["average_precision", "roc_auc"]
    assert trial.board.best in ("logistic", "both")
    assert trial.table["logistic"]["roc_auc"] > 0.9
    assert "C" in next(row["error"] for row in trial.board.rows if row["candidate"] == "broken")
    assert trial.metrics["roc_auc"] > 0.9
    assert trial.evidence.cases is not None
    assert len(trial.evidence.cases) == 100
    assert next(iter(trial.evidence.importance)) == "amount"
    assert abs(trial.evidence.importance["noise"]) < 0.1 < trial.evidence.importance["amount"]
    assert ledger.entries() == [], "nothing is recorded"


def test_a_share_of_the_rows_is_the_same_one_every_time() -> None:
    first, second = tried(rows=200), tried(rows=200)
    assert first.rows == second.rows
    assert 150 < first.rows < 250
    assert first.metrics == second.metrics


def test_rows_of_a_named_file_are_what_it_is_measured_on_and_all_others_train(home: Path) -> None:
    judged = orders(60, first=1000)
    judged.to_csv(home / "judged.csv", index=False)
    trial = tried(holdout=home / "judged.csv")
    assert trial.rows == 459
    assert trial.evidence.cases is not None
    assert trial.evidence.cases["truth"].eq("late").sum() == judged["late"].sum()
    assert len(trial.evidence.cases) == 60


def test_what_cannot_be_tried_says_why(shop: Path, home: Path) -> None:
    bad = orders(400).assign(amount=-1.0)
    bad.to_parquet(home / "data" / "shop" / "history.parquet")
    with pytest.raises(ContractBroken, match=r"contract orders stops all 400 rows: .*amount_negative"):
        tried()
    with pytest.raises(BatonError, match="late_orders"):
        attempt("late_orders")


def test_a_search_finds_better_parameters_inside_the_validation() -> None:
    grid = GridSpec(candidates={"forest": {"max_depth": [1, 3], "n_estimators": {"low": 5, "high": 20}}}, trials=4)
    plain, searched = tried(), tried(grid=grid)
    params = searched.better["forest"]
    assert params["max_depth"] == 3
    assert 5 <= params["n_estimators"] <= 20
    assert searched.table["forest"]["average_precision"] > plain.table["forest"]["average_precision"]
    assert searched.better == tried(grid=grid).better, "the same seed finds the same"
    assert searched.table["logistic"] == plain.table["logistic"]


def test_a_grid_that_cannot_be_searched_says_why() -> None:
    with pytest.raises(SpecError, match=r"candidates\.forrest: .*did you mean `forest`"):
        tried(grid=GridSpec(candidates={"forrest": {"max_depth": [1]}}))
    with pytest.raises(SpecError, match=r"candidates\.both"):
        tried(grid=GridSpec(candidates={"both": {"max_depth": [1]}}))
    with pytest.raises(ModelError, match=r"candidates\.forest: none of 1 trials could be fitted"):
        tried(grid=GridSpec(candidates={"forest": {"max_depth": [-1]}}, trials=1))


def test_the_command_prints_a_leaderboard_and_writes_a_page(home: Path) -> None:
    (home / "grid.yaml").write_text("candidates:\n  forest: {max_depth: [3]}\ntrials: 1\n")
    done = CliRunner().invoke(
        app, ["try", "late_order", "--grid", str(home / "grid.yaml"), "--out", str(home / "page.html")]
    )
    assert done.exit_code == 0, done.output
    assert "logistic" in done.output
    assert "better parameters of forest: {n_estimators: 5, max_depth: 3}" in done.output
    text = (home / "page.html").read_text()
    ElementTree.fromstring(text.replace("<!doctype html>", "").replace('<meta charset="utf-8">', "").replace(
        '<meta name="color-scheme" content="light dark">', ""))  # well-formed  # fmt: skip
    for said in ("Confusion", "Calibration", "Risk against coverage", "Importance", "Better parameters", "logistic"):
        assert said in text
    assert "<script" not in text
    assert "http" not in text
    done = CliRunner().invoke(app, ["try", "late_order", "--json"])
    said = json.loads(done.output)
    assert (said["rows"], said["rejected"], said["page"]) == (399, 1, str(home / "reports/trials/late_order.html"))


def test_names_from_data_are_text_on_the_page() -> None:
    cases = pd.DataFrame({"truth": ["<b>", "x"], "said": ["<b>", "<b>"], "probability": [0.9, 0.6]})
    assert "<b>" not in trial_page.confusion(cases).replace("&lt;b&gt;", "")
    rows = pd.DataFrame({"series": "<i>s", "origin": [1, 1, 2, 2], "step": [1, 2, 1, 2], "label": ["a", "b", "b", "c"],
                         "time": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-02", "2026-01-03"]),
                         "y": [1.0, 2.0, 2.0, 3.0], "forecast": [1.5, 2.5, 2.0, 3.5], "low": [1.0, 2.1, 1.0, 3.0],
                         "high": [2.0, 3.0, 3.0, 4.0]})  # fmt: skip
    assert "Coverage: 75.0% of all truths" in trial_page.coverage(rows)
    (figure,) = trial_page.forecasts(rows)
    assert "&lt;i&gt;s: truth" in figure
    assert (figure.count('class="band"'), figure.count('class="said"')) == (1, 2)


def test_of_many_classes_the_most_frequent_mistakes_are_listed() -> None:
    truth = [f"t{n % 20}" for n in range(100)]
    said = [f"t{0 if n % 20 == 1 else n % 20}" for n in range(100)]
    drawn = trial_page.confusion(pd.DataFrame({"truth": truth, "said": said, "probability": 0.9}))
    assert "<th>t1</th><td>t0</td><td>5 of 5</td>" in drawn
    assert "among 20 classes; 5 of 100 rows are wrong" in drawn
