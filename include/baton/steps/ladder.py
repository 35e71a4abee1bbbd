"""The ladder of a model whose flow declares a fallback: the champion, another champion of before, rules of the pack.

What is wrong with a model is answered by the next rung and not by a retry: it cannot be loaded, cannot be fetched (the
registry's own patience is over by then), fails on these rows, or its scores break their contract. What is wrong
with the warehouse or the store is raised, and Airflow tries again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from baton.contracts import check as contracts
from baton.data import typed as parsing
from baton.errors import BatonError, RegistryRefused, ServiceError
from baton.families import family
from baton.packs.pack import find_model
from baton.registry.client import Registry, champions
from baton.registry.rungs import AS_FIXED, EARLIER, NO_VERSION, RULES
from baton.stages.job import StageJob
from baton.stages.step import resolve

PATIENCE = 10.0  # seconds for a registry that is down: somebody else can score
_SAID = 300  # characters of a reason


class OutOfContract(BatonError):
    """Scores that are not what their contract promises; the message names rules, no values."""


@dataclass
class Climbed:
    """Scores, and who made them.

    Attributes:
        frame: as of `baton.steps.score:score`, with `source`: the rung.
        rung, version: who scored; None where rules did.
        why: what was wrong with those before, one sentence each.
        refused: versions that could not be trusted, and why.
        address: of the version in MLflow's UI; empty for rules.
    """

    frame: pd.DataFrame
    rung: str
    version: int | None = None
    why: list[str] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    address: str = ""


def climb(job: StageJob[Any], model: str, fixed: int | None, data: pd.DataFrame, explain: float, rules: str) -> Climbed:
    """Score with the first rung that can.

    Args:
        fixed: the version that the run fixed; None: the model has no champion yet.
        explain: share of the rows that get reason codes.
        rules: dotted path of the pack's function.

    Raises:
        BatonError: the rules fail too, or what they give is no scores.
    """
    why: list[str] = [] if fixed is not None else [f"{model} has no champion yet"]
    refused: dict[int, str] = {}
    for version in dict.fromkeys(one for one in (fixed, *champions(model)[:2]) if one is not None):
        try:
            registry = Registry(retry_seconds=PATIENCE)
            rung = AS_FIXED if version == fixed else EARLIER
            frame = _scored(job, registry, model, version, data, explain).assign(source=rung)
            _require(job, frame)
        except Exception as error:  # whatever a model's library raises: the next rung answers
            why.append(f"{model} version {version} does not score: {_reason(error)}")
            if isinstance(error, RegistryRefused):
                refused[version] = str(error)
            if isinstance(error, ServiceError):
                break  # nor would it give another version
            continue
        return Climbed(frame, rung, version, why, refused, registry.version_url(model, version))
    frame = by_rules(job, model, data, rules)
    try:
        _require(job, frame)
    except OutOfContract as error:
        raise BatonError(f"stage {job.flow}.{job.stage}, fallback {rules}: {error}; {'; '.join(why)}") from error
    return Climbed(frame, RULES, None, why, refused)


def _scored(
    job: StageJob[Any], registry: Registry, model: str, version: int, data: pd.DataFrame, explain: float
) -> pd.DataFrame:
    if not job.dry_run:
        registry.require_promoted(model, version)
    _, spec = find_model(model)
    maker = family(spec.family)
    frame = maker.score(spec, maker.load(registry.download(model, version)), data, explain)
    frame.insert(1, "model", model)
    frame.insert(2, "version", version)
    return frame


def by_rules(job: StageJob[Any], model: str, data: pd.DataFrame, path: str) -> pd.DataFrame:
    """What a pack's function says of the rows: version 0, source `rules`.

    Raises:
        BatonError: it does not give a row with entity_key and score for each of the rows.
    """
    function: Callable[..., pd.DataFrame] = resolve(path)
    made = function(data=data)
    where = f"stage {job.flow}.{job.stage}, fallback {path}"
    lacking = [name for name in ("entity_key", "score", "reasons") if name not in getattr(made, "columns", ())]
    if lacking:
        raise BatonError(f"{where}: its result has no column {lacking[0]}; it gives entity_key, score and reasons")
    if len(made) != len(data):
        raise BatonError(f"{where}: {len(made)} scores of {len(data)} rows; it gives one for each row, in their order")
    rest = [name for name in made if name not in ("entity_key", "model", "version", "source", "_row")]
    frame = pd.DataFrame({"entity_key": made["entity_key"].astype(str).to_numpy(), "model": model})
    frame = frame.assign(version=NO_VERSION, **{str(name): made[name].to_numpy() for name in rest})
    if "_row" in data:
        frame["_row"] = data["_row"].to_numpy()
    return frame.assign(source=RULES)


def _require(job: StageJob[Any], frame: pd.DataFrame) -> None:
    if not job.output_contract:
        return
    spec = job.load_pack().contract(job.output_contract)
    verdict = contracts.check(parsing.adopt(frame, spec, f"{job.flow}/{job.stage}"), spec)
    if verdict.status != "passed":
        rules = sorted({violation.rule for violation in verdict.violations}) or verdict.aggregate_failures
        raise OutOfContract(f"its scores break contract {job.output_contract} ({', '.join(map(str, rules))})")


def _reason(error: Exception) -> str:
    """Why, without what a library quotes of rows."""
    return str(error)[:_SAID] if isinstance(error, BatonError) else type(error).__name__
