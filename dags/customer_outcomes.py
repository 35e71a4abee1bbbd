"""Airflow DAG `customer_outcomes`: every hour, take in what became of earlier replies, and keep the week's quality.

**What it does.** Six hours later a delivery says of each message whether the reply was accepted, edited, rejected or the
case reopened, and what it was really about. It is checked against its contract; the intents are published as labels,
which wakes the monitor of `message_intent`; the week so far is summed up by route, with what people decided on
cases where no outcome was delivered: a report linked from the task, its figures in the task's facts.

**When it fails.** *contract* red: the delivery is malformed as a whole; ask the sender, or repair it in quarantine.
"""

from baton.airflow.flows import Flow

with Flow(
    "customer_outcomes",
    pack="customer_experience",
    cron="0 * * * *",
    late=6,
    owner="customer-care",
    tags=["impact:tier2"],
    deadline_minutes=60,
    doc_md=__doc__,
) as flow:
    outcomes = flow.contract(flow.ingest("customer_outcomes"), "customer_outcomes")
    flow.publish_labels(
        outcomes, about="customer_experience", entity="message_id", labels=["intent"], origin="outcome", rank=2
    )
    flow.stage("quality", "baton_packs.customer_experience.service.quality:quality", outcomes=outcomes)
