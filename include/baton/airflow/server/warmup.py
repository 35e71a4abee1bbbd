"""Import the heavy libraries once, in the process that task processes are forked from; leave out flows of packs that do not run.

Airflow loads this module through the entry point `airflow.policy` while it initialises, before an executor
forks its workers: what is imported here, a task has for nothing (5-12 s of imports otherwise). Only the
scheduler (LocalExecutor) and a Celery worker pay for it. The parent must stay single-threaded, because a fork
copies only the calling thread: the services switch the thread pools of BLAS and OpenMP off for it, let Arrow allocate
as all else does and keep its own allocators without threads (`services.Plan`), and nothing is called here that starts one. What a stage's digest needs of each file is read
here, too: a task then only asks whether a file has changed since.
"""

import importlib
import logging
import os
import sys
import warnings
from typing import Any

from airflow.exceptions import AirflowClusterPolicySkipDag
from airflow.policies import hookimpl

from baton.packs.pack import pack_folder, packs
from baton.settings import settings

MODULES = (
    "pandas",
    "pyarrow.parquet",
    "numpy",
    "scipy.stats",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.isotonic",
    "skops.io",  # before the many modules that it would search
    "lightgbm",
    "statsforecast.models",
    "mlforecast",
    "simpy",
    "matplotlib.backends.backend_svg",
    "mlflow",
    "great_expectations",
)


@hookimpl
def dag_policy(dag: Any) -> None:
    """Leave out a DAG file's flow whose pack does not run (BATON_PACKS); those of models are not made for it at all.

    Raises:
        AirflowClusterPolicySkipDag: Airflow passes over the DAG without an error.
    """
    named = {tag.removeprefix("pack:") for tag in dag.tags if tag.startswith("pack:")}
    if named and settings().packs and not named & set(packs()):
        raise AirflowClusterPolicySkipDag(f"the pack of {dag.dag_id} is not among BATON_PACKS")


PARENT = sys.argv[1:2] == ["scheduler"] or sys.argv[1:3] == ["celery", "worker"]
if PARENT and "BATON_HOME" in os.environ:  # another Airflow in this environment pays nothing
    # importing it under Airflow's logging prints hundreds of lines otherwise
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # skops looks for NumPy's functions in every loaded module: Airflow warns of each deprecated name
        warnings.simplefilter("ignore")
        for _name in MODULES:
            importlib.import_module(_name)
    from baton.stages.digests import build_of
    from baton.stages.run import ENGINE

    for _folder in (ENGINE, *map(pack_folder, packs())):
        build_of(_folder)
