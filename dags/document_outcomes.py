"""Airflow DAG `document_outcomes`: every hour, take in what clerks filed earlier documents under.

**What it does.** Six hours after the documents arrived, a delivery says of each what it turned out to be: type, intent,
and whether it was an attempt at fraud. It is checked against its contract and published as labels, which wakes the
monitors. Decisions on cases become labels when they are made, not here.

**When it fails.** *contract* red: the delivery is malformed as a whole; ask the sender, or repair it in quarantine.
"""

from baton.airflow.flows import Flow

with Flow(
    "document_outcomes",
    pack="customer_experience",
    cron="0 * * * *",
    late=6,
    owner="document-services",
    tags=["impact:tier2"],
    deadline_minutes=60,
    doc_md=__doc__,
) as flow:
    outcomes = flow.contract(flow.ingest("document_outcomes"), "document_outcomes")
    flow.publish_labels(
        outcomes,
        about="document_intake",
        entity="document_id",
        labels=["type", "intent", "risky"],
        origin="outcome",
        rank=2,
    )
