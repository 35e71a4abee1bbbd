"""`baton lint` of flows: what a DAG file names must be in its pack, and a partition as long as its source's."""

import shutil
from pathlib import Path

import pytest

from baton.authoring.flow_files import read_flows
from baton.authoring.lint import lint
from baton.packs.pack import find_pack
from baton.settings import settings

DAGS = Path(__file__).parents[3] / "dags"
CONTRACT = """\
contract: {name}
version: 1
owner: shop
description: rows
key: id
columns:
  id: {{type: int}}
  at: {{type: timestamp}}
  amount: {{type: float}}
  label: {{type: int}}
"""
MODEL = """\
model: {name}
family: classification
owner: shop
description: says what comes back
data: {{entity: id, time: at, target: label, features: [amount]}}
training:
  contract: rows
  recent: {{flow: orders, stage: contract}}
candidates:
  - {{name: plain, estimator: sklearn.linear_model.LogisticRegression}}
"""
SOURCES = """\
rows: {kind: file, description: rows, path: "{landing}/{partition}.csv", step: 1d}
plan: {kind: file, description: plan, path: "{landing}/p-{partition}.csv", step: 1d}
"""
FLOW = """\
from baton.airflow.flows import Flow

NAMES = ("returned", "late")
with Flow("orders", pack="shop", cron="0 0 * * *", models=NAMES, owner="shop", step="1d", doc_md=None) as flow:
    first = flow.ingest("rows")
    rows = flow.contract(first, "rows")
    plan = flow.contract(flow.ingest("plan", also=first), "rows")
    scores = {name: flow.score(rows, name) for name in NAMES}
    done = flow.stage("decide", "baton.steps.earlier:rows", {"stage": "contract", "columns": ["id"]}, after=rows)
    flow.publish(done, scores, case_routes=["review"])
    flow.publish_labels(rows, about="orders", entity="id", labels=["label"], origin="shop")
    flow.look_up("places", "postcodes", rows, "id")
"""
TOOLS = """\
postcodes: {description: where it is, conn_id: post, path: "codes/{value}", answer: {town: text}}
"""

