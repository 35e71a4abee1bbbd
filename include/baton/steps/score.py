"""Scoring stage: one verified model version on one partition."""

from pydantic import Field

from baton.data.datasets import read
from baton.families import family
from baton.packs.pack import find_model
from baton.registry.client import Registry
from baton.specs.base import Share, Spec
from baton.stages.job import StageJob
from baton.stages.slots import StageOutput
from baton.stages.step import engine_step


class ScoreOptions(Spec):
    """Options of `score`."""

    model: str = Field(description="name of the model")
    explain: Share = Field(default=0.02, description="share of the rows, highest scores first, that get reason codes")


@engine_step(ScoreOptions)
def score(job: StageJob[ScoreOptions]) -> StageOutput:
    """Score every row with the version recorded for this partition.

    Returns:
        columns entity_key (str), model, version (int), score (of a table: probability or anomaly quantile, 0..1; of
        series: the median forecast), reasons (JSON list of [feature, contribution] or null), `_row`, and what the
        family adds (quantiles of a forecast).
    """
    name = job.options.model
    version = job.models[name]
    _, spec = find_model(name)
    registry, maker = Registry(), family(spec.family)
    model = maker.load(registry.download(name, version))
    frame = maker.score(spec, model, read(job.inputs["data"]), job.options.explain)
    frame.insert(1, "model", name)
    frame.insert(2, "version", version)
    return StageOutput(frame, {"mlflow": registry.version_url(name, version)})
