"""The monitor's one task: judge the windows that are due, and wake training when the policy says so."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import AssetAlias, BaseOperator, Context

from baton.airflow.operators.assets import drifted
from baton.airflow.operators.stage import DriftReportLink, in_log
from baton.names import DRIFT, train_of
from baton.progress import heard_by


class MonitorOperator(BaseOperator):
    """Judge every published, not yet judged partition of a flow in order.

    The drift asset's event goes through an alias: a plain outlet would fire whenever the task succeeds.

    Args:
        model: whose champion is watched.
        watched: DAG id of the flow that scores with it.
    """

    template_fields: Sequence[str] = ()
    operator_extra_links = (DriftReportLink(),)
    ui_color = "#fdf3e3"

    def __init__(self, *, model: str, watched: str, **kwargs: Any) -> None:
        self.alias = AssetAlias(f"{model}_drift")
        super().__init__(outlets=[self.alias], **kwargs)
        self.model, self.watched = model, watched

    def execute(self, context: Context) -> dict[str, Any]:
        """Returns the verdict and the windows judged; emits the drift event on RETRAIN."""
        from baton.lifecycle.monitor import judge_windows

        self.links: dict[str, str] = {}
        with heard_by(in_log(self.log)):
            outcome = judge_windows(self.model, self.watched)
        for window in outcome["windows"]:
            self.log.info("window %s", window)
        self.log.info("%s: %s", outcome["decision"], "; ".join(outcome["reasons"]))
        if outcome.get("report"):
            self.links["drift"] = f"/baton/pages/{outcome['report']}"
        if outcome["decision"] == "RETRAIN":
            extra = {k: outcome[k] for k in ("partition", "since", "features")}
            context["outlet_events"][self.alias].add(drifted(self.model), extra=extra)
            self.start_training(outcome)
        return outcome

    def start_training(self, outcome: dict[str, Any]) -> None:
        """Start training for this drift, once: the run id names the request, so that asking again changes nothing.

        The asset event alone cannot: Airflow lets an event of a partitioned run start partitioned DAGs only, and
        training runs by the clock as well.
        """
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        run_id = f"{DRIFT}{outcome['request']}"  # not the newest partition, nor the onset: both move on meanwhile
        answer = SUPERVISOR_COMMS.send(
            TriggerDagRun(dag_id=train_of(self.model), run_id=run_id, conf={"since": outcome["since"]})
        )
        if isinstance(answer, ErrorResponse):
            if answer.error != ErrorType.DAGRUN_ALREADY_EXISTS:
                raise RuntimeError(f"training of {self.model} could not be started: {answer.error} {answer.detail}")
            self._require_on_its_way(run_id)

    def _require_on_its_way(self, run_id: str) -> None:
        """Fail where the training run was refused, or broke, before it began: asked again it would stay as it is.

        Raises:
            AirflowFailException: names the run, and what to do.
        """
        from airflow.sdk.exceptions import AirflowFailException
        from airflow.sdk.execution_time.comms import DagRunStateResult, GetDagRunState
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        from baton.lifecycle.monitor import unanswered

        answer = SUPERVISOR_COMMS.send(GetDagRunState(dag_id=train_of(self.model), run_id=run_id))
        state = str(answer.state.value) if isinstance(answer, DagRunStateResult) else "not known"
        if state in ("queued", "running") or unanswered(self.model) != run_id.removeprefix(DRIFT):
            self.log.info("training run %s exists already: %s", run_id, state)
            return
        raise AirflowFailException(
            f"drift of {self.model} asked for a training that never began: run {run_id} of {train_of(self.model)} is {state}. See why "
            "its first task stopped, and clear it: until then no drift starts another one"
        )
