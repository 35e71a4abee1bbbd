"""Stages of the flow `replenishment`: from a forecast distribution to orders that are placed once."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from pydantic import Field
from sqlalchemy import Connection

from baton.actions.action import Action, Approval
from baton.data.datasets import read
from baton.effects import firewall, outbox
from baton.errors import BatonError
from baton.feedback import adjustments
from baton.packs.pack import find_model
from baton.record import ledger
from baton.specs.base import Spec
from baton.stages import StageJob, StageOutput, engine_step, read_inputs
from baton_packs.supply_chain.ordering import alternatives, inventory
from baton_packs.supply_chain.ordering import rules as ordering

EFFECT = "purchase_order"  # kind in the outbox
FIELD = "quantity"
ORDER, APPROVE, NONE = "order", "approve", "none"


def _rules(job: StageJob) -> dict[str, Any]:
    return ordering.load().model_dump(mode="json")


def _proposal_state(job: StageJob) -> Mapping[str, Any]:
    """Besides its inputs a proposal depends on the rules and on what people changed in earlier weeks."""
    known = adjustments.known(job.flow, before=job.partition, field=FIELD)
    return {"rules": _rules(job), "changes": known.drop(columns="reason").to_dict("records")}


@engine_step(fingerprint=_proposal_state)
def propose(job: StageJob) -> StageOutput:
    """Propose each item's order from the distribution of its demand.

    Inputs: forecast (scored frame), stock, history.

    Returns:
        see `inventory.propose`; facts: orders, amount, exceptional items, learned factors.
    """
    rules, frames = ordering.load(), read_inputs(job.inputs)
    spec: Any = find_model("demand")[1]
    changes = adjustments.known(job.flow, before=job.partition, field=FIELD)
    learned = inventory.learn(changes.rename(columns={"entity_key": "item"}))
    forecast, data = frames["forecast"], spec.data
    proposals = inventory.propose(
        forecast, frames["stock"], rules.by_item, rules.budget, seed=rules.seed, learned=learned,
        open_orders=open_orders(frames["stock"]),
        past=inventory.past_demand(frames["history"], spec.horizon, data.entity, data.time, data.target),
    )  # fmt: skip
    ordered = proposals[proposals["quantity"] > 0]
    return StageOutput(proposals, {
        "orders": len(ordered), "amount": round(float(ordered["amount"].sum()), 2), "learned": learned,
        "exceptional": proposals.loc[proposals["exceptional"], "item"].tolist(),
    })  # fmt: skip


def open_orders(stock: pd.DataFrame) -> pd.DataFrame:
    """Units on their way, from the columns `due_1`, `due_2`, ...: item, quantity, due_week (weeks from now)."""
    due = [name for name in stock if str(name).startswith("due_")]
    long = stock.melt(id_vars="item", value_vars=due, var_name="due_week", value_name="quantity")
    long = long.assign(due_week=long["due_week"].str.removeprefix("due_").astype(int))
    return pd.DataFrame(long[long["quantity"] > 0][["item", "quantity", "due_week"]]).reset_index(drop=True)


class ShareOptions(Spec):
    """Options of `simulate`: this task takes the items at `part`, `part + parts`, ... of the sorted ones."""

    part: int = Field(ge=0, description="which share, from 0")
    parts: int = Field(ge=1, description="how many shares there are")


@engine_step(ShareOptions, fingerprint=_rules)
def simulate(job: StageJob[ShareOptions]) -> StageOutput:
    """Simulate a share of the proposals and what could be ordered instead, each over the same seeded futures.

    Inputs: proposals, forecast, stock.

    Returns:
        see `alternatives.summarise`; lists and dicts as JSON text.
    """
    rules, frames = ordering.load(), read_inputs(job.inputs)
    due = open_orders(frames["stock"])
    mine = frames["proposals"].sort_values("item").iloc[job.options.part :: job.options.parts]
    tables = []
    for row in mine.to_dict("records"):
        coming = due.loc[due["item"] == row["item"], ["quantity", "due_week"]].to_numpy().tolist()
        outcomes = alternatives.simulate_alternatives(
            row, frames["forecast"], rules.by_item[row["item"]], seed=rules.seed, open_orders=coming, runs=rules.runs
        )
        tables.append(alternatives.best(alternatives.summarise(outcomes), rules.by_item[row["item"]]))
    if not tables:
        return StageOutput(pd.DataFrame({"item": pd.Series(dtype=str)}), {"items": 0})
    table = pd.concat(tables, ignore_index=True)
    for name in [c for c in table if str(c).startswith("stock_p")] + ["by_scenario"]:
        table[name] = [json.dumps(cell) for cell in table[name]]
    return StageOutput(table, {"items": len(mine), "futures": rules.runs})


def _placed_state(job: StageJob) -> Mapping[str, Any]:
    """Orders of this partition that are out cannot be decided again."""
    return {"rules": _rules(job), "placed": _placed(job)}


def _placed(job: StageJob) -> dict[str, dict[str, Any]]:
    """Orders of the partition that the supplier has, or may have: item -> what was sent."""
    return {} if job.dry_run else outbox.left(job.flow, job.partition, EFFECT)


@engine_step(fingerprint=_placed_state)
def decide(job: StageJob) -> StageOutput:
    """Take the proposal, or the alternative that was picked where the policy lets it; route it.

    Inputs: proposals, simulated, advice.

    Returns:
        one row per item: entity_key, title, item, supplier, quantity, unlearned, express (bool), money, risk, route (none |
        order | approve), alternative, text (why, for people), source (agent | template | rule), exceptional, reasons (JSON).
    """
    rules, frames = ordering.load(), read_inputs(job.inputs)
    offers = {(row["item"], row["alternative"]): row for row in frames["simulated"].to_dict("records")}
    advice = {row["entity_key"]: row for row in frames["advice"].to_dict("records")}
    out = _placed(job)
    rows = []
    for one in frames["proposals"].to_dict("records"):
        said = advice.get(one["item"], {})
        offer = offers.get((one["item"], said.get("choice") or "as_proposed"))
        quantity, money = one["quantity"], one["amount"]
        if offer:
            quantity, money = int(offer["quantity"]), float(offer["amount"])
        express, reasons = bool(offer and offer["alternative"] == "express"), json.loads(one["reasons"])
        if sent := out.get(one["item"]):
            quantity, money, express = int(sent["quantity"]), float(sent["amount"]), bool(sent["express"])
            out_already = f"{quantity:,} units were ordered already for this week"
            reasons.append(f"{out_already}: an order that is out stays as it is")
        route = NONE if quantity == 0 else ORDER if sent or money <= rules.approval_limit else APPROVE
        rows.append({
            "entity_key": one["item"], "title": f"{one['item']} from {one['supplier']}", "item": one["item"], "supplier": one["supplier"], "quantity": quantity,
            "unlearned": one["unlearned"], "express": express, "money": money, "risk": one["stockout_with"],
            "route": route, "alternative": offer["alternative"] if offer else "as_proposed",
            "text": said.get("text") or "; ".join(reasons[:2]), "source": said.get("source") or "rule",
            "exceptional": one["exceptional"], "reasons": json.dumps(reasons),
        })  # fmt: skip
    decisions = pd.DataFrame(rows)
    waiting = decisions[decisions["route"] == APPROVE]
    return StageOutput(decisions, {"waiting": waiting["item"].tolist(), "placed": sorted(out)})


def _outbox_state(job: StageJob) -> Mapping[str, Any]:
    """What is in the outbox now: an order that another plan withdrew must be put there again."""
    known = outbox.effects(job.flow, job.partition, EFFECT)
    wanted = {one.entity_key: one.payload for one in known if one.state != outbox.WITHDRAWN}
    return {"rules": _rules(job), "wanted": wanted}


class OrderOptions(Spec):
    """Options of `place`."""

    answer: dict[str, Any] | None = Field(default=None, description="result of the review; null: what needs no answer")


@engine_step(OrderOptions, fingerprint=_outbox_state)
def place(job: StageJob[OrderOptions]) -> StageOutput:
    """Put the orders that may go out into the outbox; with a person's answer, the approved ones too.

    Inputs: decisions.

    The option `answer`, where a review came before, holds: answer (approved | rejected | timeout | none), changes
    (item -> quantity), actor.

    Returns:
        the orders that go out; facts: orders, changed, held back. What a person changed is recorded as an adjustment in
        the same transaction, and a proposal of a later week learns from it.

    Raises:
        BatonError: an answer for an item that was not asked about; an order that is out already would change.
    """
    rules = ordering.load()
    decisions: pd.DataFrame = read(job.inputs["decisions"])
    asked = decisions[decisions["route"] == APPROVE]
    going = decisions[decisions["route"] == ORDER]
    answer = job.options.answer or {}
    reviewed, held = [], [] if answer.get("answer") == "approved" else asked["item"].tolist()
    if answer.get("answer") == "approved":
        approved = _as_answered(asked, answer["changes"], rules.by_item)
        reviewed = [
            {"entity_key": row["item"], "field": FIELD, "proposed": row["unlearned"], "decided": row["quantity"],
             "actor": answer["actor"]}
            for row in approved.to_dict("records")
        ]  # fmt: skip
        going = pd.concat([going, approved[approved["quantity"] > 0]], ignore_index=True)
    yes = {row["entity_key"]: Approval.of_answer(answer) for row in reviewed}
    before = dict(zip(asked["item"], asked["quantity"], strict=True))
    changed = [row["entity_key"] for row in reviewed if row["decided"] != before[row["entity_key"]]]

    def on_commit(conn: Connection, commit_id: int) -> None:
        actions = [_action(job, row, yes) for row in going.to_dict("records")]
        firewall.place(conn, job.pack, job.flow, job.partition, actions, kinds=(EFFECT,))
        if answer:
            said = {name: answer.get(name) for name in ("answer", "changes", "actor")}
            ledger.append(conn, "orders_reviewed", f"{job.flow}/{job.partition}", {**said, "commit": commit_id})
            adjustments.record(conn, job.flow, job.partition, reviewed)

    return StageOutput(going, {"orders": len(going), "changed": changed, "held_back": held}, on_commit)


def _as_answered(asked: pd.DataFrame, changes: Mapping[str, Any], policies: Mapping[str, Any]) -> pd.DataFrame:
    """The asked decisions with the quantities that the person gave, and what they cost."""
    unknown = sorted(set(changes) - set(asked["item"]))
    if unknown:
        raise BatonError(f"the answer names {', '.join(unknown)}, which was not asked about: clear the review task")
    rows = asked.copy()
    quantities, money = [], []
    for item, quantity, express in zip(rows["item"], rows["quantity"], rows["express"], strict=True):
        policy = policies[item]
        quantities.append(int(changes.get(item, quantity)))
        money.append(round(quantities[-1] * (policy.unit_cost + (policy.expedite_cost or 0.0) * express), 2))
    return rows.assign(quantity=quantities, money=money)


def _action(job: StageJob, row: Mapping[Any, Any], yes: Mapping[str, Approval]) -> Action:
    """What the policy judges: the order, what it costs, who approved it; no order takes itself back, the supplier does."""
    approvals = [yes[row["item"]]] if row["item"] in yes else []
    payload = _payload(job, row)
    return Action(EFFECT, row["item"], row["item"], payload, amount=payload["amount"], approvals=approvals)


def _payload(job: StageJob, row: Mapping[Any, Any]) -> dict[str, Any]:
    """What the purchasing API is sent."""
    return {
        "item": row["item"], "supplier": row["supplier"], "quantity": int(row["quantity"]),
        "amount": float(row["money"]), "express": bool(row["express"]), "week": job.partition[:10],
    }  # fmt: skip
