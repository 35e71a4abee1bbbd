"""`baton lint`: each kind of mistake, with its file, line, field and what is allowed."""

import shutil
from pathlib import Path

import pytest

from baton.authoring.lint import lint
from baton.authoring.schemas import export
from baton.contracts.expectations import known_expectations
from baton.errors import SpecError
from baton.packs.pack import read_pack

MODEL = """\
model: fraud
family: classification
owner: risk
description: says what is fraud
data:
  entity: id
  time: at
  target: label
  features: ["v*", amount]
  money: amount
training:
  contract: rows
  history: {source: rows}
candidates:
  - name: plain
    estimator: sklearn.linear_model.LogisticRegression
    params: {C: 1e-3}
scoring: {source: rows, contract: rows}
"""
CONTRACT = """\
contract: rows
version: 1
owner: risk
description: rows
key: id
columns:
  id: {type: int}
  at: {type: timestamp}
  v{1..3}: {type: float}
  amount: {type: float}
  name: {type: str}
  label: {type: int}
expectations:
  - type: expect_column_values_to_be_between
    kwargs: {column: amount, min_value: 0, max_value: 100}
    severity: warning
    meta: {rule: amount}
"""
MODEL_FILE, CONTRACT_FILE = "models/fraud.yaml", "contracts/rows.yaml"
SOURCES = """\
rows:
  kind: file
  description: rows
  path: "{landing}/rows/{partition}.*"
  history: "{pack}/history.csv"
"""


GOVERNANCE = "default: {owner: ann, deputy: bob, impact: low, intended_use: shop, review: 2030-01-01, consumers: []}\n"


@pytest.fixture
def pack(tmp_path):
    files = {"models/fraud.yaml": MODEL, "contracts/rows.yaml": CONTRACT, "sources.yaml": SOURCES}
    for name, text in {**files, "governance.yaml": GOVERNANCE}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "history.csv").write_text("id\n")
    return tmp_path


def change(pack, name, old, new):
    """Replaces text in one file, and returns what lint says about the pack."""
    text = (pack / name).read_text()
    assert old in text
    (pack / name).write_text(text.replace(old, new))
    return lint([pack])


def test_a_sound_pack_has_no_problem_and_loads(pack):
    assert lint([pack]) == []
    loaded = read_pack("test", pack)
    assert loaded.models["fraud"].features(loaded.contracts["rows"]) == ("v1", "v2", "v3", "amount")
    assert loaded.models["fraud"].candidates[0].params == {"C": 0.001}
    assert loaded.sources["rows"].folder == str(pack)


