"""The YAML models: strictness, durations, globs, ranges, what fits together."""

import json
import subprocess
import sys
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from baton.specs.base import format_duration, parse_duration
from baton.specs.contract import ContractSpec, expand_range
from baton.specs.kinds import KINDS, json_schema
from baton.specs.model import ESTIMATORS
from baton.specs.source import SourcesSpec
from baton.specs.tabular import TabularSpec


def model(**changes):
    values = {
        "model": "card_fraud",
        "family": "classification",
        "owner": "risk",
        "description": "says what is fraud",
        "data": {"entity": "id", "time": "at", "target": "is_fraud", "features": ["v*", "amount"], "money": "amount"},
        "training": {"contract": "rows", "history": {"source": "rows"}},
        "candidates": [{"name": "plain", "estimator": "sklearn.linear_model.LogisticRegression"}],
    }
    return values | changes


def contract(**changes):
    values = {
        "contract": "rows",
        "version": 1,
        "owner": "risk",
        "description": "rows",
        "key": "id",
        "columns": {"id": {"type": "int"}, "at": {"type": "timestamp"}, "v{1..3}": {"type": "float"},
                    "amount": {"type": "float"}, "is_fraud": {"type": "int"}},
    }  # fmt: skip
    return values | changes


def refused(kind, values):
    with pytest.raises(ValidationError) as caught:
        KINDS[kind].model_validate(values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("24h", 86400), ("7d", 604800), ("1d12h", 129600), ("2w", 1209600)]
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "24", "24 h", "h", "-1h", "0h", "1.5h", "PT24H", 24, None])
def test_other_durations_are_refused(text):
    with pytest.raises(ValueError):
        parse_duration(text)


@given(st.integers(min_value=1, max_value=10**8))
def test_a_duration_survives_writing_and_reading(seconds):
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


def test_a_spec_survives_its_own_dump():
    values = model(drift={"performance": {}}, schedules={"train": "@weekly"}, gate={"slices": [
        {"name": "small", "column": "amount", "bins": [0, 10, 100.5]}]})  # fmt: skip
    spec = TabularSpec.model_validate(values)
    again = TabularSpec.model_validate(json.loads(json.dumps(spec.model_dump(mode="json"))))
    assert again == spec
    assert spec.approval.timeout == timedelta(hours=24)
    assert spec.drift.budget.per == timedelta(days=7)


def test_a_spec_cannot_be_changed():
    with pytest.raises(ValidationError):
        TabularSpec.model_validate(model()).owner = "somebody"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"familly": "anomaly"}, "familly"),
        ({"family": "regression"}, "family"),
        ({"model": "Card-Fraud"}, "model"),
        ({"candidates": []}, "candidates"),
        ({"candidates": [{"name": "a", "estimator": "os.system"}]}, "allow-list"),
        ({"candidates": [{"name": "a"}]}, "exactly one"),
        ({"candidates": [{"name": "a", "ensemble": ["b", "c"]}]}, "no earlier candidate"),
        ({"candidates": [{"name": "a", "estimator": "sklearn.ensemble.IsolationForest"}]}, "belongs to the family"),
        ({"training": {"contract": "rows"}}, "nothing to train on"),
        ({"training": {"contract": "rows", "history": {"source": "rows"}, "seed": "7"}}, "seed"),
        ({"training": {"contract": "rows", "history": {"source": "rows"}, "seed": True}}, "seed"),
        ({"schedules": {"train": "61 * * * *"}}, "cron"),
        ({"drift": {"persistence": {"k": 3, "n": 2}}}, "at most n"),
        ({"gate": {"slices": [{"name": "a", "column": "amount", "bins": [2, 1]}]}}, "rise"),
        ({"data": {"entity": "id", "time": "at", "features": ["amount"]}}, "needs a label"),
    ],
)
def test_what_does_not_fit_is_refused(changes, said):
    assert said in refused("model", model(**changes))


def test_globs_take_the_contract_s_columns_but_never_the_label():
    spec = TabularSpec.model_validate(
        model(data={"entity": "id", "time": "at", "target": "is_fraud", "features": ["*"]})
    )
    assert spec.features(ContractSpec.model_validate(contract())) == ("v1", "v2", "v3", "amount")
    nothing = TabularSpec.model_validate(model(data={**model()["data"], "features": ["w*"]}))
    with pytest.raises(ValueError, match="matches no column"):
        nothing.features(ContractSpec.model_validate(contract()))


