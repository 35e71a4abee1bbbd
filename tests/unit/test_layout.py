"""The layout that keeps `mlflow/` from shadowing the library, plugins from replacing modules, and files small."""

from __future__ import annotations

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


def test_empty_package_modules_stay_empty() -> None:
    for name in ("baton/__init__.py", "baton/airflow/__init__.py"):
        assert (ROOT / "include" / name).read_text() == ""
