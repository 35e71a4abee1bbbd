"""Airflow DAG `incident_outcomes`: a day later, say which rows nobody has found anything in, so that the models can learn from them.

**What it does.** Analysts' verdicts are labels of the rows that their incident was found in as soon as they are given, not here. Here
the others follow: connections and five minutes of log that no incident has to do with are published as harmless, with the lowest rank
(a verdict, also a later one, outdoes it); what stands beside an incident is left open. This wakes the monitor of `network_intrusion`.

**When it fails.** Only where warehouse or store cannot be read; clear the task. Until then the models learn from the days before.
"""

from baton.airflow.flows import Flow

with Flow(
    "incident_outcomes", pack="incident_response", cron="*/5 * * * *", step="5m", late=288, owner="security-operations",
    tags=["impact:tier2"], deadline_minutes=60, doc_md=__doc__,
) as flow:  # fmt: skip
    quiet = flow.stage(
        "outcomes", "baton_packs.incident_response.incidents.outcomes:stage", {"flow": "incident_response"}
    )
    flow.publish_labels(
        quiet, about="incident_response", entity="entity_key", labels=["is_attack", "attacked"], origin="quiet"
    )
