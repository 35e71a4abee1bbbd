"""`baton new`: what it writes passes lint, loads, and says in its comments what each field is for."""

import re
import subprocess
import sys
import typing

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from baton.authoring.column_types import column_types, in_ranges
from baton.authoring.lint import lint
from baton.authoring.new_model import NewModel, new_model
from baton.authoring.new_pack import new_pack
from baton.cli.app import app
from baton.errors import SourceError, SpecError
from baton.packs.pack import read_pack
from baton.settings import settings
from baton.specs.base import Spec
from baton.specs.contract import ContractSpec, expand_range
from baton.specs.tabular import TabularSpec


@pytest.fixture
def pack(tmp_path, monkeypatch):
    """A new pack with twelve rows of history as CSV text."""
    monkeypatch.setenv("BATON_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    new_pack("rainfall", tmp_path)
    history = tmp_path / "home" / "data" / "rainfall" / "history.csv"
    history.parent.mkdir(parents=True)
    lines = ["day_id,at,place,s1,s2,s3,s4,s5,s6,s7,s8,gust,rain"]
    lines += [f"{n},2026-01-{n:02d},north,{','.join(['0.5'] * 8)},{'' if n == 3 else n},{n % 2}" for n in range(1, 13)]
    history.write_text("\n".join(lines) + "\n")
    yield tmp_path / "rainfall" / "baton_rainfall"
    settings.cache_clear()


LISTS = ("candidates", "expectations")  # what stands in them is told by no comment


def asked(pack, **changes):
    values = {"name": "rain", "pack": pack, "family": "classification", "source": "rows", "target": "rain"}
    return NewModel(**{**values, **changes})


def test_a_new_model_passes_lint_and_loads(pack):
    written = new_model(asked(pack))
    assert sorted(path.name for path in written) == [
        "governance.yaml",
        "rain.yaml",
        "rain_rows.yaml",
        "rain_training.yaml",
    ]
    assert lint([pack]) == []
    loaded = read_pack("rainfall", pack)
    model, contract = loaded.models["rain"], loaded.contracts["rain_training"]
    assert (model.data.entity, model.data.time, model.scoring.contract) == ("day_id", "at", "rain_rows")
    assert model.data.features == ("s*", "gust")
    assert contract.columns["gust"].nullable
    assert contract.columns["rain"].type == "int"
    assert "rain" not in loaded.contracts["rain_rows"].columns
    assert model.schedules.score == "0 * * * *"


def test_the_file_explains_itself(pack):
    text = new_model(asked(pack, money="gust"))[0].read_text()
    assert "features: [s*, gust]" in text
    assert "# holdout: 0.25  # share of the history kept back, the most recent by time" in text
    assert "missed: gust" in text
    assert max(len(line) for line in text.splitlines()) <= 120


def fields(model, text):
    """Every field's name and description, also of the models that the text writes out."""
    for name, info in model.model_fields.items():
        yield name, info.description
        for kind in (info.annotation, *typing.get_args(info.annotation)):
            if isinstance(kind, type) and issubclass(kind, Spec) and f"{name}:  #" in text and name not in LISTS:
                yield from fields(kind, text)


@pytest.mark.parametrize("changes", [{"money": "gust"}, {"family": "anomaly", "scoring": False}])
def test_its_comments_are_what_the_specs_say_and_what_holds_without_them(pack, changes):
    files = new_model(asked(pack, **changes))
    for file, model in zip(files, (TabularSpec, ContractSpec), strict=False):
        text = file.read_text()
        told = " ".join(line.lstrip(" #") for line in text.splitlines())
        for name, said in fields(model, text):
            assert said in told, name
        plain = model.model_validate(yaml.safe_load(text))
        uncommented = re.sub(r"^( *)# (?=\w+: )", r"\1", text, flags=re.M)
        assert uncommented != text or model is ContractSpec
        assert model.model_validate(yaml.safe_load(uncommented)) == plain


@pytest.mark.parametrize(
    ("positives", "family", "floor"), [(6, "classification", 0.5), (1, "classification", 0.17), (1, "anomaly", 0.0)]
)
def test_the_first_version_must_do_a_little_better_than_chance(pack, tmp_path, positives, family, floor):
    history = tmp_path / "home" / "data" / "rainfall" / "history.csv"
    head, *rows = history.read_text().splitlines()
    rows = [f"{row.rpartition(',')[0]},{int(n < positives)}" for n, row in enumerate(rows)]
    history.write_text("\n".join([head, *rows]) + "\n")
    new_model(asked(pack, family=family))
    assert read_pack("rainfall", pack).models["rain"].gate.floor == floor


def test_an_anomaly_model_for_a_flow_has_no_scoring_of_its_own(pack):
    written = new_model(asked(pack, name="odd", family="anomaly", scoring=False))
    assert sorted(path.name for path in written) == [
        "governance.yaml",
        "odd.yaml",
        "odd_rows.yaml",
        "odd_training.yaml",
    ]
    assert read_pack("rainfall", pack).models["odd"].scoring is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Rain"}, "lower case"),
        ({"family": "clasification"}, "did you mean `classification`"),
        ({"source": "row"}, "did you mean `rows`"),
        ({"target": "rian"}, "did you mean `rain`"),
        ({"target": None}, "needs --target"),
        ({"family": "anomaly", "target": None}, "needs --target, the 0/1 label column that its gate judges by"),
        ({"entity": "nr"}, "--entity nr: no such column"),
        ({"time": "place"}, "does not pass lint"),
        ({"money": "place"}, "does not pass lint"),
        ({"owner": ""}, "does not pass lint"),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_nothing(pack, changes, said):
    with pytest.raises(SpecError, match=said):
        new_model(asked(pack, **changes))
    assert list((pack / "models").iterdir()) == list((pack / "contracts").iterdir()) == []


def history(pack, lines):
    (pack.parents[1] / "home" / "data" / "rainfall" / "history.csv").write_text("\n".join(lines) + "\n")


def test_identifiers_are_no_features_and_the_one_column_that_is_unique_is_the_key(pack):
    lines = [f"{n},{n % 3 + 7},{n % 2},{n * 10},{n % 5},2026-01-{n:02d},{n % 2}" for n in range(1, 13)]
    history(pack, ["line,customer_id,flag,ticket,gust,at,rain", *(line.replace(f"{120},", "110,") for line in lines)])
    text = new_model(asked(pack))[0].read_text()
    assert "  entity: line" in text
    assert "  # no features, they only name something: customer_id\n  features: [flag, ticket, gust]" in text


def test_a_text_model_is_written_from_its_rows(pack):
    history(
        pack,
        ["id,at,who,words,topic", *(f"{n},2026-01-{n:02d},ann,I lost my card no {n},t{n % 2}" for n in range(1, 9))],
    )
    new_model(asked(pack, family="text", target="topic"))
    model, contract = (read_pack("r", pack).models["rain"], read_pack("r", pack).contracts["rain_rows"])
    assert (model.data.entity, model.data.text, model.data.target) == ("id", ("words",), "topic")
    assert model.needed_files == ()
    assert "topic" not in contract.columns
    assert [p for p in lint([pack]) if not p.note] == []


@pytest.mark.parametrize(
    ("days", "frequency", "horizon"), [(1, "D", 5), (7, "W-THU", 5), (1 / 24, "h", 5)]
)  # 40 periods of two series
def test_a_forecast_model_is_written_from_its_rows(pack, days, frequency, horizon):
    start = pd.Timestamp("2026-01-01", tz="UTC")
    times = [(start + pd.Timedelta(days=days * n)).isoformat() for n in range(40)]
    history(pack, ["shop,at,units", *(f"{shop},{at},{n % 7}" for shop in ("a", "b") for n, at in enumerate(times))])
    new_model(asked(pack, family="forecast", target="units"))
    loaded = read_pack("r", pack)
    model, contract = loaded.models["rain"], loaded.contracts["rain_rows"]
    assert (model.data.entity, model.data.frequency, model.horizon) == ("shop", frequency, horizon)
    assert (contract.key, "units" in contract.columns) == (("shop", "at"), True)
    assert model.training.recent.flow == "rain_score"
    assert model.validation.origins == 10  # of two series: the gate wants twenty pairs


def test_the_rows_of_a_partition_keep_to_its_time(pack):
    new_model(asked(pack))
    rules = {name: [r.meta.rule for r in c.expectations] for name, c in read_pack("r", pack).contracts.items()}
    assert "other_partition" in rules["rain_rows"]
    assert "other_partition" not in rules["rain_training"]


def test_nothing_is_overwritten(pack):
    new_model(asked(pack))
    with pytest.raises(SpecError, match="already"):
        new_model(asked(pack))


def test_a_source_without_rows_says_where_to_put_them(pack, tmp_path):
    (tmp_path / "home" / "data" / "rainfall" / "history.csv").unlink()
    with pytest.raises(SourceError, match="no rows yet"):
        new_model(asked(pack))


def test_an_installed_pack_goes_before_a_folder_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "financial_crime").mkdir()  # as `baton new pack` leaves one where it was called
    monkeypatch.chdir(tmp_path)
    asked = ["new", "model", "x", "--pack", "financial_crime", "--source", "nothing", "--target", "is_fraud"]
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 1
    assert "no source `nothing` There are: transactions, labels." in said.stderr