def test_ranges_of_columns_are_written_out():
    assert list(ContractSpec.model_validate(contract()).columns) == ["id", "at", "v1", "v2", "v3", "amount", "is_fraud"]
    assert expand_range("v{9..11}_x") == ["v9_x", "v10_x", "v11_x"]
    with pytest.raises(ValueError, match="upwards"):
        expand_range("v{3..1}")
    twice = {"id": {"type": "int"}, "v{1..2}": {"type": "int"}, "v2": {"type": "int"}}
    assert "described twice" in refused("contract", contract(columns=twice))


def test_a_list_of_places_is_text():
    spans = {"id": {"type": "int"}, "fields": {"type": "str", "spans": "text"}}
    assert ContractSpec.model_validate(contract(columns=spans)).columns["fields"].spans == "text"
    assert "the column's type is str" in refused(
        "contract", contract(columns={**spans, "fields": {"type": "int", "spans": "text"}})
    )


def test_a_contract_s_key_is_one_of_its_columns():
    assert "not among the columns" in refused("contract", contract(key="nr"))


def test_rules_have_names_of_their_own():
    rule = {"type": "expect_column_to_exist", "kwargs": {"column": "id"}, "severity": "info", "meta": {"rule": "a"}}
    assert "share the rule name" in refused("contract", contract(expectations=[rule, rule]))


def test_a_source_knows_its_name_and_step():
    values = {"rows": {"kind": "file", "description": "rows", "path": "{landing}/rows/{partition}.*", "step": "1d"}}
    source = SourcesSpec.model_validate(values).root["rows"]
    assert (source.name, source.step_text) == ("rows", "1d")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"kind": "ftp"}, "ftp"),
        ({"kind": "file", "path": "{landing}/{foo}.csv"}, "no placeholder"),
        ({"kind": "file", "path": "rows/{partition}.csv"}, "should start with"),
        ({"kind": "file", "path": "{landing}/x", "history": "{data}/{partition}.csv"}, "no placeholder"),
        ({"kind": "file", "path": "{data}/x", "replay": {"path": "{data}/{slot}", "period": "90m"}}, "whole number"),
        ({"kind": "sql", "conn_id": "db", "query": "delete from t"}, "exactly one SELECT"),
        ({"kind": "sql", "conn_id": "db", "query": "select 1 where :start < :end; drop table t"}, "exactly one SELECT"),
        ({"kind": "sql", "conn_id": "db", "query": "select * from t where at > :start"}, ":end"),
        ({"kind": "http", "conn_id": "api", "endpoint": "rows", "paging": {"by": "cursor"}}, "dotted path"),
    ],
)
def test_sources_that_cannot_work_are_refused(source, said):
    assert said in refused("sources", {"rows": {"description": "rows", **source}})


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_field_is_described_in_the_json_schema(kind):
    schema = json_schema(kind)
    nodes = [schema, *schema["$defs"].values()]
    bare = [(node.get("title"), name) for node in nodes for name, field in node.get("properties", {}).items()
            if "description" not in field and "const" not in field]  # fmt: skip
    assert bare == []


def test_the_allow_list_names_classes_that_exist():
    from importlib import import_module

    for path in ESTIMATORS:
        module, _, name = path.rpartition(".")
        assert isinstance(getattr(import_module(module), name), type)


@pytest.mark.parametrize(
    ("candidate", "families"),
    [
        ("CandidateSpec", {"classification", "anomaly"}),
        ("TextCandidateSpec", {"text"}),
        ("ForecasterSpec", {"forecast"}),
    ],
)
def test_an_editor_offers_the_estimators_of_the_family(candidate, families):
    field = json_schema("model")["$defs"][candidate]["properties"]["estimator"]
    assert field["enum"] == [*(path for path, known in ESTIMATORS.items() if families & set(known)), None]


def test_importing_specs_and_packs_stays_light():
    heavy = {"pandas", "numpy", "pyarrow", "mlflow", "sklearn", "great_expectations", "lightgbm", "airflow"}
    modules = "baton.specs.kinds, baton.packs.pack, baton.authoring.lint, baton.sources.reading, baton.data.partitions, baton.sources.paging"
    code = f"import sys, {modules}; found = {heavy!r} & set(sys.modules); sys.exit(str(found) if found else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
