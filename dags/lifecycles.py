"""Airflow DAGs of every model of every installed pack: `<model>_train`, `_promote`, `_monitor`, `_score`.

Generated from the YAML in the packs' `models/`; adding a model is adding a file. Inside a task only the DAG
that runs is built.
"""

from airflow.sdk import get_parsing_context

from baton.airflow.lifecycle import build
from baton.packs.pack import load_pack, packs

wanted = get_parsing_context().dag_id
for name in packs():
    pack = load_pack(name)
    for spec in pack.models.values():
        globals().update(build(pack, spec, only=wanted))
