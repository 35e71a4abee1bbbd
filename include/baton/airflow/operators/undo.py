"""The undo operator: delivers what takes delivered effects back, by the connections that those went by."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException


class UndoOperator(BaseOperator):
    """Deliver the undoes of a flow's partition that may go.

    Args:
        flow, partition: whose effects are taken back.
    """

    template_fields: Sequence[str] = ("flow", "partition")
    ui_color = "#fdf3e1"

    def __init__(self, *, flow: str, partition: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.flow, self.partition = flow, partition

    def execute(self, context: Context) -> dict[str, int]:
        """Deliver them; returns how many were sent, wait for people, are forbidden."""
        from baton.airflow.connections.lookup import AirflowConnections
        from baton.errors import SpecError
        from baton.steps.undo import deliver_undoes

        try:
            done = deliver_undoes(self.flow, self.partition, AirflowConnections())
        except SpecError as error:
            raise AirflowFailException(str(error)) from error  # a retry would meet the same options
        self.log.info("%s %s: %s", self.flow, self.partition, done)
        return done
