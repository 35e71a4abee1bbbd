"""Airflow DAG `incident_report`: every week, measure how incident response went, with plots.

**What it does.** Reads the week's decisions, cases and effects of `incident_response`: times to detect, triage and contain,
the share of remedies taken back, false positives; writes a page, linked from the task.

**When it fails.** Only where warehouse or store cannot be read; nothing depends on it, clear the task.
"""

from baton.airflow.flows import Flow

with Flow(
    "incident_report", pack="incident_response", cron="0 6 * * 1", step="1w", owner="security-operations",
    tags=["impact:tier2"], doc_md=__doc__,
) as flow:  # fmt: skip
    flow.stage("report", "baton_packs.incident_response.reports.weekly:stage", {"flow": "incident_response"})
