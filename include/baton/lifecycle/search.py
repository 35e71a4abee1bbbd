"""A search over the parameters of candidates inside the validation: the held-out rows are not looked at."""

import time
from collections.abc import Mapping
from typing import Any

import pandas as pd

from baton.errors import ModelError, SpecError
from baton.families.base import Family
from baton.packs.spec_file import did_you_mean
from baton.progress import tell
from baton.specs.model import Candidate, GridSpec, ModelSpec, Range

Validated = tuple[pd.DataFrame, dict[str, Any]]  # what `Family.validate` returned


def search(
    maker: Family, spec: ModelSpec, frame: pd.DataFrame, grid: GridSpec, tried: Mapping[str, Validated], *,
    errors: bool,
) -> dict[str, tuple[Candidate, Validated]]:  # fmt: skip
    """Look for better parameters (tree-structured Parzen estimator, seeded).

    Args:
        frame: what the training contract let through.
        tried: candidate -> what was found of it as the spec has it: where the search begins.
        errors: the validation's metric measures errors, less is better.

    Returns:
        candidate -> it with the best parameters, and what was found of it; only where they are better than the spec's.

    Raises:
        SpecError: the grid names a candidate that is not there, or an ensemble.
        ModelError: no trial of a candidate could be fitted; with the reason of the last.
    """
    known = {one.name: one for one in spec.candidates if one.estimator is not None}
    for name in grid.candidates:
        if name not in known:
            raise SpecError(
                f"grid: candidates.{name}: model {spec.model} has no candidate of that name with parameters"
                f"{did_you_mean(name, known)}; there are: {', '.join(known)}"
            )
    better, end = {}, time.monotonic() + grid.seconds
    for left, (name, space) in enumerate(grid.candidates.items()):
        until = time.monotonic() + (end - time.monotonic()) / (len(grid.candidates) - left)
        before = tried.get(name)
        best = _search(maker, spec, frame, grid, known[name], space, until, errors, before)
        if best is not None:
            better[name] = best
    return better


def _search(
    maker: Family, spec: ModelSpec, frame: pd.DataFrame, grid: GridSpec, candidate: Candidate, space: Mapping[str, Any],
    until: float, errors: bool, before: Validated | None,
) -> tuple[Candidate, Validated] | None:  # fmt: skip
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="minimize" if errors else "maximize", sampler=optuna.samplers.TPESampler(seed=grid.seed)
    )
    first = {name: value for name, value in candidate.params.items() if name in space and _within(space[name], value)}
    study.enqueue_trial(first)
    best: tuple[Candidate, Validated] | None = None
    value, said = (None if before is None else before[1].get("value")), ""
    done = fitted = 0
    while done < grid.trials and (done == 0 or time.monotonic() < until):
        trial = study.ask()
        params = {name: _draw(trial, name, of) for name, of in space.items()}
        one = candidate.model_copy(update={"params": {**candidate.params, **params}})
        try:
            found = maker.validate(spec, one, frame)
        except ModelError as error:
            said = str(error)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            fitted += 1
            reached = found[1]["value"]
            study.tell(trial, reached)
            if value is None or (reached < value if errors else reached > value):
                value, best = reached, (one, found)
        done += 1
        tell(f"parameters of {candidate.name}", "trials", done, grid.trials)
    if not fitted:
        raise ModelError(f"grid: candidates.{candidate.name}: none of {done} trials could be fitted; the last: {said}")
    return best


def _within(space: Any, value: Any) -> bool:
    if isinstance(space, Range):
        return isinstance(value, int | float) and space.low <= value <= space.high
    return value in space


def _draw(trial: Any, name: str, space: Any) -> Any:
    if not isinstance(space, Range):
        return trial.suggest_categorical(name, list(space))
    whole = isinstance(space.low, int) and isinstance(space.high, int)
    return (trial.suggest_int if whole else trial.suggest_float)(name, space.low, space.high, log=space.log)
