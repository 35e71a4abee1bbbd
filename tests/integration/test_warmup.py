"""The parent of task processes has the heavy libraries and one thread; the other services have neither."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from baton.airflow.server.warmup import MODULES
from baton.services.plan import Plan
from baton.settings import settings

_PROBE = """
import json, os, sys
sys.argv = ["airflow", *{arguments!r}]
import airflow
heavy = [name for name in {modules!r} if name in sys.modules]
if heavy:
    import pathlib
    from baton.stages.digests import build_of
    from baton.stages.run import ENGINE
    pathlib.Path.read_bytes = lambda path: sys.exit(f"{{path}} is read again")
    build_of(ENGINE)
print(json.dumps([heavy, len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 1]))
"""


def _initialise_airflow(home: Path, service: str, arguments: list[str]) -> tuple[list[str], int, str]:
    import json

    plan = Plan(settings(), dags_folder=home, plugins_folder=home, airflow_port=1, mlflow_port=2)
    extra = next(one.environment for one in plan.airflow_services() if one.name == service)
    code = _PROBE.format(arguments=arguments, modules=MODULES)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**plan.environment(), **extra, "PATH": os.environ["PATH"]},
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    heavy, threads = json.loads(done.stdout.splitlines()[-1])
    return heavy, threads, done.stderr


@pytest.mark.parametrize("arguments", [["scheduler", "--skip-serve-logs"], ["celery", "worker"]])
def test_parent_of_tasks_is_warm_single_threaded_and_quiet(home: Path, arguments: list[str]) -> None:
    heavy, threads, said = _initialise_airflow(home, "scheduler", arguments)
    assert heavy == list(MODULES)
    assert threads == 1
    assert said.count("\n") < 10, said[:2000]


def test_other_services_pay_nothing(home: Path) -> None:
    heavy, _, _ = _initialise_airflow(home, "api-server", ["api-server"])
    assert heavy == []
