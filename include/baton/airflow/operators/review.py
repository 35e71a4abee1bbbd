"""The review operator: a person's word on single decisions of a run, with a value that may be changed.

The request stands under *Required Actions*: one field per decision, a whole number or a text. Nothing else of the run
waits for it. Airflow keeps request and answer in its database: a text with personal data is shown masked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import TaskAwaitingInput, TaskDeferred

from baton.airflow.operators.stage import whole_result
from baton.jsontext import in_one_line

if TYPE_CHECKING:
    import pandas as pd
    from airflow.sdk import Context

APPROVE, REJECT = "Approve", "Reject"
LONGEST = 4000  # characters of a text


class ReviewOperator(HITLOperator):
    """Ask about the decisions of one route; without any, the task is done at once.

    A text may be emptied, which keeps that one back; what becomes of it is up to the stage that takes the answer.

    Args:
        decisions: result of the stage that decided: columns entity_key, route, money, the field, and perhaps `text`.
        route: whose decisions are asked about.
        field: column with a whole number, or a text, that the person may change; `caption`: what people call it.
        subject: may hold `{partition}`, which the form's runs have no Airflow key for.
        columns: further columns that the request shows.
        title: column that names a decision to people; Airflow keeps it, so it holds no personal data. Empty: the key does.
        card: path of a page about one decision, below Baton's console; `{entity_key}` is filled in.
    """

    template_fields: Sequence[str] = ("subject", "body", "decisions")

    def __init__(
        self, *, decisions: Any, field: str, route: str = "approve", columns: Sequence[str] = (), card: str = "",
        caption: str = "", title: str = "", timeout: timedelta = timedelta(days=3), **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            options=[APPROVE, REJECT], response_timeout=timeout, execution_timeout=None, retries=0, **kwargs
        )
        self.decisions, self.route, self.field, self.columns = decisions, route, field, list(columns)
        self.card, self.caption, self.title = card, caption or field, title

    def execute(self, context: Context) -> Any:
        """Write the request and wait, unless there is nothing to ask."""
        self.decisions = whole_result(self.decisions)
        dry_run = bool((context.get("params") or {}).get("dry_run"))  # nothing would come of an answer
        asked = self._asked()
        if asked.empty or dry_run:
            return {"answer": "none", "changes": {}, "actor": ""}
        self.subject = self.subject.replace("{partition}", str(self.decisions["partition"]))
        self.body = f"{self.body or ''}\n\n{self._table(asked)}"
        self.params = ParamsDict({str(row["entity_key"]): self._param(row) for row in asked.to_dict("records")})
        try:
            return super().execute(context)
        except (TaskAwaitingInput, TaskDeferred) as waiting:  # by the time of the answer the input may be another one
            shown = {name: self.decisions["ref"][name] for name in ("uri", "content_sha256", "partition")}
            shown["form_sha256"] = self._form()
            waiting.kwargs = {**(waiting.kwargs or {}), "about": shown}
            raise

    def _form(self) -> str:
        """SHA-256 over what the person sees: subject, table, and each field with the value that is proposed."""
        said = [self.subject, self.body, dict(self.params)]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def _param(self, row: Mapping[Any, Any]) -> Param:
        title, value = f"{row['entity_key']}: {self.caption}", row[self.field]
        if self.title:  # titles may be alike
            title = f"{row[self.title]}, {self.caption} ({row['entity_key']})"
        if isinstance(value, str):
            # null is what the form makes of an emptied field
            return Param(value, type=["string", "null"], format="multiline", maxLength=LONGEST, title=title)
        return Param(int(value), type="integer", minimum=0, title=title, description_md=f"proposed: {int(value):,}")

    def execute_complete(
        self, context: Context, event: dict[str, Any], about: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """The answer as JSON: approved | rejected | timeout, values by entity, who gave it (name and id), when, about what."""
        from baton.stages import answers

        result = self._result(context, event, about)
        if about:  # what others make of the XCom is then no answer
            answers.note(self.dag_id, about["partition"], self.task_id, result)
        return result

    def _result(self, context: Context, event: dict[str, Any], about: dict[str, str] | None) -> dict[str, Any]:
        if event.get("error_type") == "timeout":
            self.log.warning("nobody answered in time: what waited is not carried out")
            return {"answer": "timeout", "changes": {}, "actor": ""}
        answer = super().execute_complete(context, event)
        user = answer["responded_by_user"] or {}
        return {
            "answer": "approved" if answer["chosen_options"] == [APPROVE] else "rejected",
            "changes": dict(answer["params_input"] or {}),
            "actor": str(user.get("name") or user.get("id") or "unknown"),
            "actor_id": str(user.get("id") or ""),
            "at": _time(answer.get("responded_at")),
            **({"about": about} if about else {}),
        }

    def _asked(self) -> pd.DataFrame:
        from baton.data.datasets import DatasetRef, read
        from baton.effects import outbox
        from baton.feedback import cases

        decisions = read(DatasetRef.from_dict(self.decisions["ref"]))
        # what has left, or was settled on its case, is not asked about again when the partition is repeated
        done = {
            one.entity_key
            for one in outbox.effects(self.dag_id, self.decisions["partition"])
            if one.state == outbox.SENT
        } | cases.decided(self.dag_id)
        asked = decisions[(decisions["route"] == self.route) & ~decisions["entity_key"].isin(done)]
        return asked.sort_values("money", ascending=False)

    def _table(self, asked: pd.DataFrame) -> str:
        # a text stands in its own field below
        number = [] if asked[self.field].map(lambda value: isinstance(value, str)).all() else [self.field]
        columns = [self.title or "entity_key", *number, "money", *self.columns, *(["entity_key"] if self.title else [])]
        lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        for row in asked.to_dict("records"):
            cells = [_cell(row[column]) for column in columns]
            if self.card:
                address = "/baton/" + self.card.format(entity_key=quote(str(row["entity_key"])))
                cells[0] = f"[{cells[0]}]({address})"
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)


def _time(told: Any) -> str:
    """When the answer was given, as the warehouse writes times; empty: Airflow does not say."""
    from baton.record.warehouse import stamp

    try:
        at = datetime.fromisoformat(str(told))
    except ValueError:
        return ""
    return stamp(at.astimezone(UTC))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    text = f"{value:,}" if isinstance(value, int) else in_one_line(str(value))
    return " ".join(text.split()).replace("|", "/").replace("<", "&lt;")
