"""skops files: real estimators pass, types and nodes that could run something do not."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from baton.errors import RegistryRefused
from baton.registry import content
from baton.registry.content import check_content
from baton.registry.identity import Identity

IDENTITY = Identity("card_fraud", "run-1", "m-1", "", "2026-01-01T00:00:00+00:00")
PICKLE = b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    flavours = {"baton": {"family": "anomaly", "format": 1, "data": "."}}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": flavours, "run_id": "run-1", "model_id": "m-1"}))
    return tmp_path


def node(module: str, name: str, loader: str, content: Any = None) -> dict[str, Any]:
    return {"__module__": module, "__class__": name, "__loader__": loader, "content": content}


def within_an_estimator(inner: dict[str, Any]) -> dict[str, Any]:
    attributes = node("builtins", "dict", "DictNode", {"a": node("builtins", "list", "ListNode", [inner])})
    return node("sklearn.linear_model._logistic", "LogisticRegression", "ObjectNode", attributes)


def array(header: str, content: bytes = PICKLE, version: int = 1) -> bytes:
    """An array as a file, with a header of one's own."""
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + content


OBJECTS = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"


SCHEMAS: dict[str, dict[str, Any]] = {
    "os.system": node("os", "system", "FunctionNode"),
    "FunctionNode": node("numpy", "load", "FunctionNode"),
    "MethodNode": node("sklearn.pipeline", "Pipeline", "MethodNode"),
    "OperatorFuncNode": node("operator", "methodcaller", "OperatorFuncNode"),
    "PartialNode": node("functools", "partial", "PartialNode"),
    "ConstructorFromReduceNode": node("pathlib", "Path", "ConstructorFromReduceNode"),
    "QuantileForestNode": node("builtins", "list", "QuantileForestNode"),
    "os.mkdir": node("os", "mkdir", "LossNode"),
    "subprocess.Popen": node("subprocess", "Popen", "ObjectNode"),
    "builtins.eval": node("builtins", "eval", "TypeNode"),
    "numpy.load": node("numpy", "load", "NdArrayNode"),
    "sklearn.datasets": node("sklearn.datasets._base", "Fetcher", "ObjectNode"),
    "FunctionTransformer": node("sklearn.preprocessing._function_transformer", "FunctionTransformer", "ObjectNode"),
    "None": {"__class__": "Popen", "__module__": "subprocess"},
    "lower.case.function": node("lower.case", "function", "ObjectNode"),
    "sklearn.tree._export.export_text": node("sklearn.tree._export", "export_text", "TypeNode"),
}


