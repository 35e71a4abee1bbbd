"""Airflow DAG `transaction_monitoring`: every hour, decide on each card transaction: clear, review or block.

**What it does.** Reads the hour's transactions, checks them against their contract (bad rows go to quarantine,
a broken contract stops the run), scores them side by side with the supervised `card_fraud` model and the
unsupervised `transaction_anomaly` model, combines both into a route, publishes decisions and scores with the
model version per row, and opens a case for everything that needs a person. The row groups of a large file are read side by side
by *read_pieces*, and of an hour of many parts *judge_parts* judges the parts before *contract* judges the whole; for less both are
skipped, and that is no fault.

**When it fails.** *contract* red: the hour's data are broken as a whole (a unit error, a missing column). Look at
the task's *Validation result*, repair with `baton quarantine`, re-inject. *ingest* skipped: nothing was delivered.
Anything else is retried; a run can always be repeated: the same inputs give the same rows.

**Trigger form.** A partition range starts one run per hour; *recorded* repeats an hour with the versions it used
before, *champion* supersedes it with today's champion; *dry run* changes no table.
"""

from baton.airflow.flows import Flow

with Flow(
    "transaction_monitoring",
    pack="financial_crime",
    cron="0 * * * *",
    models=["card_fraud", "transaction_anomaly"],
    owner="fraud-operations",
    tags=["impact:tier1"],
    deadline_minutes=30,
    doc_md=__doc__,
) as flow:
    transactions = flow.contract(flow.ingest("transactions", shared=True), "transactions", shared=True)
    scores = {model: flow.score(transactions, model) for model in ("card_fraud", "transaction_anomaly")}
    decisions = flow.stage("decide", "baton_packs.financial_crime.steps:combine", transactions=transactions, **scores)
    answers = {"fraud": {"is_fraud": 1}, "legitimate": {"is_fraud": 0}}
    flow.publish(decisions, scores, case_routes=["review", "block"], resolutions=answers)
