"""The layout that keeps `mlflow/` from shadowing the library, plugins from replacing modules, and files small."""

from __future__ import annotations

import ast
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"dags", "plugins", "include", "mlflow", "tests", ".ci", ".github"}


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [Path(line) for line in done.stdout.splitlines()]


def test_top_level_folders_are_fixed() -> None:
    assert {path.parts[0] for path in tracked() if len(path.parts) > 1} <= FOLDERS


def test_library_is_not_shadowed() -> None:
    from importlib.util import find_spec

    spec = find_spec("mlflow")
    assert spec is not None
    assert str(spec.origin).startswith(sysconfig.get_paths()["purelib"])
    assert not list((ROOT / "mlflow").rglob("*.py"))
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_plugins_are_flat_and_prefixed() -> None:
    for path in (ROOT / "plugins").rglob("*.py"):
        assert path.parent == ROOT / "plugins"
        assert path.stem.startswith("baton_")


def test_dag_files_hold_wiring_only() -> None:
    for path in (ROOT / "dags").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 80, path


def test_files_stay_small_and_named_for_what_they_do() -> None:
    for path in (p for p in tracked() if p.suffix == ".py"):
        assert path.stem not in {"utils", "helpers", "common", "misc"}, path
        assert len((ROOT / path).read_text().splitlines()) <= 400, path


EMPTY = ("baton/__init__.py", "baton/airflow/__init__.py")  # imported while Airflow initialises


def test_empty_package_modules_stay_empty() -> None:
    for name in EMPTY:
        assert (ROOT / "include" / name).read_text() == ""


def packages() -> list[Path]:
    return sorted({path.parent for path in tracked() if path.parts[0] == "include" and path.name == "__init__.py"})


def test_no_package_has_more_than_twelve_modules() -> None:
    counted = {folder: len(list((ROOT / folder).glob("*.py"))) - 1 for folder in packages()}
    assert {folder: count for folder, count in counted.items() if count > 12} == {}


def test_every_package_says_what_lives_there_and_what_it_may_import() -> None:
    for folder in packages():
        if str((folder / "__init__.py").relative_to("include")) in EMPTY or "migrations" in folder.parts:
            continue
        said = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text())) or ""
        assert re.match(r"[A-Z][^.?]{10,}[.?]", said), f"{folder}: begin with a sentence"
        assert "mport" in said, f"{folder}: say what it may import"


NAMES = {"ingest", "publish", "assemble", "judge", "move_champion", "judge_windows"}
PREFIX = re.compile(r"^(score|candidate|ingest|contract|earlier|confirmed)__|_(train|promote|monitor)$")


def test_names_of_stages_stand_in_one_module() -> None:
    """Elsewhere they come from `baton.names`, so that a stage can be renamed and found."""
    wrong = []
    for path in (
        p for p in tracked() if p.suffix == ".py" and p.parts[:2] in {("include", "baton"), ("include", "baton_packs")}
    ):
        if path.name == "names.py" and path.parent.name == "baton":
            continue
        tree = ast.parse((ROOT / path).read_text())
        called = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        slots = [node for node in called if getattr(node.func, "id", "") in ("Slot", "partitions", "committed")]
        wrong += [f"{path}:{one.lineno}" for node in slots for one in node.args
                  if isinstance(one, ast.Constant) and one.value in {"contract", *NAMES}]  # fmt: skip
        wrong += [f"{path}:{node.lineno} {node.value}" for node in ast.walk(tree)
                  if isinstance(node, ast.Constant) and isinstance(node.value, str) and PREFIX.search(node.value)]  # fmt: skip
    assert wrong == []
