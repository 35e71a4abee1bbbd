"""The demo's table: rows, models, metrics and people's decisions, counted in the warehouse."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def partition_table(partitions: list[str]) -> list[dict[str, Any]]:
    """One row per partition: rows in, published, open, discarded, superseded, model versions, routes."""
    from baton.published.rows import DECISIONS, batches, in_force
    from baton.quarantine.records import accounting
    from baton.record.used_models import recorded_models

    rows = []
    for partition in partitions:
        place = in_force(FLOW, partition)
        said = (
            [route for batch in batches(place, DECISIONS) for route in batch.column("route").to_pylist()]
            if place
            else []
        )
        routes = dict(Counter(said))
        counts = accounting(FLOW, partition)
        rows.append({"partition": partition, **counts, "routes": routes, "models": recorded_models(FLOW, partition)})
    return rows


def truth(partitions: list[str]) -> pd.Series:
    """The recording's labels of these hours by entity key: for the table only, no stage reads them before they arrive."""
    import pandas as pd

    from baton.packs.pack import load_pack
    from baton.sources.reading import read_partition

    pack = load_pack("financial_crime")
    frames = [read_partition(pack, "labels", partition).frame for partition in partitions]
    labels = pd.concat(frames)
    return pd.Series(labels["is_fraud"].to_numpy(), index=labels["transaction_id"].astype(str))


def average_precision(partitions: list[str]) -> float:
    """Average precision of the published `card_fraud` scores of these hours against the recording's labels."""
    import pandas as pd
    from sklearn.metrics import average_precision_score

    from baton.published.rows import PREDICTIONS, batches, in_force

    places = [place for partition in partitions if (place := in_force(FLOW, partition))]
    said = pd.concat([batch.to_pandas() for place in places for batch in batches(place, PREDICTIONS)])
    scores = said.loc[said["model"] == MODEL, ["entity_key", "score"]].reset_index(drop=True)
    labels = scores["entity_key"].map(truth(partitions))
    known = labels.notna()
    return float(average_precision_score(labels[known].astype(int), scores["score"][known]))


def champions() -> list[dict[str, Any]]:
    """Every model's versions with their aliases and held-out metrics."""
    from baton.packs.pack import load_pack
    from baton.record import ledger
    from baton.registry.client import Registry

    registry = Registry()
    rows = []
    for model in load_pack("financial_crime").models:
        aliases = registry.aliases(model)
        for version in registry.versions(model):
            names = sorted(alias for alias, number in aliases.items() if number == version.version)
            registered = ledger.entries(f"{model}/{version.version}", "version_registered", limit=1)
            metrics = registered[0].payload["metrics"] if registered else {}
            rows.append({"model": model, "version": version.version, "aliases": names, "metrics": metrics})
    return rows


def drift_windows() -> list[dict[str, Any]]:
    """The monitor's windows in order, with the strongest features and their effect."""
    from sqlalchemy import select

    from baton.record import tables
    from baton.record.warehouse import read

    table = tables.drift_windows
    query = select(table).where(table.c.model == MODEL).order_by(table.c.partition)
    with read() as conn:
        return [
            {"partition": row["partition"], "version": row["version"], "verdict": row["verdict"],
             "features": {r["feature"]: round(r["effect"], 3) for r in row["table"]["rows"] if r["drifted"]}}
            for row in conn.execute(query).mappings()
        ]  # fmt: skip


FLOW, LABELS_FLOW, MODEL = "transaction_monitoring", "transaction_labels", "card_fraud"
