"""The branch operator: which way a run goes on, decided by what an earlier stage found, never by text.

A way is a task (or task group) directly behind the branch; it is taken when its fact of the earlier stage is true: a
count above zero, a flag, a non-empty list. The others are skipped, and so is what stands behind them alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.providers.standard.operators.branch import BaseBranchOperator
from airflow.sdk import Context

from baton.airflow.operators.stage import whole_result


class BranchOperator(BaseBranchOperator):
    """Take the ways whose facts are true; with none of them, what is behind the branch is skipped.

    Args:
        result: of the stage whose facts decide.
        ways: task id -> name of the fact, dotted for a fact inside a fact: `routes.reply`.
    """

    template_fields: Sequence[str] = ("result",)
    ui_color = "#fdf3e1"

    def __init__(self, *, result: Any, ways: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.result, self.ways = result, dict(ways)

    def choose_branch(self, context: Context) -> list[str]:
        """Task ids of the ways that are taken."""
        facts = whole_result(self.result)["facts"]
        taken = [task_id for task_id, path in self.ways.items() if fact(facts, path)]
        for task_id, path in self.ways.items():
            self.log.info("%s: %s = %s", task_id, path, fact(facts, path))
        return taken


def fact(facts: Mapping[str, Any], path: str) -> Any:
    """A fact by its dotted name; None where there is none."""
    found: Any = facts
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