@pytest.mark.parametrize(
    ("name", "old", "new", "line", "field", "message", "allowed"),
    [
        (MODEL_FILE, "family: cl", "familly: cl", 2, "familly", "did you mean `family`?", "scoring"),
        (MODEL_FILE, "cation\n", "tion\n", 2, "family", "did you mean `classification`", "anomaly"),
        (MODEL_FILE, "owner: risk", "owner: no", 3, "owner", "put it in quotes", "text"),
        (MODEL_FILE, "owner: risk", "owner: a\nowner: b", 4, "owner", "given twice, first in line 3", ""),
        (MODEL_FILE, "owner: risk\n", "", 1, "owner", "is missing", "text"),
        (MODEL_FILE, "model: fraud", "model: theft", 1, "model", "in the file fraud.yaml", "fraud"),
        (MODEL_FILE, "time: at", "time: att", 7, "data.time", "did you mean `at`", "at"),
        (MODEL_FILE, "time: at", "time: amount", 7, "data.time", "`amount` is float", "timestamp"),
        (MODEL_FILE, '"v*"', '"w*"', 9, "data.features[0]", "matches no column", "v1, v2, v3"),
        (MODEL_FILE, "amount]", "at]", 9, "data.features[1]", "`at` is timestamp", "int or float or bool or str"),
        (MODEL_FILE, "amount]", "label]", 9, "data.features[1]", "is the target itself", ""),
        (MODEL_FILE, "contract: rows\n", "contract: row\n", 12, "training.contract", "`rows`?", "rows"),
        (MODEL_FILE, "{source: rows}", "{source: ro}", 13, "training.history.source", "no source", "rows"),
        (MODEL_FILE, "linear_model.Log", "linear.Log", 16, "candidates[0].estimator", "did you mean "
         "`sklearn.linear_model.LogisticRegression`", "lightgbm.LGBMClassifier"),
        (MODEL_FILE, "C: 1e-3", "c: 1", 17, "candidates[0].params.c", "no argument `c`", "max_iter"),
        (MODEL_FILE, "C: 1e-3", "C: -1", 17, "candidates[0].params.C", "C of LogisticRegression cannot be -1", "> 0"),
        (MODEL_FILE, "contract: rows}", "contract: old}", 18, "scoring.contract", "no contract", "rows"),
        (CONTRACT_FILE, "severity: warning", "severity: warn", 16, "expectations[0].severity",
         "did you mean `warning`", "critical, warning, info"),
        (CONTRACT_FILE, "to_be_between", "to_be_betwen", 14, "expectations[0].type",
         "did you mean `expect_column_values_to_be_between`", ""),
        (CONTRACT_FILE, "column: amount", "column: amonut", 15, "expectations[0].kwargs.column",
         "did you mean `amount`", "v1"),
        (CONTRACT_FILE, "min_value", "mini", 15, "expectations[0].kwargs.mini", "no argument", "min_value"),
        (CONTRACT_FILE, "column: amount, ", "", 15, "expectations[0].kwargs", "needs `column`", ""),
        (CONTRACT_FILE, "min_value: 0", "min_value: 200", 15, "expectations[0].kwargs.min_value",
         "above max_value", ""),
        (CONTRACT_FILE, "max_value: 100", "max_value: '{ende}'", 15, "expectations[0].kwargs.max_value",
         "`{ende}` is no placeholder, did you mean `{end}`?", "{start}"),
        (CONTRACT_FILE, "key: id", "key: [id, nr]", 5, "key", "`nr` is not among the columns", ""),
        (CONTRACT_FILE, "key: id", "key: []", 5, "key", "at least 1 item", "a list"),
        (CONTRACT_FILE, "key: id", "key: nr", 5, "key", "not among the columns", ""),
        (CONTRACT_FILE, "tamp}", "tamps}", 8, "columns.at.type", "did you mean `timestamp`", "timestamp"),
        (CONTRACT_FILE, "columns:", "columns: [", 8, "", "not YAML", ""),
        ("sources.yaml", "kind: file", "kind: fil", 2, "rows.kind", "did you mean `file`", "sql"),
        ("sources.yaml", "{partition}", "all", 4, "rows.path", "names no partition", "{partition}"),
        ("sources.yaml", '  history: "{pack}/history.csv"\n', "", 13, "training.history.source",
         "no `history`", ""),
    ],
)  # fmt: skip
def test_each_mistake_is_shown_where_it_is(pack, name, old, new, line, field, message, allowed):
    problems = change(pack, name, old, new)
    expected = "models/fraud.yaml" if field.startswith("training") else name
    place = (str(pack / expected), line, field)
    at_place = [p for p in problems if (p.file, p.line, p.field) == place]
    assert at_place, "\n".join(map(str, problems))
    assert len(problems) <= 2  # a misspelt field is also a missing one; the target as a feature may be no number
    assert message in at_place[0].message
    assert allowed in at_place[0].allowed
    assert str(at_place[0]).startswith(f"{pack / expected}:{line}: {field}")


@pytest.mark.parametrize(
    ("candidate", "field", "message", "allowed"),
    [
        ("lightgbm.LGBMClassifier, params: {num_leafs: 15}", "params.num_leafs", "did you mean `num_leaves`", "max_depth"),
        ("lightgbm.LGBMClassifier, params: {num_leaves: 1}", "params.num_leaves", "cannot be 1", ">= 2"),
        ("sklearn.ensemble.RandomForestClassifier, params: {criterion: entropi}", "params.criterion",
         "cannot be 'entropi'", "entropy, gini"),
        ("sklearn.ensemble.ExtraTreesClassifier, params: {max_features: 0}", "params.max_features", "cannot be 0",
         "a fraction > 0 and <= 1"),
        ("sklearn.ensemble.HistGradientBoostingClassifier, params: {max_iter: 0.5}", "params.max_iter",
         "cannot be 0.5", "a whole number >= 1"),
    ],
)  # fmt: skip
def test_what_an_estimator_would_refuse_is_a_mistake(pack, candidate, field, message, allowed):
    (problem,) = change(
        pack, MODEL_FILE, "sklearn.linear_model.LogisticRegression\n    params: {C: 1e-3}",
        candidate.replace(", params", "\n    params"),
    )  # fmt: skip
    assert problem.field == f"candidates[0].{field}"
    assert message in problem.message
    assert allowed in problem.allowed


FORECAST = """\
model: fraud
family: forecast
owner: risk
description: says how much is sold
data: {entity: id, time: at, target: amount, frequency: D}
horizon: 2
training:
  contract: rows
  history: {source: rows}
candidates:
  - {name: one, estimator: statsforecast.models.SeasonalNaive}
"""


