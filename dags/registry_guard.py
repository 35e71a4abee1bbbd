"""Airflow DAG `registry_guard`: puts the alias `champion` back where the ledger says, when it was moved past the promotion.

**What it does.** Baton's MLflow refuses the aliases `champion`, `previous_champion` and `challenger` to everybody but Baton's
account. What gets past it (SQL on MLflow's database, another server on it, a restored one) is seen by the triggerer, which
looks every 20 seconds and wakes this DAG on a change; the alias goes back, the ledger says from where to where. A promotion
wakes it too and finds all as it should be. Attempts that were refused go on the ledger with the MLflow user.

**When it fails.** *put_back* red with *was moved outside Baton*: it was put back already; ask who can write to MLflow's
database. The message names what was scored with the foreign version, normally nothing: scoring takes the ledger's champion.
Red with another message: MLflow or the warehouse cannot be reached; it is repeated by itself.
"""

from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetWatcher

from baton.airflow.flows import START, default_args
from baton.airflow.operators.guard import AliasesChanged, RegistryGuardOperator

changed = Asset(
    name="registry_aliases",
    uri="x-mlflow://aliases",
    group="baton",
    watchers=[AssetWatcher(name="registry_aliases", trigger=AliasesChanged())],
)

with DAG(
    "registry_guard",
    schedule=[changed],
    start_date=START,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,  # a guard that has to be switched on guards nothing
    default_args=default_args("operations") | {"retries": 10},
    dagrun_timeout=timedelta(hours=1),
    tags=["kind:action"],
    doc_md=__doc__,
):
    RegistryGuardOperator(task_id="put_back")
