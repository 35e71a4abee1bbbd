"""A desk that answers letters, for the console's tests: letters, decisions with a reply that may be changed, and cases.

Test modules load it by path, because tests are no package: `LETTERS = runpy.run_path(...)`.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "published_rows.py"))

FLOW, HOUR = "letter_desk", "2026-11-20T09:00:00"
ANSWERS = {"accepted": {"intent": "ask"}, "edited": {"intent": "ask"}, "rejected": {}}
REPLY = "\nDear Ann,\n\nIt takes two days.\n</textarea><script>alert(1)</script>\n"
LETTER = "Dear team,\nwhere is the card that I ordered?\nAnn Example"
CONTRACT: dict[str, Any] = {
    "contract": "letters",
    "key": ["letter_id"],
    "columns": {
        "letter_id": {"type": "str", "pii": "quasi"},
        "text": {"type": "str", "pii": "direct", "description": "the letter"},
    },
}
DECISIONS: dict[str, Any] = {
    "contract": "letter_decisions",
    "key": ["entity_key"],
    "columns": {
        "entity_key": {"type": "str"},
        "edits": {"type": "str", "description": "answers that come with a text"},
        "reply": {"type": "str", "pii": "direct", "description": "the proposed answer"},
    },
}


def fill(text: str = LETTER, contract: dict[str, Any] | None = None, **more: Any) -> None:
    """One hour with the letters `a` and `b`, each suggested a reply; `more` are further columns of the decisions."""
    import pandas as pd
    from sqlalchemy import Connection

    from baton.feedback import cases
    from baton.stages.slots import Slot, StageOutput, run_stage

    shared: dict[str, Any] = {"models": {}, "code": "test", "run_id": "test"}
    letters = pd.DataFrame({"letter_id": ["a", "b"], "text": text})
    state = {"contract": CONTRACT, "repairs": ""}
    good = run_stage(
        Slot(FLOW, "contract", HOUR), lambda _: StageOutput(letters, {"contract": "letters v1"}), inputs={},
        params={"state": state, "text": text}, **shared,
    )  # fmt: skip
    decided = pd.DataFrame({
        "entity_key": ["a", "b"], "risk": 0.4, "route": "suggest", "money": 0.0, "queue": "care", "priority": 1,
        "resolutions": json.dumps(ANSWERS), "edits": json.dumps({"edited": "reply"}), "reply": REPLY, **more,
    })  # fmt: skip

    rows = [{"entity_key": key, "risk": 0.4, "route": "suggest"} for key in ("a", "b")]
    published = PUBLISHED["written"](FLOW, HOUR, decisions=rows)

    def on_commit(conn: Connection, commit_id: int) -> None:
        published.enforce(conn, commit_id)
        cases.open_cases(conn, FLOW, HOUR, decided)

    run_stage(
        Slot(FLOW, "publish", HOUR), lambda _: StageOutput(decided, {}, on_commit), inputs={"decisions": good.ref},
        params={"output_contract": contract or DECISIONS, "more": json.dumps(more)}, **shared,
    )  # fmt: skip