def test_a_new_pack_is_a_package_that_can_be_installed(tmp_path):
    written = new_pack("demand", tmp_path)
    assert lint([tmp_path / "demand" / "baton_demand"]) == []
    assert all("{{" not in path.read_text() for path in written)
    entry = "p['project']['entry-points']['baton.packs'] == {'demand': 'baton_demand'}"
    code = f"import tomllib, baton_demand; p = tomllib.load(open('pyproject.toml', 'rb')); assert {entry}"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "demand", check=True)
    with pytest.raises(SpecError, match="exists already"):
        new_pack("demand", tmp_path)
    with pytest.raises(SpecError, match="lower case"):
        new_pack("De-mand", tmp_path)
    with pytest.raises(SpecError, match="installed already"):
        new_pack("financial_crime", tmp_path)


def test_types_are_told_from_cells():
    frame = pd.DataFrame({
        "a": ["1", " 2 ", None], "b": ["1.5", "2", "1e3"], "c": ["true", "FALSE", "true"],
        "d": ["2026-01-01T10:00:00Z", "2026-01-02", ""], "e": ["x", "1", "2"], "f": [None, None, None],
        "g": [1, 2, 3], "_row": [1, 2, 3],
    })  # fmt: skip
    assert column_types(frame) == {
        "a": ("int", True), "b": ("float", False), "c": ("bool", False), "d": ("timestamp", True),
        "e": ("str", False), "f": ("str", True), "g": ("int", False),
    }  # fmt: skip


def test_only_neighbours_of_one_type_become_a_range():
    columns = {"v1": ("int", False), "v2": ("int", False), "v3": ("int", False), "v4": ("int", False)}
    assert list(in_ranges({"id": ("int", False), **columns, "x": ("int", False)})) == ["id", "v{1..4}", "x"]
    assert list(in_ranges({**columns, "v3": ("float", False)})) == ["v1", "v2", "v3", "v4"]
    padded = {f"v{n:02d}": ("int", False) for n in range(6, 14)}
    assert list(in_ranges(padded)) == ["v0{6..9}", "v{10..13}"]
    assert [name for short in in_ranges(padded) for name in expand_range(short)] == list(padded)
