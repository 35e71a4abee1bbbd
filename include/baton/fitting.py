"""The training DAG's later stages: try each candidate in a task of its own, then fit and register the best one."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.errors import BatonError
from baton.slots import StageOutput
from baton.stages import StageJob, engine_step

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from baton.families.selection import Leaderboard
    from baton.registry import Registry
    from baton.specs import ModelSpec


def _arrays(spec: ModelSpec, frame: pd.DataFrame) -> dict[str, Any]:
    """Labels, times, money and weights of a frame as the family functions take them."""
    data = spec.data
    return {
        "y": frame[data.target].to_numpy() if data.target else None,
        "t": frame[data.time].to_numpy(),
        "money": frame[data.money].to_numpy() if data.money else None,
        "weights": frame["_weight"].to_numpy(),
    }


def _spec_state(job: StageJob) -> Mapping[str, Any]:
    """The part of the spec that a fitted model depends on: a changed YAML trains anew on the same rows."""
    from baton.packs import find_model

    _, spec = find_model(job.options["model"])
    others = {"owner", "description", "gate", "approval", "drift", "schedules", "scoring"}
    reference = spec.drift.min_rows if spec.drift else None
    return {"spec": spec.model_dump(mode="json", exclude=others), "reference": reference}


@engine_step(fingerprint=_spec_state)
def candidate(job: StageJob) -> StageOutput:
    """Judge one candidate on time-ordered folds of the training rows, tracked as one MLflow run.

    Options:
        model, candidate: names in the spec.

    Returns:
        columns row (position in the training part), fold, raw (uncalibrated score); facts with the
        validation metric, or with `error` when the candidate cannot be fitted (the others go on).
    """
    import pandas as pd

    from baton.datasets import read
    from baton.families.base import ModelError
    from baton.families.selection import select
    from baton.packs import find_model
    from baton.registry import Registry
    from baton.registry_runs import run_name
    from baton.training import split

    _, spec = find_model(job.options["model"])
    name = job.options["candidate"]
    one = next(c for c in spec.candidates if c.name == name)
    ref = job.inputs["data"]
    rows, _ = split(spec, read(ref))
    alone = spec.model_copy(update={"candidates": (one,)})
    if spec.data.target is None:
        return StageOutput(pd.DataFrame({"row": [0], "fold": [0], "raw": [0.0]}), {"candidate": name, "seconds": 0.0})
    try:
        board = select(alone, rows, **_arrays(spec, rows))
    except ModelError as error:
        empty = pd.DataFrame(
            {"row": pd.Series(dtype="int64"), "fold": pd.Series(dtype="int64"), "raw": pd.Series(dtype="float64")}
        )
        return StageOutput(empty, {"candidate": name, "error": str(error), "seconds": 0.0})
    row = board.rows[0]
    registry = Registry()
    run = registry.start_run(
        spec.model, run_name(spec.model, job.partition, name), datasets=[ref],
        params={"estimator": one.estimator, **one.params, "calibration": one.calibration, "negatives": one.negatives},
        metrics={f"validation_{board.metric}": row["value"], "validation_spread": row["spread"], "seconds": row["seconds"]},
        tags=_tags(job),
    )  # fmt: skip
    registry.end_run(run)
    assert board.oof is not None
    frame = pd.DataFrame({"row": board.oof.rows, "fold": board.oof.fold, "raw": board.oof.raw[name]})
    return StageOutput(
        frame, {"candidate": name, "value": row["value"], "seconds": row["seconds"], "mlflow": registry.run_url(run)}
    )


@engine_step(fingerprint=_spec_state)
def register(job: StageJob) -> StageOutput:
    """Fit the best candidate on all training rows, sign it, register it, point `challenger` at it.

    Returns:
        the leaderboard; facts with model, version, the winner, holdout metrics and the MLflow address.
    """
    import numpy as np
    import pandas as pd

    from baton.datasets import read
    from baton.families import family
    from baton.packs import find_model
    from baton.training import split

    _, spec = find_model(job.options["model"])
    rows, holdout = split(spec, read(job.inputs["data"]))
    arrays = _arrays(spec, rows)
    board = _leaderboard(spec, job, arrays)
    winner = next(c for c in spec.candidates if c.name == board.best)
    fitted = family(spec.family).fit(spec, winner, rows, arrays["y"], arrays["weights"], spec.training.seed, board.oof)
    metrics = holdout_metrics(spec, fitted, holdout)
    facts = _hand_over(job, spec, fitted, rows, holdout, metrics, board)
    facts |= {"winner": winner.name, "holdout": metrics, "since": job.options.get("since")}
    table = pd.DataFrame(board.rows or [{"candidate": winner.name, "value": np.nan}])
    return StageOutput(table.astype({"candidate": str}).drop(columns=["folds"], errors="ignore"), facts)


def _leaderboard(spec: ModelSpec, job: StageJob, arrays: dict[str, Any]) -> Leaderboard:
    """Rank what the candidate tasks found; ensembles are judged from their parts' scores."""
    import numpy as np

    from baton.datasets import read
    from baton.families.base import OutOfFold
    from baton.families.selection import Leaderboard, rank

    if spec.data.target is None:
        return Leaderboard(spec.validation.metric, spec.candidates[0].name)
    found: OutOfFold | None = None
    raw: dict[str, np.ndarray] = {}
    errors: dict[str, str] = {}
    for one in (c for c in spec.candidates if c.estimator is not None):
        frame = read(job.inputs[one.name])
        if frame.empty:
            errors[one.name] = "could not be fitted; see its task's log"
            continue
        raw[one.name] = frame["raw"].to_numpy()
        found = OutOfFold(frame["row"].to_numpy(), frame["fold"].to_numpy(), raw)
    return rank(spec, np.asarray(arrays["y"]).astype(int), found or OutOfFold(np.empty(0, int), np.empty(0, int), {}),
                {}, errors, arrays["money"])  # fmt: skip