@pytest.mark.parametrize(
    ("line", "field", "message", "allowed"),
    [
        ("AutoETS, params: {model: ZZZ, seson_length: 7}", "params.seson_length", "did you mean `season_length`", ""),
        ("AutoARIMA, params: {max_p: two}", "params.max_p", "cannot be 'two'", "a whole number"),
        ("TSB, params: {alpha_d: 0.1}", "params", "TSB needs `alpha_p`", ""),
        ("MSTL, params: {trend_forecaster: AutoEST}", "params.trend_forecaster", "did you mean", "AutoETS"),
        ("MSTL, params: {trend_forecaster: {estimator: AutoETS, params: {modl: ZZN}}}", "params.trend_forecaster.modl",
         "did you mean `model`", "damped"),
        ("LGBMRegressor, features: {lags: [1], calendar: [weekday]}", "features.calendar[0]", "`weekday` is not allowed",
         "dayofweek"),
        ("LGBMRegressor, features: {lags: [1]}, params: {num_leafs: 3}", "params.num_leafs", "`num_leaves`", ""),
    ],
)  # fmt: skip
def test_what_a_forecaster_would_refuse_is_a_mistake(pack, line, field, message, allowed):
    (pack / MODEL_FILE).write_text(FORECAST)
    assert lint([pack]) == []
    home = "lightgbm" if line.startswith("LGBM") else "statsforecast.models"
    (problem,) = change(pack, MODEL_FILE, "statsforecast.models.SeasonalNaive", f"{home}.{line}")
    assert problem.field == f"candidates[0].{field}"
    assert message in problem.message
    assert allowed in problem.allowed


def test_a_key_may_be_several_columns(pack):
    assert change(pack, CONTRACT_FILE, "key: id", "key: [name, at]") == []
    assert read_pack("test", pack).contracts["rows"].key == ("name", "at")


def test_a_file_that_nobody_reads_is_a_mistake(pack):
    (pack / "models" / "other.yml").write_text("model: other\n")
    assert ["is read by nobody" in problem.message for problem in lint([pack])] == [True]


def test_one_file_is_checked_with_its_pack_and_reported_alone(pack):
    change(pack, MODEL_FILE, "time: at", "time: nowhere")
    (pack / "contracts" / "bad.yaml").write_text("contract: bad\n")
    assert {Path(p.file).name for p in lint([pack / "models" / "fraud.yaml"])} == {"fraud.yaml"}


def test_a_name_is_taken_once_over_all_packs(pack, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "pack"
    shutil.copytree(pack, other)
    assert [p.field for p in lint([pack, other])] == ["model"]


def test_places_that_are_no_pack_are_refused(tmp_path):
    with pytest.raises(SpecError, match="does not exist"):
        lint([tmp_path / "nowhere"])
    with pytest.raises(SpecError, match="no part of a pack"):
        lint([tmp_path])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("a: &x [*x]", "refer to each other"),
        ("a: {<<: {b: 1}}", "merge keys"),
        ("? [a, b]\n: 1", "plain word"),
        ("- a", "a block of fields"),
        ("a: !!python/object:os.system x", "not YAML"),
    ],
)
def test_odd_yaml_is_explained_not_raised(pack, text, said):
    (pack / "contracts" / "rows.yaml").write_text(text)
    assert any(said in str(problem) for problem in lint([pack]))


def test_loading_a_broken_pack_lists_every_mistake(pack):
    change(pack, MODEL_FILE, "owner: risk", "ownr: risk")
    change(pack, CONTRACT_FILE, "version: 1", "version: one")
    with pytest.raises(SpecError) as caught:
        read_pack("test", pack)
    assert all(word in str(caught.value) for word in ("ownr", "fraud.yaml:3", "version", "rows.yaml:2"))


def test_the_names_of_expectations_are_those_of_gx():
    import great_expectations.expectations.core as core
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    assert core is not None
    assert set(known_expectations()) <= set(list_registered_expectation_implementations())


def test_the_installed_packs_have_no_mistake():
    assert [str(problem) for problem in lint()] == []


def test_schemas_for_editors_are_written(tmp_path):
    import json

    written = export(tmp_path / "schemas")
    assert [path.name for path in written] == [
        f"{kind}.schema.json"
        for kind in ("model", "contract", "sources", "tools", "retention", "actions", "budgets", "governance")
    ]
    types = json.loads(written[1].read_text())["$defs"]["ExpectationSpec"]["properties"]["type"]["enum"]
    assert "expect_column_values_to_be_between" in types
