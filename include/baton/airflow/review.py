"""A person's word on single decisions of a run: those whose route asks for one, with numbers that may be changed.

The request stands under *Required Actions*: one number field per decision. Nothing else of the run waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict

if TYPE_CHECKING:
    import pandas as pd
    from airflow.sdk import Context

APPROVE, REJECT = "Approve", "Reject"


class ReviewOperator(HITLOperator):
    """Ask about the decisions of one route; without any, the task is done at once.

    Args:
        decisions: result of the stage that decided: columns entity_key, route, money, the field, and perhaps `text`.
        route: whose decisions are asked about.
        field: column with a whole number that the person may change.
        columns: further columns that the request shows.
    """

    template_fields: Sequence[str] = ("subject", "body", "decisions")

    def __init__(
        self, *, decisions: Any, field: str, route: str = "approve", columns: Sequence[str] = (),
        timeout: timedelta = timedelta(days=3), **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            options=[APPROVE, REJECT], response_timeout=timeout, execution_timeout=None, retries=0, **kwargs
        )
        self.decisions, self.route, self.field, self.columns = decisions, route, field, list(columns)

    def execute(self, context: Context) -> Any:
        """Write the request and wait, unless there is nothing to ask."""
        asked = self._asked()
        if asked.empty:
            return {"answer": "none", "changes": {}, "actor": ""}
        self.body = f"{self.body or ''}\n\n{self._table(asked)}"
        self.params = ParamsDict({
            str(row["entity_key"]): Param(
                int(row[self.field]), type="integer", minimum=0, title=f"{row['entity_key']}: {self.field}",
                description_md=f"proposed: {int(row[self.field]):,}",
            )
            for _, row in asked.iterrows()
        })  # fmt: skip
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """The answer as JSON: approved | rejected | timeout, numbers by entity, who gave it."""
        if event.get("error_type") == "timeout":
            self.log.warning("nobody answered in time: what waited is not carried out")
            return {"answer": "timeout", "changes": {}, "actor": ""}
        answer = super().execute_complete(context, event)
        user = answer["responded_by_user"] or {}
        return {
            "answer": "approved" if answer["chosen_options"] == [APPROVE] else "rejected",
            "changes": dict(answer["params_input"] or {}),
            "actor": str(user.get("name") or user.get("id") or "unknown"),
        }

    def _asked(self) -> pd.DataFrame:
        from baton.datasets import DatasetRef, read

        decisions = read(DatasetRef.from_dict(self.decisions["ref"]))
        return decisions[decisions["route"] == self.route].sort_values("money", ascending=False)

    def _table(self, asked: pd.DataFrame) -> str:
        columns = ["entity_key", self.field, "money", *self.columns]
        lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        for _, row in asked.iterrows():
            lines.append("| " + " | ".join(_cell(row[column]) for column in columns) + " |")
        return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return " ".join(text.split()).replace("|", "/").replace("<", "&lt;")
