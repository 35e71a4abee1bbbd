"""The flow's last stage for people: the week's report, stored as a page, linked from the task, logged to MLflow."""

import hashlib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from baton.data.pages import store_page
from baton.data.partitions import safe_name
from baton.families import family
from baton.families.forecast import orders
from baton.families.forecast.losses import coverage
from baton.families.forecast.panel.series import prepare
from baton.names import CONTRACT, HISTORY, contract_behind, ingest_of, score_of
from baton.packs.pack import find_model
from baton.record import ledger
from baton.registry.client import Registry
from baton.specs.forecast import ForecastSpec
from baton.stages import StageJob, StageOutput, engine_step, read_inputs
from baton.stages.slots import Slot, head
from baton.tracking.runs import ending, run_name
from baton_packs.supply_chain.ordering import rules as ordering
from baton_packs.supply_chain.report import page as report_page

MODEL = "demand"
ARTEFACT = "report.html"
# stages whose facts say what was degraded, filled in or left out
TOLD = (CONTRACT, *(contract_behind(ingest_of(one)) for one in ("plan", "stock")), HISTORY, score_of(MODEL), "advise")


def _state(job: StageJob) -> Mapping[str, Any]:
    """Besides its inputs the page depends on the rules and on what earlier stages say of themselves."""
    return {"rules": ordering.load().model_dump(mode="json"), "notes": notes(job)}


@engine_step(fingerprint=_state)
def report(job: StageJob) -> StageOutput:
    """Write the week's report.

    Inputs: decisions, simulated, forecast, history, stock.

    Returns:
        one row per item (see `page.page`); facts: report (address below the reports folder), mlflow (address of
        the run that has the page as an artefact), bytes, pictures.

    Raises:
        BatonError: the model cannot be had, or MLflow does not take the page.
    """
    frames, registry = read_inputs(job.inputs), Registry()
    _, spec = find_model(MODEL)
    assert isinstance(spec, ForecastSpec)
    fitted = family(spec.family).load(registry.download(MODEL, job.models[MODEL], job.flow))
    week = report_page.Week(
        job.partition, job.models[MODEL], job.dry_run, ordering.load(), frames["decisions"], frames["simulated"],
        frames["forecast"], frames["history"], frames["stock"], backtest(spec, fitted, frames["history"]), notes(job),
    )  # fmt: skip
    html, table, pictures = report_page.page(week)
    facts = {"report": store(job, html), "bytes": len(html.encode()), "pictures": pictures}
    return StageOutput(table, {**facts, "mlflow": _log(job, registry, html, facts)})


def store(job: StageJob, html: str) -> str:
    """Write the page, whole or not at all; returns its address below the reports folder."""
    digest = hashlib.sha256(html.encode()).hexdigest()[:16]
    return store_page(f"{job.flow}/{safe_name(job.partition)}-{digest}.html", html)


def _log(job: StageJob, registry: Any, html: str, facts: Mapping[str, Any]) -> str:
    """Log the page to a run of its own; returns the run's address."""
    tags = {"airflow.dag_id": job.flow, "airflow.run_id": job.run_id, "airflow.task_id": job.stage,
            "airflow.partition": job.partition, "baton.dry_run": str(job.dry_run).lower()}  # fmt: skip
    run = registry.start_run(
        MODEL, run_name(MODEL, job.partition, "report"), tags=tags, params={"version": job.models[MODEL]},
        metrics={name: float(facts[name]) for name in ("bytes", "pictures")},
    )  # fmt: skip
    with ending(registry, run):
        registry.log_text(run, ARTEFACT, html)
    return str(registry.run_url(run))


def notes(job: StageJob) -> list[str]:
    """What the run degraded, filled in or left out, as sentences in the order of its stages."""
    said = _refused(job)
    for stage in TOLD:
        found = head(Slot(job.slot.flow, stage, job.partition))
        said += [] if found is None else sentences(stage, found.facts)
    return said


