"""The stage of the lifecycle's tests: the pack `shop`, its orders hour by hour, and a hand that runs single stages.

`test_lifecycle.py` loads it by path, because tests are no package: `SHOP = runpy.run_path(...)`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from baton.packs import pack as packs
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import StageResult

MODEL, FLOW = "late_order", "shop_flow"
HOURS = [f"2026-11-20T{hour:02d}:00:00" for hour in range(24)]
PER_HOUR, HISTORY_HOURS = 150, 10

MODEL_YAML = """\
model: late_order
family: classification
owner: tests
description: Probability that an order arrives late
data: {entity: order_id, time: ordered_at, target: late, features: [x1, x2, x3]}
training:
  contract: labelled_orders
  history: {source: orders}
  recent: {flow: shop_flow, stage: contract}
  min_rows: 200
  min_positives: 20
  recent_weight: 5.0
candidates:
  - {name: logistic, estimator: sklearn.linear_model.LogisticRegression, params: {C: 0.0000001}}
validation: {folds: 2}
gate: {floor: 0.25, resamples: 100}
drift:
  min_rows: 100
  persistence: {k: 2, n: 3}
  cooldown: 2h
  budget: {retrains: 2, per: 7d}
  performance: {min_positives: 10}
  min_labelled_positives: 40
"""
GOVERNANCE_YAML = """\
default: {owner: ann, deputy: bob, impact: high, intended_use: tests, review: 2030-01-01}
model:
  late_order: {consumers: [shop_flow, shop_laddered, shop_shared, shop_alone]}
"""
CONTRACT_YAML = """\
contract: {name}
version: 1
owner: tests
description: orders of an hour
key: order_id
columns:
  order_id: {{type: int}}
  ordered_at: {{type: timestamp}}
  x1: {{type: float}}
  x2: {{type: float}}
  x3: {{type: float}}
{label}expectations:
  - {{type: expect_column_values_to_be_unique, kwargs: {{column: order_id}}, severity: critical, meta: {{rule: twice}}}}
"""
SOURCES_YAML = """\
orders:
  kind: file
  description: orders of an hour
  path: "{landing}/shop/orders-{partition}.parquet"
  history: "{data}/shop/history.parquet"
truth:
  kind: file
  description: what became of the orders of an hour
  path: "{landing}/shop/truth-{partition}.parquet"