def holdout_metrics(spec: ModelSpec, fitted: Any, holdout: pd.DataFrame) -> dict[str, float]:
    """Average precision and ROC AUC on rows that no candidate saw; empty without labels or positives."""
    import numpy as np

    from baton.families.metrics import METRICS

    if not spec.data.target or holdout.empty:
        return {}
    y, score = holdout[spec.data.target].to_numpy().astype(int), fitted.predict(holdout).probability
    values = {name: float(metric(y, score)) for name, metric in METRICS.items()}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _tags(job: StageJob) -> dict[str, str]:
    """The way back from MLflow to the Airflow run."""
    return {"airflow.dag_id": job.flow, "airflow.run_id": job.run_id, "airflow.task_id": job.stage,
            "baton.occasion": job.partition}  # fmt: skip


def _hand_over(
    job: StageJob,
    spec: ModelSpec,
    fitted: Any,
    rows: pd.DataFrame,
    holdout: pd.DataFrame,
    metrics: dict[str, float],
    board: Leaderboard,
) -> dict[str, Any]:
    """Register the fitted winner and point `challenger` at it; a version that an earlier try registered is taken."""
    from baton import ledger
    from baton.registry import Registry
    from baton.warehouse import write

    registry, ref = Registry(), job.inputs["data"]
    fingerprint = _fingerprint(spec, ref.content_sha256, board.best)
    version = _registered_before(registry, spec.model, fingerprint, ref.content_sha256)
    if version is None:
        version = _register(registry, job, spec, fitted, rows, holdout, metrics, board, fingerprint)
    registry.set_alias(spec.model, "challenger", version)
    subject = f"{spec.model}/{version}"
    if not ledger.entries(subject=subject, kind="version_registered", limit=1):
        with write() as conn:
            ledger.append(conn, "version_registered", subject,
                          {"winner": board.best, "metrics": metrics, "dataset": ref.content_sha256})  # fmt: skip
    return {"model": spec.model, "version": version, "mlflow": registry.version_url(spec.model, version)}


def _fingerprint(spec: ModelSpec, dataset: str, winner: str) -> str:
    """What a version was made from, so that a try after a crash finds what the one before registered."""
    import hashlib

    return hashlib.sha256(f"{dataset} {winner} {spec.model_dump_json()}".encode()).hexdigest()


