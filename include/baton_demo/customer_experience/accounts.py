"""The demo's table: counted in the warehouse and the committed decisions, against the simulator's truth."""

from collections import Counter
from typing import Any

from baton.names import score_of
from baton_demo.customer_experience.playbook import DOCUMENTS, MESSAGES, CustomerExperiencePlaybook

# what a model says, which column of its truth answers it, and in which flow
MODELS = {
    "document_type": (DOCUMENTS, "type"), "document_intent": (DOCUMENTS, "intent"),
    "message_intent": (MESSAGES, "intent"), "message_sentiment": (MESSAGES, "sentiment"),
}  # fmt: skip


def hours(book: CustomerExperiencePlaybook, partitions: list[str]) -> list[dict[str, Any]]:
    """One row per hour: documents and messages by route, how many answers left, model versions."""
    from baton.quarantine.records import accounting
    from baton.record.used_models import recorded_models

    mails = Counter((one["flow"], one["partition"]) for one in book.mails())
    rows = []
    for partition in partitions:
        documents, messages = book.published(DOCUMENTS, partition), book.published(MESSAGES, partition)
        route, said = documents["route"].value_counts(), messages["route"].value_counts()
        versions = recorded_models(DOCUMENTS, partition) | recorded_models(MESSAGES, partition)
        left = mails[DOCUMENTS, partition] + mails[MESSAGES, partition]
        rows.append({
            "partition": partition, "documents": len(documents), "file": int(route.get("file", 0)),
            "answered": int(route.get("reply", 0) + route.get("follow_up", 0)), "approve": int(route.get("approve", 0)),
            "escalate": int(route.get("escalate", 0)), "quarantined": accounting(DOCUMENTS, partition)["open"],
            "messages": len(messages), "send": int(said.get("send", 0)), "suggest": int(said.get("suggest", 0)),
            "escalated": int(said.get("escalate", 0)),
            "sent": int(route.get("reply", 0) + route.get("follow_up", 0) + route.get("approve", 0) + said.get("send", 0)),
            "left": left, "models": " ".join(f"v{versions[name]}" for name in sorted(versions)),
        })  # fmt: skip
    return rows


def right(book: CustomerExperiencePlaybook, spans: dict[str, list[str]]) -> dict[str, dict[str, float]]:
    """Model -> span -> share of what it named right, of what belongs to one of its classes."""
    import pandas as pd

    from baton.data.datasets import read
    from baton.stages.slots import Slot, head

    found: dict[str, dict[str, float]] = {}
    for model, (flow, target) in MODELS.items():
        key, truths = ("document_id", book.documents) if flow == DOCUMENTS else ("message_id", book.messages)
        for span, partitions in spans.items():
            parts = []
            for partition in partitions:
                scored = head(Slot(flow, score_of(model), partition))
                assert scored is not None
                parts.append(read(scored.ref).merge(truths[partition], left_on="entity_key", right_on=key))
            whole = pd.concat(parts)
            whole = whole[whole[target] != ""]
            found.setdefault(model, {})[span] = round(float((whole["category"] == whole[target]).mean()), 4)
    return found


def letters(partitions: list[str]) -> dict[str, int]:
    """Who wrote the answers: agent, template or rule."""
    from baton.data.datasets import read
    from baton.stages.slots import Slot, head

    written: Counter[str] = Counter()
    for flow in (DOCUMENTS, MESSAGES):
        for partition in partitions:
            composed = head(Slot(flow, "compose", partition))
            assert composed is not None
            frame = read(composed.ref)
            written.update(frame.loc[frame["reply"].notna(), "written_by"].astype(str).tolist())
    return dict(written)
