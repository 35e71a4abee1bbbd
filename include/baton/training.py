"""The training DAG's stages: assemble the rows, fit the candidates side by side, register the best one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from baton.errors import BatonError
from baton.slots import Slot, StageOutput, head
from baton.stages import StageJob, engine_step

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from baton.specs import ModelSpec

TRAIN, HOLDOUT = "train", "holdout"


def _training_state(job: StageJob) -> Mapping[str, Any]:
    """What the training rows depend on: the history's bytes, the recent datasets, the labels known by now."""
    from baton.labels import digest
    from baton.packs import find_model
    from baton.sources import history_state

    pack, spec = find_model(job.options["model"])
    state: dict[str, Any] = {"spec": spec.training.model_dump(mode="json"), "since": job.options.get("since")}
    if spec.training.history:
        state["history"] = history_state(pack, spec.training.history.source)
    if spec.training.recent:
        labels, refs = _recent(spec)
        state["recent"] = {partition: ref.content_sha256 for partition, ref in refs.items()}
        state["labels"] = digest(labels)
    return state


@engine_step(fingerprint=_training_state)
def assemble(job: StageJob) -> StageOutput:
    """Put together what a version learns from and what it is judged on.

    Of the recent labelled rows a share is held out by a hash of the entity: the same rows every time, so that no
    later version ever trained on them. How the history is split is decided by `split`, on checked rows.

    Options:
        model: name of the model.
        since: first partition of the regime to be judged on (a drift's onset); recent rows before it train.

    Returns:
        the columns of the sources and `_part` (train | holdout for recent rows, '' for history), `_weight`,
        `_partition` ('' for history).
    """
    import pandas as pd

    from baton.packs import find_model
    from baton.parsing import with_row_identity
    from baton.sources import read_history

    pack, spec = find_model(job.options["model"])
    parts: list[pd.DataFrame] = []
    recent = _recent_rows(spec, job.options.get("since")) if spec.training.recent else None
    if spec.training.history:
        history = read_history(pack, spec.training.history.source)
        entity = spec.data.entity
        if recent is not None and entity in history:
            # a backfill may reach into the history: no row may train and be held out as well
            history = history[~history[entity].astype(str).isin(set(_recent(spec)[0]["entity_key"]))]
            recent = _as_written(recent, history)
        parts.append(history.assign(_part="", _weight=1.0, _partition=""))
    if recent is not None:
        parts.append(recent)
    if not parts:
        raise BatonError(
            f"model {spec.model}: there is no history and no labelled partition yet, so nothing to learn from"
        )
    frame = pd.concat(parts, ignore_index=True).drop(columns=["_source", "_row", "_row_sha"], errors="ignore")
    return StageOutput(
        with_row_identity(frame, spec.model), {"rows_in": len(frame), "recent": 0 if recent is None else len(recent)}
    )