def _registered_before(registry: Registry, model: str, fingerprint: str, dataset: str) -> int | None:
    """The version of that fingerprint whose signed identity names this dataset (tags alone can be edited)."""
    for known in registry.versions(model):
        if (
            known.tags.get("baton.fingerprint") == fingerprint
            and registry.identity(model, known.version).dataset == dataset
        ):
            return known.version
    return None


def _register(
    registry: Registry,
    job: StageJob,
    spec: ModelSpec,
    fitted: Any,
    rows: pd.DataFrame,
    holdout: pd.DataFrame,
    metrics: dict[str, float],
    board: Leaderboard,
    fingerprint: str,
) -> int:
    """Save model and drift reference into one folder and make it a signed version with its card."""
    from baton.cards import card_facts, model_card
    from baton.registry_runs import run_name

    ref = job.inputs["data"]
    run = registry.start_run(spec.model, run_name(spec.model, job.partition), datasets=[ref], tags=_tags(job),
                             params={"winner": board.best, "features": len(fitted.features)})  # fmt: skip
    known = {"rows": len(rows), "positives": int(rows[spec.data.target].sum()) if spec.data.target else None,
            "uri": ref.uri, "sha256": ref.content_sha256}  # fmt: skip
    leaderboard = [{k: v for k, v in row.items() if k not in {"folds", "seconds"}} for row in board.rows]
    try:
        card = model_card(card_facts(
            spec, candidate=board.best, occasion=job.partition, data=known, metrics=metrics,
            features=fitted.features, leaderboard=leaderboard,
        ))  # fmt: skip
        example = typical_row(rows[fitted.features])
        with tempfile.TemporaryDirectory(prefix="baton-model-") as name:
            folder = Path(name)
            fitted.save(folder)
            if spec.drift is not None:
                _save_reference(spec, fitted, rows, holdout, metrics, folder)
            version = registry.register(
                spec.model, folder, run, family=spec.family, input_example=example,
                output_example=_output_example(fitted.predict(example).probability), card_md=card, metrics=metrics,
                tags={**_tags(job), "baton.winner": board.best, "baton.fingerprint": fingerprint}, dataset=ref, about=f"{spec.description.strip()} Owner: {spec.owner}.",
            )  # fmt: skip
        if leaderboard:
            registry.log_table(run, "leaderboard.json", leaderboard)
    except BaseException:  # a task's time limit is no Exception
        with suppress(BatonError):  # the registry may be what failed
            registry.end_run(run, "FAILED")
        raise
    registry.end_run(run)
    return version


def _output_example(probability: np.ndarray) -> pd.DataFrame:
    """The model's output as a frame with its column name, for the signature."""
    import pandas as pd

    return pd.DataFrame({"score": probability})


def typical_row(frame: pd.DataFrame) -> pd.DataFrame:
    """One row of medians and most frequent values: MLflow shows its example to every reader, so it is nobody's row."""
    import pandas as pd

    cells = {
        name: column.median()
        if pd.api.types.is_numeric_dtype(column) and column.dtype != bool
        else column.mode().iloc[0]
        for name, column in frame.items()
    }
    return pd.DataFrame([cells]).astype({name: frame[name].dtype for name in cells if frame[name].dtype.kind == "f"})


def _save_reference(
    spec: ModelSpec, fitted: Any, rows: pd.DataFrame, holdout: pd.DataFrame, metrics: dict[str, float], folder: Path
) -> None:
    """What later windows are compared with: all rows the version knows, hour by hour, and its scores of held-out rows.

    Scores of rows that it was fitted on are left out: it remembers them, so they are no picture of what it will say.
    """
    import json

    import numpy as np
    import pandas as pd

    from baton import drift

    assert spec.drift is not None
    data = pd.concat([rows, holdout], ignore_index=True)
    times = data[spec.data.time]
    hours = times.dt.floor("h") if str(times.dtype).startswith("datetime") else None
    scores = np.full(len(data), np.nan)
    if len(holdout):
        scores[len(rows) :] = fitted.predict(holdout).probability
    reference = drift.reference(data, fitted.features, scores, windows=hours, min_rows=spec.drift.min_rows)
    (folder / "reference.json").write_text(json.dumps({**reference, "metrics": metrics}), encoding="utf-8")
