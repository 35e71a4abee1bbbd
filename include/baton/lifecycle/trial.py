"""A model tried out where one stands: no service, no registry, nothing recorded; what training would do with the same rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import pandas as pd

from baton.contracts.check import check, good_rows
from baton.data.identity import with_row_identity
from baton.data.typed import parse
from baton.errors import BatonError, ContractBroken, ModelError
from baton.families import family
from baton.families.base import Evidence, Family, Leaderboard
from baton.feedback.known_rows import HOLDOUT, drawn, known_rows
from baton.lifecycle.search import Validated, search
from baton.packs.pack import Pack, find_model
from baton.progress import told
from baton.record import warehouse
from baton.sources.reading import read_history
from baton.specs.model import Candidate, GridSpec, ModelSpec

if TYPE_CHECKING:
    from baton.families.base import Preparing


@dataclass(frozen=True)
class Trial:
    """What came of it.

    Attributes:
        rows: of how many rows, after the contract; rejected: how many it kept out.
        board: by the validation's metric; table: candidate -> every metric that the family can rank by.
        metrics: of the winner on rows that it did not see; better: candidate -> parameters that the search found.
    """

    spec: ModelSpec
    rows: int
    rejected: int
    board: Leaderboard
    table: dict[str, dict[str, float | None]]
    metrics: dict[str, float]
    evidence: Evidence
    better: dict[str, Mapping[str, Any]]


def attempt(model: str, *, rows: int | None = None, holdout: Path | None = None, grid: GridSpec | None = None) -> Trial:
    """Validate every candidate, fit the winner, measure it on rows that it did not see.

    Args:
        rows: about so many at most, drawn by a hash of the entity (whole series); None: all.
        holdout: a file of rows with their truth to measure on, instead of the most recent ones; all others train.
        grid: parameters to search for first.

    Raises:
        NothingKnown: there are no rows with their truth.
        ContractBroken: the training contract stops them.
        ModelError: no candidate can be fitted; each one's reason.
    """
    pack, spec = find_model(model)
    maker = family(spec.family)
    if holdout is not None and maker.truth == "rows":
        raise BatonError(f"model {model}: series are judged by rolling origins; a holdout is for rows and texts")
    if holdout is not None and spec.training.history is None:
        raise BatonError(f"model {model}: it has no training.history, as which the holdout would be read")
    frame, rejected = _rows(pack, spec, rows, holdout)
    if any(spec.needs_prepared(one) for one in spec.candidates):
        maker = cast("Preparing", maker).prepared(cast("Preparing", maker).prepare(spec, frame))
    singles = [one for one in spec.candidates if one.estimator is not None]
    tried: dict[str, Validated] = {}
    reasons: dict[str, str] = {}
    for one in told(singles, "candidates tried", "candidates"):
        try:
            tried[one.name] = maker.validate(spec, one, frame)
        except ModelError as error:
            reasons[one.name] = str(error)
    board = _board(maker, spec, frame, tried, reasons)
    better: dict[str, tuple[Candidate, Validated]] = {}
    if grid is not None:
        better = search(maker, spec, frame, grid, tried, errors=board.errors)
        changed = {name: one for name, (one, _) in better.items()}
        spec = spec.model_copy(update={"candidates": tuple(changed.get(one.name, one) for one in spec.candidates)})
        tried |= {name: found for name, (_, found) in better.items()}
        board = _board(maker, spec, frame, tried, reasons)
    fitted = maker.fit(spec, frame, board, _frames(spec, tried))
    metrics, evidence = maker.evaluate(spec, fitted, frame), maker.evidence(spec, fitted, frame)
    parameters: dict[str, Mapping[str, Any]] = {name: one.params for name, (one, _) in better.items()}
    table = _table(maker, spec, frame, tried, board)
    return Trial(spec, len(frame), rejected, board, table, metrics, evidence, parameters)


def _rows(pack: Pack, spec: ModelSpec, at_most: int | None, holdout: Path | None) -> tuple[pd.DataFrame, int]:
    """Rows that the training contract lets through, and how many it does not."""
    warehouse.migrate()  # there may be none yet, then the history is all
    frame = known_rows(pack, spec)
    if at_most is not None and len(frame) > at_most:
        frame = frame[drawn(frame[spec.data.entity], at_most / len(frame))].reset_index(drop=True)
    if holdout is not None and spec.training.history is not None:
        judged = read_history(pack, spec.training.history.source, str(holdout)).assign(
            _part=HOLDOUT, _weight=1.0, _partition=""
        )
        frame = pd.concat([frame.assign(_part=""), judged], ignore_index=True)
    frame = with_row_identity(frame, spec.model)
    contract = pack.contract(spec.training.contract)
    parsed = parse(frame, contract, {spec.data.entity})
    verdict = check(parsed, contract)
    if verdict.status == "broken":
        raise ContractBroken(
            f"contract {contract.contract} stops all {len(frame)} rows: {'; '.join(verdict.aggregate_failures)}"
        )
    good = good_rows(parsed, verdict)
    return good, len(frame) - len(good)


def _frames(spec: ModelSpec, tried: Mapping[str, Validated]) -> dict[str, pd.DataFrame]:
    singles = [one.name for one in spec.candidates if one.estimator is not None]
    return {name: tried[name][0] if name in tried else pd.DataFrame() for name in singles}


def _board(
    maker: Family, spec: ModelSpec, frame: pd.DataFrame, tried: Mapping[str, Validated], reasons: Mapping[str, str]
) -> Leaderboard:
    if not tried:
        raise ModelError(
            "no candidate could be fitted: " + "; ".join(f"{name}: {why}" for name, why in reasons.items())
        )
    board = maker.rank(spec, frame, _frames(spec, tried))
    for row in board.rows:
        name = row["candidate"]
        row["error"] = reasons.get(name, row["error"])
        row["seconds"] = tried[name][1].get("seconds", 0.0) if name in tried else row["seconds"]
    return board


def _table(
    maker: Family, spec: ModelSpec, frame: pd.DataFrame, tried: Mapping[str, Validated], board: Leaderboard
) -> dict[str, dict[str, float | None]]:
    """Each candidate by every metric that a spec of the family may name."""
    found: dict[str, dict[str, float | None]] = {str(row["candidate"]): {} for row in board.rows}
    for metric in get_args(type(spec.validation).model_fields["metric"].annotation) if board.rows else ():
        validation = spec.validation.model_copy(update={"metric": metric})
        asked = spec.model_copy(update={"validation": validation})
        for row in maker.rank(asked, frame, _frames(spec, tried)).rows:
            found[str(row["candidate"])][metric] = row["value"]
    return found