def _as_written(recent: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Recent rows as text where the history came as text: the contract gives both their types in one go."""
    from baton.readers import as_text

    written = recent.copy(deep=False)
    for name in recent:
        if name in history and history[name].dtype == object and recent[name].dtype != object:
            written[name] = [as_text(cell) for cell in recent[name]]
    return written


def split(spec: ModelSpec, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(training rows, held-out rows) of checked rows, each in order of time with a fresh index.

    Without held-out recent rows the most recent share of the history is held out; else all of the history trains.

    Raises:
        BatonError: fewer training rows or positives than the spec asks for.
    """
    import pandas as pd

    frame = frame.sort_values(spec.data.time, kind="stable").reset_index(drop=True)
    part = frame["_part"].astype(object)
    history = (frame["_part"] == "").to_numpy().nonzero()[0]
    if not (part == HOLDOUT).any():
        part.iloc[history[round(len(history) * (1 - spec.training.holdout)) :]] = HOLDOUT
    train, holdout = (pd.DataFrame(frame[(part == HOLDOUT) == held]).reset_index(drop=True) for held in (False, True))
    _require_enough(spec, train)
    return train, holdout


def as_of(model: str) -> str:
    """What a training knows: the last labelled partition that can be joined, or `history`.

    It names the training's slots, so that the same trigger twice finds its own result.
    """
    from baton.packs import find_model

    _, spec = find_model(model)
    refs = _recent(spec)[1] if spec.training.recent else {}
    return max(refs, default="history")


def _require_enough(spec: ModelSpec, train: pd.DataFrame) -> None:
    positives = int(train[spec.data.target].sum()) if spec.data.target else 0
    if len(train) < spec.training.min_rows or (spec.data.target and positives < spec.training.min_positives):
        raise BatonError(
            f"model {spec.model}: {len(train)} training rows with {positives} positives; the spec asks for at least "
            f"{spec.training.min_rows} and {spec.training.min_positives}: wait for more labels or lower training.min_*"
        )


def _recent(spec: ModelSpec) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Labels known by now, and the committed dataset of each partition that has any."""
    from baton.labels import known_labels

    recent = spec.training.recent
    assert recent is not None
    labels = known_labels(recent.flow)
    refs = {}
    for partition in sorted(labels["partition"].unique()):
        result = head(Slot(recent.flow, recent.stage, partition))
        if result is not None and result.ref.rows:
            refs[partition] = result.ref
    return labels, refs


def _recent_rows(spec: ModelSpec, since: str | None) -> pd.DataFrame | None:
    """Labelled rows of committed partitions; a partition counts once at least half of its rows are labelled."""
    import pandas as pd

    from baton.datasets import read

    labels, refs = _recent(spec)
    truth = labels.set_index("entity_key")["label"]
    parts = []
    for partition, ref in refs.items():
        frame = read(ref)
        known = frame[spec.data.entity].astype(str).map(truth)
        if known.notna().mean() < 0.5:
            continue
        frame = frame[known.notna()].copy()
        frame[spec.data.target] = known.dropna().astype("int64")
        held_out = held_out_by_hash(frame[spec.data.entity], spec.training.recent_holdout)
        frame["_part"] = pd.Series(held_out, index=frame.index).map({True: HOLDOUT, False: TRAIN})
        if partition < (since or ""):
            frame = frame[~held_out].copy()  # not judged on this time, but a later training may be: nobody learns them
        frame["_weight"], frame["_partition"] = spec.training.recent_weight, partition
        parts.append(frame)
    return pd.concat(parts, ignore_index=True) if parts else None


def held_out_by_hash(keys: pd.Series, share: float) -> np.ndarray:
    """True for a fixed pseudo-random share of the keys: the same keys in every training, on every machine."""
    import pandas as pd

    hashed = pd.util.hash_array(keys.astype(str).to_numpy(dtype=object)).astype("uint64")
    return (hashed % 10_000) < round(share * 10_000)


def occasions(model: str) -> list[str]:
    """Names of the trainings of a model whose rows passed their contract, newest first."""
    from sqlalchemy import select

    from baton import tables
    from baton.warehouse import read

    table = tables.commits
    query = select(table.c.partition).where(table.c.flow == f"{model}_train", table.c.stage == "contract").distinct()
    with read() as conn:
        return sorted((row.partition for row in conn.execute(query)), reverse=True)


def record_start(model: str) -> None:
    """Note that a training began: it answers the monitor's request even if all its stages turn out to be cached."""
    from baton.warehouse import meta_set, now

    meta_set(f"training_started:{model}", now())


def last_training(model: str) -> str | None:
    """When the last training of the model began, or committed its rows; None before the first."""
    from baton.warehouse import meta_get

    results = [head(Slot(f"{model}_train", "assemble", occasion)) for occasion in occasions(model)]
    known = [result.created_at for result in results if result]
    started = meta_get(f"training_started:{model}")
    return max([*known, *([started] if started else [])], default=None)
