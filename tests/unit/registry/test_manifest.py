"""Model folders that attack whoever loads them: all refused with a reason, none of their code runs."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import pickle
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from baton.errors import RegistryRefused
from baton.keys import signing_key
from baton.registry import manifest as manifest_module
from baton.registry.identity import Identity
from baton.registry.manifest import DOMAIN, public_key, sign, verify

IDENTITY = Identity("card_fraud", "run-1", "m-1", "d" * 64, "2026-01-01T00:00:00+00:00")
EXPECTED = {"model": "card_fraud", "run_id": "run-1", "logged_model": "m-1"}
BOOSTER = "tree\nversion=v4\nnum_class=1\n\nTree=0\nnum_leaves=1\nleaf_value=0\n\nend of trees\n"


class Payload:
    """Writes the marker file when unpickled: what an attacker's code would do."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.marker,))


def mlmodel(**changes: Any) -> dict[str, Any]:
    document = {
        "flavors": {"baton": {"family": "classification", "format": 1, "data": "."}},
        "mlflow_version": "3.17.2",
        "model_id": "m-1",
        "run_id": "run-1",
        "signature": {"inputs": '[{"type": "double", "name": "v1"}]', "outputs": None, "params": None},
        "utc_time_created": "2026-01-01 00:00:00",
    }
    return {**document, **changes}


def write_mlmodel(folder: Path, **changes: Any) -> None:
    (folder / "MLmodel").write_text(yaml.safe_dump(mlmodel(**changes)))


def good_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    write_mlmodel(folder)
    (folder / "model.json").write_text('{"family": "classification"}')
    (folder / "first.lightgbm.txt").write_text(BOOSTER)
    (folder / "model_card.md").write_text("# card_fraud\n")
    kind = {"__module__": "sklearn.decomposition._pca", "__class__": "PCA", "__loader__": "ObjectNode"}
    with zipfile.ZipFile(folder / "second.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps(kind))
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sign_anything(folder: Path, keys: Path, identity: Identity = IDENTITY, files: dict[str, Any] | None = None) -> None:
    """Sign like a training run that was taken over: valid key, no check of the content."""
    for name in ("manifest.json", "manifest.sig"):
        (folder / name).unlink(missing_ok=True)
    listed = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in folder.rglob("*")
        if path.is_file()
    }
    document = {"format": 1, "identity": asdict(identity), "files": {**listed, **(files or {})}}
    raw = json.dumps(document).encode()
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sig").write_bytes(signing_key(keys).sign(DOMAIN + raw))