GOVERNANCE = (
    "default: {owner: ann, deputy: bob, impact: low, intended_use: shop, review: 2030-01-01, consumers: [orders]}\n"
)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A pack and a flow of it, in a project of their own."""
    pack = tmp_path / "shop"
    for folder in (pack / "models", pack / "contracts", tmp_path / "dags"):
        folder.mkdir(parents=True)
    for name in ("returned", "late"):
        (pack / "models" / f"{name}.yaml").write_text(MODEL.format(name=name))
    for name in ("rows", "scores", "decisions"):
        (pack / "contracts" / f"{name}.yaml").write_text(CONTRACT.format(name=name))
    (pack / "sources.yaml").write_text(SOURCES)
    (pack / "tools.yaml").write_text(TOOLS)
    (pack / "governance.yaml").write_text(GOVERNANCE)
    (tmp_path / "dags" / "orders.py").write_text(FLOW)
    monkeypatch.setenv("BATON_PROJECT", str(tmp_path))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def test_a_sound_flow_has_no_mistake_by_any_way_to_name_it(shop):
    for named in (shop / "shop", shop / "dags", shop / "dags" / "orders.py"):
        found = lint([shop / "shop", named])
        assert found == [], named


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "message", "allowed"),
    [
        ('("returned", "late")', '("returned", "lat")', 4, "models", "no model `lat`, did you mean `late`?", "late"),
        ("models=NAMES", 'models=["late"]', 8, "model", "`returned` is scored with, but is not", "'late', 'returned'"),
        ('step="1d"', 'step="1h"', 4, "step", "1h long, one of source `plan` 1d", 'step="1d"'),
        ('step="1d"', 'step="day"', 4, "step", "should be a number with a unit", ""),
        (', step="1d"', "", 4, "step", "1h long", 'step="1d"'),
        ('ingest("rows")', 'ingest("row")', 5, "source", "no source `row`, did you mean `rows`?", "plan, rows"),
        ('(first, "rows")', '(first, "raws")', 6, "contract", "no contract `raws`", "rows"),
        ("score(rows, name)", 'score(rows, name, "text_scores")', 8, "output_contract", "no contract `text_scores`", "scores"),
        ("earlier:rows", "earlier:row", 9, "step", "module baton.steps.earlier has no 'row', did you mean `rows`", ""),
        ("steps.earlier:rows", "stepz:rows", 9, "step", "there is no module baton.stepz", ""),
        ('"columns"', '"colums"', 9, "step", "no option `colums`, did you mean `columns`", ""),
        ('["review"])', '["review"], contract="decision")', 10, "contract", "no contract `decision`", "decisions"),
        ('"postcodes"', '"postcode"', 12, "tool", "no tool `postcode`, did you mean `postcodes`?", "postcodes"),
        ("score(rows, name)", 'score(rows, name, fallback="baton.steps.earlier:row")', 8, "fallback", "has no 'row'", ""),
        ('about="orders"', 'about="order"', 11, "about", "no flow `order`, did you mean `orders`", "orders"),
    ],
)  # fmt: skip
def test_each_mistake_of_a_flow_is_shown_where_it_is(shop, old, new, line, field, message, allowed):
    file = shop / "dags" / "orders.py"
    assert old in FLOW
    file.write_text(FLOW.replace(old, new))
    problems = [problem for problem in lint([shop / "shop"]) if problem.file == str(file)]
    assert (problems[0].line, problems[0].field) == (line, field), problems
    assert message in problems[0].message
    assert allowed in problems[0].allowed


def test_the_contract_of_scores_takes_what_a_fallback_gives(shop):
    (shop / "dags" / "orders.py").write_text(
        FLOW.replace("score(rows, name)", 'score(rows, name, fallback="baton.steps.ladder:by_rules")')
    )
    contract = shop / "shop" / "contracts" / "scores.yaml"
    rule = "{column: version, min_value: 1}, severity: critical, meta: {rule: version_unknown}}"
    contract.write_text(
        contract.read_text() + "  version: {type: int}\n"
        f"expectations:\n  - {{type: expect_column_values_to_be_between, kwargs: {rule}\n"
    )
    said = [one.message for one in lint([shop / "shop"])]
    assert any("`version_unknown` of contract scores refuses version 0" in one for one in said), said
    contract.write_text(contract.read_text().replace("min_value: 1", "min_value: 0"))
    assert not [one for one in lint([shop / "shop"]) if "refuses version 0" in one.message]


@pytest.mark.parametrize(
    ("old", "new", "field", "message"),
    [
        ("flow: orders", "flow: order", "training.recent.flow", "no flow `order`, did you mean `orders`?"),
        ("stage: contract", "stage: contrakt", "training.recent.stage", "no stage of flow orders is called `contrakt`"),
    ],
)
def test_the_flow_that_a_model_learns_from_is_there(shop, old, new, field, message):
    (shop / "shop" / "models" / "late.yaml").write_text(MODEL.format(name="late").replace(old, new))
    (problem,) = lint([shop / "shop"])
    assert problem.field == field
    assert message in problem.message


def test_a_flow_of_a_pack_that_is_not_installed_is_named_when_all_are_checked(shop):
    (problem,) = [one for one in lint() if one.field == "pack"]
    assert "no pack `shop` is installed" in problem.message


def test_a_history_that_is_not_there_is_a_note_with_what_lies_beside_it(shop):
    sources = shop / "shop" / "sources.yaml"
    sources.write_text(SOURCES.replace("step: 1d}", 'step: 1d, history: "{pack}/history.csv"}', 1))
    model = shop / "shop" / "models" / "late.yaml"
    model.write_text(MODEL.format(name="late").replace("training:", "training:\n  history: {source: rows}"))
    (shop / "shop" / "histroy.csv").write_text("id\n")
    (problem,) = lint([shop / "shop"])
    assert problem.note
    assert str(problem).startswith(f"{sources}:1: note: rows.history: there is no {shop}/shop/history.csv")
    assert "did you mean `histroy.csv`?" in problem.message


def test_a_pack_may_be_named_by_the_folder_of_its_project(shop):
    project = shop / "project"
    shutil.move(shop / "shop", project / "baton_shop")
    assert find_pack(project) == ("shop", project / "baton_shop")
    assert lint([project]) == []


def test_the_shipped_flows_are_read_whole():
    flows = {flow.flow: flow for path in sorted(DAGS.glob("*.py")) for flow in read_flows(path)}
    assert len(flows) == 10
    assert flows["replenishment"].stages() >= {"ingest__plan", "contract__stock", "simulate", "score__demand", "send"}
    assert "score__transaction_anomaly" in flows["transaction_monitoring"].stages()
    assert {"earlier__extract", "review", "letters"} <= flows["document_intake"].stages()


def test_a_budget_of_a_flow_that_is_none_would_limit_nothing(shop):
    file = shop / "shop" / "budgets.yaml"
    file.write_text("a_day: {flow: order, period: day, unit: calls, limit: 9}\n")
    (problem,) = lint([shop / "shop"])
    assert (problem.file, problem.line, problem.field) == (str(file), 1, "a_day.flow")
    assert "did you mean `orders`" in problem.message
    file.write_text("a_day: {flow: orders, period: day, unit: calls, limit: 9}\n")
    assert lint([shop / "shop"]) == []