"""


@contextmanager
def installed(root: Path, home: Path) -> Iterator[Path]:
    """The pack `shop`, installed as any third party's would be, with its history; yields the model's YAML file."""
    package = root / "shop_pack"
    metadata = root / "shop_pack-0.1.0.dist-info"
    for folder in (package / "models", package / "contracts", metadata, home / "data/shop", home / "landing/shop"):
        folder.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models/late_order.yaml").write_text(MODEL_YAML)
    for name, label in (("orders", ""), ("labelled_orders", "  late: {type: int}\n")):
        (package / f"contracts/{name}.yaml").write_text(CONTRACT_YAML.format(name=name, label=label))
    (package / "sources.yaml").write_text(SOURCES_YAML)
    (package / "governance.yaml").write_text(GOVERNANCE_YAML)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-pack\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[baton.packs]\nshop = shop_pack\n")
    history = pd.concat([orders(-hour) for hour in range(HISTORY_HOURS, 0, -1)], ignore_index=True)
    history.to_parquet(home / "data/shop/history.parquet")
    sys.path.insert(0, str(root))
    packs._installed.cache_clear()  # what is installed does not change in a running process, except here
    try:
        yield package / "models/late_order.yaml"
    finally:
        sys.path.remove(str(root))
        sys.modules.pop("shop_pack", None)
        packs._installed.cache_clear()


def orders(hour: int, drifted: bool = False, rows: int = PER_HOUR) -> pd.DataFrame:
    """Orders of one hour, counted from the first partition, every fifth late.

    The difference of x1 and x2 tells which, x1 alone hardly does. After the drift both have moved, their difference
    tells nothing any more, and x3, which never told anything, does.
    """
    rng = np.random.default_rng(1000 + hour)
    late = (np.arange(rows) % 5 == 0).astype(int)
    together = rng.normal(5.0 if drifted else 0.0, 2.0, rows)
    start = pd.Timestamp(HOURS[0], tz="UTC") + pd.Timedelta(hours=hour)
    return pd.DataFrame({
        "order_id": np.arange(1, rows + 1) + (hour + 100) * 1000,
        "ordered_at": start + pd.to_timedelta(np.arange(rows), unit="s"),
        "x1": together + (0.0 if drifted else 1.5) * late + rng.normal(0, 0.5, rows),
        "x2": together + rng.normal(0, 0.5, rows),
        "x3": (3.0 if drifted else 0.0) * late + rng.normal(0, 0.5, rows),
        "late": late,
    })  # fmt: skip


def step(
    flow: str, stage: str, partition: str, path: str, *, models: dict[str, int] | None = None, **given: Any
) -> StageResult:
    """Run one engine step; results among `given` are its inputs, the rest its options."""
    inputs = {name: value.ref for name, value in given.items() if isinstance(value, StageResult)}
    options = {name: value for name, value in given.items() if name not in (*inputs, "since")}
    job = StageJob("shop", flow, stage, partition, f"baton.{path}", inputs=inputs, options=options, models=models or {})
    return run(replace(job, since=given.get("since")))


def train(since: str | None = None) -> StageResult:
    """The stages of `late_order_train` in order, as its DAG wires them."""
    from baton.lifecycle.assemble import as_of

    flow, occasion, same = f"{MODEL}_train", as_of(MODEL), {"model": MODEL, "since": since}
    rows = step(flow, "assemble", occasion, "lifecycle.assemble:assemble", **same)
    good = step(
        flow, "contract", occasion, "steps.contract:contract", contract="labelled_orders", data=rows, since=since
    )
    tried = step(
        flow, "candidate__logistic", occasion, "lifecycle.fit:candidate", candidate="logistic", data=good, **same
    )
    return step(flow, "register", occasion, "lifecycle.fit:register", data=good, logistic=tried, **same)


def judge(version: int) -> StageResult:
    """The gate's task of `late_order_promote`."""
    return step(f"{MODEL}_promote", "judge", f"version-{version}", "lifecycle.promote:judge", model=MODEL)


def move(version: int) -> StageResult:
    """The last task of `late_order_promote`."""
    return step(
        f"{MODEL}_promote", "move_champion", f"version-{version}", "lifecycle.promote:move_champion", model=MODEL
    )


def ingest(home: Path, hour: int, choice: str = "recorded", **how: Any) -> tuple[StageResult, dict[str, int]]:
    """Deliver an hour's orders and run the flow's first stage; returns its result and the versions that it fixed."""
    from baton.steps.ingest import choose_models

    partition = HOURS[hour]
    file = home / f"landing/shop/orders-{partition.replace(':', '-')}.parquet"
    if not file.exists():
        orders(hour, **how).drop(columns="late").to_parquet(file)
    models, _, _ = choose_models(FLOW, partition, [MODEL], choice)
    return step(FLOW, "ingest", partition, "steps.ingest:ingest", source="orders", models=models), models


def flow(home: Path, hour: int, **how: Any) -> StageResult:
    """The flow on one hour: ingest, contract, score, publish."""
    raw, models = ingest(home, hour, **how)
    partition = HOURS[hour]
    good = step(FLOW, "contract", partition, "steps.contract:contract", contract="orders", data=raw, models=models)
    scores = step(FLOW, f"score__{MODEL}", partition, "steps.score:score", model=MODEL, data=good, models=models)
    return step(FLOW, "publish", partition, "steps.publish:publish_predictions", models=models, scores=scores)


def tell(home: Path, hour: int, truth: pd.DataFrame) -> StageResult:
    """Deliver (or correct) the labels of an hour's orders, as the flow of labels does."""
    partition = HOURS[hour]
    truth[["order_id", "late"]].to_parquet(home / f"landing/shop/truth-{partition.replace(':', '-')}.parquet")
    data = step("shop_labels", "ingest", partition, "steps.ingest:ingest", source="truth")
    options = {"about": FLOW, "entity": "order_id", "labels": ["late"], "origin": "outcome"}
    return step("shop_labels", "publish", partition, "steps.publish:publish_labels", data=data, **options)
