"""Airflow DAG `replenishment`: every week, turn the forecast of each item's demand into orders.

**What it does.** Reads the week's sales, the promotion plan and the stock, each against its contract; forecasts the
demand distribution with the `demand` champion; proposes orders by the item's policy; simulates them and their
alternatives side by side over many futures (late supplier, demand spike, closed route); explains exceptional ones;
publishes forecasts and decisions; writes the week's report; sends what may go out to the purchasing API, each order
once; orders above the limit wait for a person, who may change the quantity.

**When it fails.** *contract* red: the delivery is broken as a whole. *history* or *score* red: the message names the
series and the week, for example a gap. *send* red: the purchasing API refused or could not be reached; what was sent
is on record, the next try asks first and sends the rest. Nothing is ordered twice, however often a task is cleared.

**Trigger form.** A week's run can be repeated at any time: orders that are out stay as they are. *Dry run* computes
everything and orders nothing.
"""

from datetime import timedelta

from baton.airflow.flows import Flow

STEPS = "baton_packs.supply_chain.steps"
PURCHASING = {
    "effect": "purchase_order", "conn_id": "purchasing", "endpoint": "orders", "receipt": "order_id",
    "echoes": ["item", "quantity"],
}  # fmt: skip
PARTS = 2

with Flow(
    "replenishment",
    pack="supply_chain",
    cron="0 0 * * 1",
    models=["demand"],
    owner="inventory-control",
    step="1w",
    tags=["impact:tier2"],
    deadline_minutes=24 * 60,  # orders may wait for a person until the next day
    run_timeout=timedelta(days=4),
    max_active_runs=4,  # a week that waits for a person holds up no other
    doc_md=__doc__,
) as flow:
    arrived = flow.ingest("sales")
    sales = flow.contract(arrived, "sales")
    plan = flow.contract(flow.ingest("plan", also=arrived), "plan")
    stock = flow.contract(flow.ingest("stock", also=arrived), "stock")
    flow.publish_truth(sales, "demand", origin="sales")

    history = flow.history(sales, "demand", plan=plan)
    forecast = flow.score(history, "demand", "forecasts")
    proposals = flow.stage("propose", f"{STEPS}:propose", forecast=forecast, stock=stock, history=history)
    simulated = flow.mapped(
        "simulate", f"{STEPS}:simulate", [{"part": part, "parts": PARTS} for part in range(PARTS)],
        proposals=proposals, forecast=forecast, stock=stock,
    )  # fmt: skip
    advice = flow.advise(
        "advise", "baton_packs.supply_chain.advice:INVENTORY", proposals=proposals, simulated=simulated
    )
    decisions = flow.stage("decide", f"{STEPS}:decide", proposals=proposals, simulated=simulated, advice=advice)
    published = flow.publish(decisions, {"demand": forecast}, case_routes=[])
    flow.stage(
        "report", "baton_packs.supply_chain.report.stage:report",
        decisions=published, simulated=simulated, forecast=forecast, history=history, stock=stock,
    )  # fmt: skip

    orders = flow.stage("order", f"{STEPS}:place", decisions=published)
    flow.deliver("send", after=orders, **PURCHASING)
    answer = flow.review(
        published, field="quantity", title="title", columns=["text"],
        subject="Orders above the limit: replenishment {partition}",
        body="Each quantity may be changed before approving; 0 leaves the item out.",
    )  # fmt: skip
    reviewed = flow.stage("order_reviewed", f"{STEPS}:place", decisions=published, answer=answer, after=orders)
    flow.deliver("send_reviewed", after=reviewed, **PURCHASING)
