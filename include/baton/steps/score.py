"""Scoring stage: one verified model version on one partition."""

from __future__ import annotations

from baton.data.datasets import read
from baton.families import family
from baton.packs.pack import find_model
from baton.registry.client import Registry
from baton.stages.job import StageJob, engine_step
from baton.stages.slots import StageOutput


@engine_step()
def score(job: StageJob) -> StageOutput:
    """Score every row with the version recorded for this partition.

    Options:
        model: name of the model.
        explain: share of the rows, highest scores first, that get reason codes (default 0.02).

    Returns:
        columns entity_key (str), model, version (int), score (of a table: probability or anomaly quantile, 0..1; of
        series: the median forecast), reasons (JSON list of [feature, contribution] or null), `_row`, and what the
        family adds (quantiles of a forecast).
    """
    name = job.options["model"]
    version = job.models[name]
    _, spec = find_model(name)
    registry, maker = Registry(), family(spec.family)
    model = maker.load(registry.download(name, version))
    frame = maker.score(spec, model, read(job.inputs["data"]), job.options.get("explain", 0.02))
    frame.insert(1, "model", name)
    frame.insert(2, "version", version)
    return StageOutput(frame, {"mlflow": registry.version_url(name, version)})