def _refused(job: StageJob) -> list[str]:
    """That an earlier version forecast because the champion's files do not verify; see `steps.ingest`."""
    champion, version = Registry().recorded_champion(MODEL), job.models[MODEL]
    refusals = ledger.entries(subject=f"{MODEL}/{champion}", kind="version_refused")
    reasons = [entry.payload["reason"] for entry in refusals if entry.payload["instead"] == version]
    if champion == version or not reasons:
        return []
    return [f"Version {champion} of the model was refused ({reasons[0]}); version {version} forecast instead."]


def sentences(stage: str, facts: Mapping[str, Any]) -> list[str]:
    """What a stage's facts say of rows in quarantine, rows left out, periods filled in, and other degradation."""
    said = []
    if facts.get("status") == "quarantined":
        held = f"{facts['rows_in'] - facts['rows_good']:,} of {facts['rows_in']:,}"
        said.append(f"{held} rows break the contract {facts['contract']} and wait in quarantine.")
    if left := facts.get("left_out"):
        said.append(f"{left:,} rows of the history break the contract and were left out of it.")
    if filled := facts.get("filled"):
        said.append(f"Short gaps in the history were bridged: {report_page.named(filled)}.")
    return said + [f"{str(text).rstrip('.')}.".replace("agent ", "Agent ", 1) if stage == "advise" else str(text)
                   for text in facts.get("degraded", [])]  # fmt: skip


def backtest(spec: ForecastSpec, fitted: Any, history: pd.DataFrame) -> dict[str, Any]:
    """The backtest of the model that forecast, by item, by origin and over all.

    Args:
        fitted: the forecaster, with its backtest.
        history: for prices per item, where the gate has them.

    Returns:
        name, origins, first, last, season (in words), price (short and over in words, or None) and rows: group (item | origin |
        all), name, weeks, mase, coverage80, coverage95, bias (share of the sales, None without sales), cost (money per
        order, None without a price).
    """
    rows, losses = fitted.judged(), fitted.evidence()
    cost, price = None, spec.gate.cost
    if price is not None:
        columns = [source for source in (price.short, price.over) if isinstance(source, str)]
        prices = orders.prices(price, prepare(fitted.setting, history, columns))
        known = rows[rows["series"].isin(prices.index)]  # an item that is sold no more has no price
        cost = orders.order_cost(price, fitted.setting, known, prices)
    groups = [("all", "All items and origins", rows["series"].notna(), losses["series"].notna())]
    for o in sorted(rows["origin"].unique()):
        groups.append(("origin", f"From {o:%d %b %Y}", rows["origin"] == o, losses["origin"] == o))
    groups += [("item", i, rows["series"] == i, losses["series"] == i) for i in sorted(rows["series"].unique())]
    season = fitted.setting.seasons[0]
    return {
        "name": fitted.name, "origins": rows["origin"].nunique(), "first": rows["origin"].min(), "last": rows["origin"].max(),
        "season": "the same week of the year before" if season == 52 else f"the value {season} weeks before",
        "price": None if price is None else {"short": _priced(price.short), "over": _priced(price.over)},
        "rows": [_judged(group, name, rows[at], losses[of], cost) for group, name, at, of in groups],
    }  # fmt: skip


def _priced(source: str | float) -> str:
    return f"the item's {source}" if isinstance(source, str) else f"${source:,.2f}"


def _judged(group: str, name: str, rows: pd.DataFrame, loss: pd.DataFrame, cost: pd.DataFrame | None) -> dict[str, Any]:
    sold = float(rows["y"].sum())
    own = None if cost is None else cost.merge(loss[["series", "origin"]], on=["series", "origin"])["cost"]
    return {
        "group": group, "name": name, "weeks": len(rows), "mase": float(loss["mase"].mean()),
        "coverage80": coverage(rows, 0.8), "coverage95": coverage(rows, 0.95),
        "bias": float((rows["forecast"] - rows["y"]).sum()) / sold if sold > 0 else None,
        "cost": float(own.mean()) if own is not None and len(own) else None,
    }  # fmt: skip
