"""Scoring stage: one verified model version on one partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baton.slots import StageOutput
from baton.stages import StageJob, engine_step

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@engine_step()
def score(job: StageJob) -> StageOutput:
    """Score every row with the version recorded for this partition.

    Options:
        model: name of the model.
        explain: share of the rows, highest scores first, that get reason codes (default 0.02).

    Returns:
        columns entity_key (str), model, version (int), score (probability or anomaly quantile, 0..1),
        reasons (JSON list of [feature, contribution] or null), `_row`.
    """
    from baton.datasets import read
    from baton.families import load
    from baton.packs import find_model
    from baton.registry import Registry

    name = job.options["model"]
    version = job.models[name]
    _, spec = find_model(name)
    registry = Registry()
    model = load(registry.download(name, version))
    data = read(job.inputs["data"])
    frame = scored_frame(data, spec.data.entity, name, version, model, job.options.get("explain", 0.02))
    return StageOutput(frame, {"mlflow": registry.version_url(name, version)})


def scored_frame(
    data: pd.DataFrame, entity: str, name: str, version: int, model: object, explain: float
) -> pd.DataFrame:
    """Scores of all rows and reason codes of the highest share `explain` of them."""
    import json

    import numpy as np
    import pandas as pd

    scores = model.predict(data).probability  # type: ignore[attr-defined]
    reasons: np.ndarray = np.full(len(data), None, dtype=object)
    top = min(len(data), int(np.ceil(explain * len(data))))
    if top:
        rows = np.argpartition(-scores, top - 1)[:top]
        for row, codes in zip(rows, model.explain(data.iloc[rows]), strict=True):  # type: ignore[attr-defined]
            reasons[row] = json.dumps([[feature, round(float(value), 4)] for feature, value in codes])
    return pd.DataFrame({
        "entity_key": data[entity].astype(str).to_numpy(), "model": name, "version": version,
        "score": scores, "reasons": pd.Series(reasons, dtype=object), "_row": data["_row"].to_numpy(),
    })  # fmt: skip
