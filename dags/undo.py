"""Airflow DAG `undo`: takes delivered effects back, by the connections that they went by.

**What it does.** `baton undo KEY`, or the button on a page, places what takes an effect back through the action firewall, like
any other effect: the pack's `actions.yaml` says who has to agree. This DAG, started with the flow and the partition, sends
those that may go; what still waits for people is sent by the run that the last approval starts.

**When it fails.** *deliver* red: the other side refused, or could not be reached; nothing is sent twice, a retry sends the
rest. Nothing happened: the request is still open (`baton actions list`), or all effects are stopped (`baton actions start`).
"""

from datetime import timedelta

from airflow.sdk import DAG, Param

from baton.airflow.flows import START, default_args
from baton.airflow.operators.undo import UndoOperator

with DAG(
    "undo",
    schedule=None,
    start_date=START,
    catchup=False,
    max_active_runs=4,
    default_args=default_args("operations"),
    dagrun_timeout=timedelta(hours=1),
    params={
        "flow": Param(None, type=["null", "string"], title="Flow", description_md="Whose effects are taken back."),
        "partition": Param(None, type=["null", "string"], title="Partition", description_md="Of that flow."),
    },
    tags=["kind:action"],
    doc_md=__doc__,
):
    UndoOperator(task_id="deliver", flow="{{ params.flow }}", partition="{{ params.partition }}")
