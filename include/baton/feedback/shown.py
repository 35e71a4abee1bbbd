"""What a person was shown of a case when they answered it, as a digest on the ledger; where the content is kept.

The row of the case keeps what it showed: no run changes a case that a person has answered. The decision, the scores and the source
row lie in the store, under the commit that the ledger names, as long as retention keeps them. So whoever doubts what somebody
decided on computes the digest again.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from baton.published.rows import in_force

_FIELDS = ("flow", "entity_key", "partition", "route", "queue", "priority", "risk", "title", "reasons", "resolutions", "edits", "money",
           "why")  # fmt: skip


def digest(case: Mapping[Any, Any], decisions: str) -> str:
    """SHA-256 over what a case showed.

    Args:
        case: its row.
        decisions: SHA-256 of the published decisions that it belongs to; it keeps short titles from being guessed.
    """
    said = [decisions, *(case[name] for name in _FIELDS)]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def shown(conn: Connection, case: Mapping[Any, Any]) -> dict[str, Any]:
    """For the ledger: commit of the decision that is in force, SHA-256 of its rows, and the digest of all that was shown."""
    found = in_force(case["flow"], case["partition"], conn)
    decisions = "" if found is None or found.decisions is None else found.decisions.content_sha256
    return {
        "commit": None if found is None else found.commit_id,
        "decisions": decisions,
        "sha256": digest(case, decisions),
    }
