"""Airflow DAG `transaction_labels`: every hour, take in what became known about earlier transactions.

**What it does.** Chargebacks and expired dispute periods arrive late; here six hours. A delivery says of each
transaction of one hour whether it was fraud; it is checked against its contract and published as labels, which
wakes the monitor of `card_fraud`. Analysts' decisions on cases become labels when they are made, not here.

**When it fails.** *contract* red: the delivery is malformed as a whole; ask the sender, or repair it in quarantine.
"""

from baton.airflow.flows import Flow

with Flow(
    "transaction_labels",
    pack="financial_crime",
    cron="0 * * * *",
    late=6,
    owner="fraud-operations",
    tags=["impact:tier2"],
    deadline_minutes=60,
    doc_md=__doc__,
) as flow:
    delivery = flow.contract(flow.ingest("labels"), "labels")
    flow.publish_labels(
        delivery,
        about="transaction_monitoring",
        entity="transaction_id",
        labels=["is_fraud"],
        origin="chargeback",
        rank=2,
    )