@pytest.mark.parametrize("reason", SCHEMAS)
@pytest.mark.parametrize("place", [dict, within_an_estimator])
def test_untrusted_types_are_refused(folder: Path, reason: str, place: Callable[[Any], Any]) -> None:
    with zipfile.ZipFile(folder / "m.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps(place(SCHEMAS[reason])))
    with pytest.raises(RegistryRefused, match=reason.replace(".", r"\.")):
        check_content(folder, ["MLmodel", "m.skops"], IDENTITY)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"1.npy": array(OBJECTS)}, "plain values"),
        ({"1.npy": array("\n" + OBJECTS)}, "plain values"),
        ({"1.npy": array(" " * 5000 + OBJECTS)}, "header has 5057 bytes"),
        ({"1.npy": array(" " * 70_000 + OBJECTS, version=2)}, "header has 70057 bytes"),
        ({"1.npy": array(OBJECTS.replace("'|O'", "[('a', [('b', 'O')])]"))}, "plain values"),
        ({"1.npy": array(OBJECTS.replace("|O", "<f8").replace("1,", "10**12,"))}, "plain values"),
        ({"1.npy": array(OBJECTS.replace("|O", "<f8").replace("1,", "1000000000000,"))}, "values of its shape"),
        ({"1.npy": array("(" * 4000)}, "plain values"),
        ({"1.npy": PICKLE}, "plain values"),
        ({"model.pkl": PICKLE}, r"model\.pkl"),
        ({"../1.npy": b""}, r"\.\./1\.npy"),
        ({"evil.py": b"import os"}, r"evil\.py"),
        ({"schema.json": b"{}"}, "twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_foreign_entries_are_refused(folder: Path, entries: dict[str, bytes], reason: str) -> None:
    with zipfile.ZipFile(folder / "m.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps(node("sklearn.pipeline", "Pipeline", "ObjectNode")))
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(RegistryRefused, match=reason):
        check_content(folder, ["MLmodel", "m.skops"], IDENTITY)


@pytest.mark.parametrize("schema", ["[" * 100_000 + "]" * 100_000, "no json"])
def test_unreadable_schemas_are_refused(folder: Path, schema: str) -> None:
    with zipfile.ZipFile(folder / "m.skops", "w") as archive:
        archive.writestr("schema.json", schema)
    with pytest.raises(RegistryRefused, match="not a readable skops file"):
        check_content(folder, ["MLmodel", "m.skops"], IDENTITY)


def test_a_plain_zip_and_a_broken_one_are_refused(folder: Path) -> None:
    with zipfile.ZipFile(folder / "m.skops", "w") as archive:
        archive.writestr("evil.py", "import os")
    with pytest.raises(RegistryRefused, match="no schema"):
        check_content(folder, ["MLmodel", "m.skops"], IDENTITY)
    (folder / "m.skops").write_bytes((folder / "m.skops").read_bytes()[:40])
    with pytest.raises(RegistryRefused, match="not a readable skops file"):
        check_content(folder, ["MLmodel", "m.skops"], IDENTITY)


@pytest.mark.parametrize(
    ("name", "limit"),
    [("card.md", "MAX_SMALL_BYTES"), ("model.json", "MAX_TEXT_BYTES"), ("MLmodel", "MAX_SMALL_BYTES")],
)
def test_a_text_may_be_as_large_as_the_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: str
) -> None:
    if name != "MLmodel":
        (folder / name).write_text("{}" + " " * 500)
    size = (folder / name).stat().st_size
    names = sorted({"MLmodel", name})
    monkeypatch.setattr(content, limit, size)
    check_content(folder, names, IDENTITY)
    monkeypatch.setattr(content, limit, size - 1)
    with pytest.raises(RegistryRefused, match=f"{name}: larger than {size - 1} bytes"):
        check_content(folder, names, IDENTITY)


def test_a_skops_file_may_unpack_to_the_limit_all_entries_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = json.dumps(node("sklearn.pipeline", "Pipeline", "ObjectNode"))
    with zipfile.ZipFile(folder / "m.skops", "w") as archive:
        archive.writestr("schema.json", schema)
        archive.writestr("1.bin", b"x" * 300)
    monkeypatch.setattr(content, "MAX_UNPACKED_BYTES", len(schema) + 300)
    check_content(folder, ["MLmodel", "m.skops"], IDENTITY)
    monkeypatch.setattr(content, "MAX_UNPACKED_BYTES", len(schema) + 299)
    with pytest.raises(RegistryRefused, match="unpacks to more"):
        check_content(folder, ["MLmodel", "m.skops"], IDENTITY)


@pytest.mark.parametrize("within", [lambda deep: {"a": deep}, lambda deep: [deep]], ids=["mappings", "lists"])
def test_mlmodel_may_be_nested_ten_deep(folder: Path, within: Callable[[Any], Any]) -> None:
    def nested(depth: int) -> None:
        deep: Any = "end"
        for _ in range(depth):
            deep = within(deep)
        document = {"flavors": {"baton": {}}, "run_id": "run-1", "model_id": "m-1", "metadata": deep}
        (folder / "MLmodel").write_text(yaml.safe_dump(document))
        check_content(folder, ["MLmodel"], IDENTITY)

    nested(9)
    with pytest.raises(RegistryRefused, match="nested deeper"):
        nested(10)


@pytest.mark.parametrize("text", ["tree\nversion=v4\n", "version=v4\n\nend of trees\n"])
def test_a_text_that_only_begins_or_ends_like_a_booster_is_none(folder: Path, text: str) -> None:
    (folder / "m.lightgbm.txt").write_text(text)
    with pytest.raises(RegistryRefused, match="not a LightGBM text model"):
        check_content(folder, ["MLmodel", "m.lightgbm.txt"], IDENTITY)


def test_what_the_families_save_passes(folder: Path) -> None:
    import lightgbm
    import numpy as np
    import skops.io
    from sklearn.covariance import ShrunkCovariance
    from sklearn.decomposition import PCA
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        HistGradientBoostingClassifier,
        IsolationForest,
        RandomForestClassifier,
    )
    from sklearn.linear_model import LogisticRegression
    from sklearn.mixture import GaussianMixture
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X = np.random.default_rng(7).normal(size=(200, 3))
    y = (X[:, 0] > 0).astype(int)
    estimators = [
        make_pipeline(StandardScaler(), LogisticRegression()),
        ShrunkCovariance(),
        GaussianMixture(2, random_state=7),
        RandomForestClassifier(2, random_state=7),
        ExtraTreesClassifier(2, random_state=np.random.RandomState(7)),
        HistGradientBoostingClassifier(max_iter=2, random_state=7),
        IsolationForest(n_estimators=2, random_state=7),
        PCA(2),
    ]
    names = ["MLmodel", "booster.lightgbm.txt"]
    booster = lightgbm.train({"verbosity": -1, "num_threads": 1}, lightgbm.Dataset(X, y), 2)
    (folder / "booster.lightgbm.txt").write_text(booster.model_to_string())
    for estimator in estimators:
        names.append(f"{type(estimator).__name__}.skops")
        skops.io.dump(estimator.fit(X, y), folder / names[-1])
    check_content(folder, names, IDENTITY)