@dataclass
class Scene:
    """One attack in the making."""

    folder: Path
    keys: Path
    marker: Path

    @property
    def pickled(self) -> bytes:
        return pickle.dumps(Payload(str(self.marker)))

    def write(self, name: str, content: bytes | str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    @property
    def evil_source(self) -> str:
        return f"import os\nos.mkdir({str(self.marker)!r})\ndef _load_pyfunc(path): return None\n"


def flavour(name: str, file: str, **keys: Any) -> Callable[[Scene], None]:
    """A pickle where MLflow's flavour expects its model."""

    def attack(scene: Scene) -> None:
        write_mlmodel(scene.folder, flavors={name: {"data": file, **keys}})
        scene.write(file, scene.pickled)

    return attack


def file_named(name: str, make: Callable[[Scene], bytes]) -> Callable[[Scene], None]:
    return lambda scene: scene.write(name, make(scene))


def loader_module(scene: Scene) -> None:
    write_mlmodel(scene.folder, flavors={"python_function": {"loader_module": "evil", "code": "code"}})
    scene.write("code/evil.py", scene.evil_source)


def deep_json(_: Scene) -> str:
    return "[" * 100_000 + "]" * 100_000


def array_with_pickle(scene: Scene) -> bytes:
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += " " * (117 - len(header)) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + scene.pickled


# done before signing: the attacker holds the key, so only the allow-list stands
# fmt: off
SIGNED: dict[str, tuple[Callable[[Scene], None], str]] = {
    "sklearn pickle": (flavour("sklearn", "model.pkl", pickled_model="model.pkl"), "pickle"),
    "sklearn cloudpickle": (flavour("sklearn", "model.pkl", serialization_format="cloudpickle"), "pickle"),
    "lightgbm pickle": (
        flavour("lightgbm", "model.pkl", model_class="lightgbm.sklearn.LGBMClassifier"), "pickle"
    ),
    "xgboost pickle": (flavour("xgboost", "model.xgb"), "pickle"),
    "catboost pickle": (flavour("catboost", "model.cb"), "pickle"),
    "statsmodels pickle": (flavour("statsmodels", "model.statsmodels"), "pickle"),
    "shap pickle": (flavour("shap", "explainer.shap"), "pickle"),
    "dspy pickle": (flavour("dspy", "model.pkl"), "pickle"),
    "pmdarima pickle": (flavour("pmdarima", "model.pmd"), "pickle"),
    "pytorch pickle": (flavour("pytorch", "data/model.pth"), "pickle"),
    "keras custom objects": (flavour("keras", "data/global_custom_objects.cloudpickle"), "pickle"),
    "langchain pickle": (flavour("langchain", "model.pkl"), "pickle"),
    "pyfunc python_model": (
        flavour("python_function", "python_model.pkl", python_model="python_model.pkl"), "pickle"
    ),
    "pickle named json": (file_named("model.json", lambda s: s.pickled), "pickle"),
    "pickle named booster": (file_named("first.lightgbm.txt", lambda s: s.pickled), "pickle"),
    "pickle named card": (file_named("model_card.md", lambda s: s.pickled), "pickle"),
    "pickle named skops": (file_named("second.skops", lambda s: s.pickled), "pickle"),
    "pickle named MLmodel": (file_named("MLmodel", lambda s: s.pickled), "pickle"),
    "pickle protocol 0": (
        file_named("model.json", lambda s: pickle.dumps(Payload(str(s.marker)), protocol=0)), "pickle"
    ),
    "pickle protocol 1 as text": (
        file_named("model_card.md", lambda s: pickle.dumps(Payload(str(s.marker)), protocol=1)), "pickle"
    ),
    "pickle protocol 2": (
        file_named("first.lightgbm.txt", lambda s: pickle.dumps(Payload(str(s.marker)), protocol=2)), "pickle"
    ),
    "gz pickle": (file_named("model.pkl.gz", lambda s: gzip.compress(s.pickled)), "gzip"),
    "gz pickle named json": (file_named("model.json", lambda s: gzip.compress(s.pickled)), "gzip"),
    "bz2 pickle": (file_named("first.lightgbm.txt", lambda s: bz2.compress(s.pickled)), "bzip2"),
    "xz pickle": (file_named("model.json", lambda s: lzma.compress(s.pickled)), "xz"),
    "joblib (zlib) pickle": (file_named("model.json", lambda s: zlib.compress(s.pickled)), "zlib"),
    "numpy object array": (file_named("data.npy", array_with_pickle), "numpy"),
    "numpy array named json": (file_named("model.json", array_with_pickle), "numpy"),
    "shared library": (file_named("libgomp.so", lambda s: b"\x7fELF" + bytes(60)), "executable"),
    "script": (file_named("run.sh", lambda s: f"#!/bin/sh\nmkdir {s.marker}\n".encode()), "script"),
    "path file": (
        file_named("evil.pth", lambda s: f"import os; os.mkdir({str(s.marker)!r})\n".encode()), "unknown"
    ),
    "python file": (lambda s: s.write("sitecustomize.py", s.evil_source), "unknown"),
    "hidden file": (lambda s: s.write(".hidden.json", "{}"), "allowed in file names"),
    "loader_module with code": (loader_module, "code"),
    "loader_module of mlflow": (
        lambda s: write_mlmodel(s.folder, flavors={"python_function": {"loader_module": "mlflow.onnx"}}),
        "loader_module",
    ),
    "loader_module in our flavour": (
        lambda s: write_mlmodel(s.folder, flavors={"baton": {"family": "x", "loader_module": "os"}}),
        "loader_module",
    ),
    "loader_module in metadata": (
        lambda s: write_mlmodel(s.folder, metadata={"deep": [{"Loader_Module": "os"}]}), "Loader_Module"
    ),
    "model from code": (
        lambda s: write_mlmodel(s.folder, flavors={"python_function": {"model_code_path": "m.py"}}),
        "model_code_path",
    ),
    "code folder": (lambda s: s.write("code/evil.py", s.evil_source), "folder of code"),
    "CODE folder of harmless files": (lambda s: s.write("CODE/x.json", "{}"), "folder of code"),
    "foreign flavour": (
        lambda s: write_mlmodel(s.folder, flavors={**mlmodel()["flavors"], "onnx": {}}), "onnx"
    ),
    "second flavour key": (
        lambda s: write_mlmodel(s.folder, flavors={"baton": {"run": "x"}}), "may only say"
    ),
    "unknown MLmodel key": (lambda s: write_mlmodel(s.folder, databricks_runtime="1"), "databricks_runtime"),
    "MLmodel of another run": (lambda s: write_mlmodel(s.folder, run_id="run-2"), "run-2"),
    "MLmodel of another upload": (lambda s: write_mlmodel(s.folder, model_id="m-2"), "m-2"),
    "YAML that calls": (
        lambda s: s.write("MLmodel", f"flavors: !!python/object/apply:os.mkdir ['{s.marker}']\n"),
        "not plain YAML",
    ),
    "YAML that contains itself": (
        lambda s: s.write("MLmodel", "flavors: {baton: {family: x}}\nmetadata: &a {deep: *a}\n"),
        "nested deeper",
    ),
    "no MLmodel": (lambda s: (s.folder / "MLmodel").unlink(), "MLmodel: missing"),
    "MLmodel of 2 MB": (lambda s: s.write("MLmodel", "a: 1\n#" + "x" * 2_000_000), "larger"),
    "JSON that is not": (lambda s: s.write("model.json", "import os"), "not JSON"),
    "JSON too deep": (lambda s: s.write("model.json", deep_json(s)), "not JSON"),
    "text that is no booster": (lambda s: s.write("first.lightgbm.txt", "import os\n"), "LightGBM"),
}
# fmt: on


def swap(name: str) -> Callable[[Scene], None]:
    def attack(scene: Scene) -> None:
        old = (scene.folder / name).read_bytes()
        (scene.folder / name).write_bytes(old[:-2] + b"9\n" if name.endswith(".txt") else old[:-1] + b" ")

    return attack


def edit_manifest(scene: Scene) -> None:
    path = scene.folder / "manifest.json"
    path.write_text(path.read_text().replace("card_fraud", "card_freud"))


def bare_signature(scene: Scene) -> None:
    scene.write("manifest.sig", signing_key(scene.keys).sign((scene.folder / "manifest.json").read_bytes()))


def other_key(scene: Scene) -> None:
    sign(scene.folder, signing_key(scene.keys.parent / "other"), IDENTITY)


def link(name: str, target: str) -> Callable[[Scene], None]:
    def attack(scene: Scene) -> None:
        path = scene.folder / name
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return attack


def signed_as(**changes: str) -> Callable[[Scene], None]:
    return lambda scene: sign_anything(scene.folder, scene.keys, Identity(**{**asdict(IDENTITY), **changes}))


def listing(name: str) -> Callable[[Scene], None]:
    entry = {"bytes": 0, "sha256": "0" * 64}
    return lambda scene: sign_anything(scene.folder, scene.keys, files={name: entry})


# done after signing: the key is safe, the bytes are not
# fmt: off
TAMPERED: dict[str, tuple[Callable[[Scene], None], str]] = {
    "file swapped, same size": (swap("first.lightgbm.txt"), "not those that were signed"),
    "file swapped for a pickle": (
        file_named("first.lightgbm.txt", lambda s: s.pickled), "not those that were signed"
    ),
    "file grown": (lambda s: s.write("model.json", "{}  "), "not those that were signed"),
    "MLmodel swapped": (lambda s: write_mlmodel(s.folder, model_id="m-9"), "not those that were signed"),
    "file added": (lambda s: s.write("extra.json", "{}"), "not in the signed manifest"),
    "file added in a folder": (lambda s: s.write("more/extra.json", "{}"), "not in the signed manifest"),
    "file missing": (lambda s: (s.folder / "model.json").unlink(), "is missing"),
    "manifest edited": (edit_manifest, "signature does not belong"),
    "manifest missing": (lambda s: (s.folder / "manifest.json").unlink(), "missing"),
    "signature missing": (lambda s: (s.folder / "manifest.sig").unlink(), "missing"),
    "signature empty": (lambda s: s.write("manifest.sig", b""), "signature does not belong"),
    "signature of another key": (other_key, "signature does not belong"),
    "signature over bare bytes": (bare_signature, "signature does not belong"),
    "link to a file outside": (link("model.json", "/etc/hostname"), "symbolic link"),
    "link with a signed name": (link("first.lightgbm.txt", "model_card.md"), "symbolic link"),
    "link to a folder": (link("more", "/tmp"), "symbolic link"),
    "manifest is a link": (link("manifest.json", "model.json"), "symbolic link"),
    "named pipe": (lambda s: os.mkfifo(s.folder / "model2.json"), "not a regular file"),
    "path upwards in the manifest": (listing("../outside.json"), "leaves the model folder"),
    "absolute path in the manifest": (listing("/etc/passwd"), "leaves the model folder"),
    "backslash path in the manifest": (listing("..\\outside.json"), "leaves the model folder"),
    "odd path in the manifest": (listing("./model.json"), "allowed in file names"),
    "201 files": (lambda s: [s.write(f"x{n}.json", "{}") for n in range(201)] and None, "more than 200"),
    "replayed under another model": (signed_as(model="transaction_anomaly"), "replayed"),
    "replayed from another run": (signed_as(run_id="run-0"), "replayed"),
    "replayed from another upload": (signed_as(logged_model="m-0"), "replayed"),
    "manifest of another format": (lambda s: _sign_raw(s, b'{"format": 2}'), "format 2"),
    "manifest that is no object": (lambda s: _sign_raw(s, b"[]"), "not a manifest"),
    "manifest with identity of its own": (
        lambda s: _sign_raw(s, b'{"format": 1, "identity": {"model": "x"}, "files": {}}'), "not a manifest"
    ),
}
# fmt: on


def _sign_raw(scene: Scene, raw: bytes) -> None:
    scene.write("manifest.json", raw)
    scene.write("manifest.sig", signing_key(scene.keys).sign(DOMAIN + raw))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(good_folder(tmp_path / "model"), tmp_path / "keys", tmp_path / "marker")


def test_an_honest_folder_passes(scene: Scene) -> None:
    digest = sign(scene.folder, signing_key(scene.keys), IDENTITY)
    manifest = verify(scene.folder, public_key(scene.keys), EXPECTED)
    assert manifest.identity == IDENTITY
    assert manifest.digest == digest
    names = {"MLmodel", "model.json", "first.lightgbm.txt", "second.skops", "model_card.md"}
    assert set(manifest.files) == names


@pytest.mark.parametrize("attack", SIGNED)
def test_signed_malice_is_refused(scene: Scene, attack: str) -> None:
    make, reason = SIGNED[attack]
    make(scene)
    with pytest.raises(RegistryRefused, match="(?i)" + reason.replace(".", r"\.")):
        sign(scene.folder, signing_key(scene.keys), IDENTITY)
    sign_anything(scene.folder, scene.keys)
    with pytest.raises(RegistryRefused, match="(?i)" + reason.replace(".", r"\.")):
        verify(scene.folder, public_key(scene.keys), EXPECTED)
    assert not scene.marker.exists()


@pytest.mark.parametrize("attack", TAMPERED)
def test_tampering_is_refused(scene: Scene, attack: str) -> None:
    sign(scene.folder, signing_key(scene.keys), IDENTITY)
    make, reason = TAMPERED[attack]
    make(scene)
    with pytest.raises(RegistryRefused, match=reason.replace(".", r"\.")):
        verify(scene.folder, public_key(scene.keys), EXPECTED)
    assert not scene.marker.exists()


def test_the_limits_of_a_folder_are_on_all_its_files_together(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    sign(scene.folder, signing_key(scene.keys), IDENTITY)
    sizes = [path.stat().st_size for path in scene.folder.iterdir()]
    for name, limit in (("MAX_BYTES", sum(sizes)), ("MAX_FILES", len(sizes))):
        with monkeypatch.context() as patch:
            patch.setattr(manifest_module, name, limit)
            verify(scene.folder, public_key(scene.keys), EXPECTED)
            patch.setattr(manifest_module, name, limit - 1)
            with pytest.raises(RegistryRefused, match="more than"):
                verify(scene.folder, public_key(scene.keys), EXPECTED)


def test_the_payload_would_have_run(scene: Scene) -> None:
    pickle.loads(scene.pickled)
    assert scene.marker.exists()


def test_no_model_library_is_imported(scene: Scene) -> None:
    sign(scene.folder, signing_key(scene.keys), IDENTITY)
    code = (
        "import sys; from pathlib import Path; from baton.registry.manifest import public_key, verify;"
        f"verify(Path({str(scene.folder)!r}), public_key(Path({str(scene.keys)!r})));"
        "sys.exit(bool({'mlflow', 'skops', 'lightgbm', 'sklearn', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_folder_is_signed_again_after_a_change(scene: Scene) -> None:
    key = signing_key(scene.keys)
    first = sign(scene.folder, key, IDENTITY)
    scene.write("model_card.md", "# another\n")
    assert sign(scene.folder, key, IDENTITY) != first
    verify(scene.folder, public_key(scene.keys), EXPECTED)


def test_a_link_to_a_folder_and_what_is_no_folder_are_refused(scene: Scene, tmp_path: Path) -> None:
    sign(scene.folder, signing_key(scene.keys), IDENTITY)
    (tmp_path / "link").symlink_to(scene.folder)
    for folder in (tmp_path / "link", scene.folder / "model.json", tmp_path / "nothing"):
        with pytest.raises(RegistryRefused, match="not a model folder"):
            verify(folder, public_key(scene.keys), EXPECTED)
