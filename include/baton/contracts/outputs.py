"""A stage's own output under its contract: here a violation is our fault, so it stops before anything is committed.

Rows come frame by frame. Where several tasks, or workers of a cluster, have a batch between them, each judges what single rows
can break; what only all rows together can (a key twice, a count, a share that is tolerated) is judged when their results are
named as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Literal

from baton.contracts.check import check
from baton.contracts.findings import rules_of
from baton.contracts.parts import Judging, of_rows
from baton.data import typed
from baton.data.datasets import read_batches
from baton.errors import ContractBroken
from baton.specs.contract import ContractSpec

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from baton.contracts.check import ContractVerdict
    from baton.data.datasets import DatasetRef
    from baton.data.typed import Violation


FRAME_ROWS = 100_000  # of results that are named as one, judged at a time


def checked(
    spec: ContractSpec,
    slot: str,
    frames: Iterable[pd.DataFrame | pa.Table],
    only: Literal["rows", "whole"] | None = None,
) -> Iterator[pd.DataFrame | pa.Table]:
    """Pass rows on, and judge them all at the end.

    Args:
        slot: `flow/stage`, whose output it is.
        only: see `Judging`.

    Raises:
        ContractBroken: at the end, naming contract, rule, row and value of the first violations.
        SpecError: a rule cannot be judged in parts.
    """
    import pandas as pd

    suspect, before = None, 0
    with Judging(spec, only=only) as judging:
        for number, frame in enumerate(frames):
            rows = frame if isinstance(frame, pd.DataFrame) else frame.to_pandas()
            parsed = typed.adopt(rows, spec, slot, before + 1)
            before += len(rows)
            suspect = (number, parsed) if not judging.add(parsed) and suspect is None else suspect
            yield frame
        verdict = judging.verdict()
    if verdict.status != "passed":
        raise _broken(spec, slot, verdict, judging.violations(*suspect) if suspect is not None else [])


def require(spec: ContractSpec, slot: str, frame: pd.DataFrame) -> None:
    """Judge rows that are all in one frame, by any rule. Raises ContractBroken: see `checked`."""
    verdict = check(typed.adopt(frame, spec, slot), spec)
    if verdict.status != "passed":
        raise _broken(spec, slot, verdict, verdict.violations)


def require_whole(spec: ContractSpec, slot: str, refs: Sequence[DatasetRef]) -> None:
    """Judge what the rows of several results, each of which was judged by itself, can break only together.

    Of the results only the columns are read that such a rule names; without one, nothing.

    Raises:
        ContractBroken: see `checked`.
        DatasetCorrupt: an object is missing or has other bytes than were committed.
    """
    rules = [rule for rule in rules_of(spec) if not of_rows(rule)]
    if not rules:
        return
    texts = [str(rule.kwargs.get("row_condition") or "") for rule in rules]
    named = {*spec.key, *(name for rule in rules for name in rule.columns)}
    columns = {name: one for name, one in spec.columns.items() if name in named or any(name in text for text in texts)}
    asked = {rule.name for rule in rules}
    less = spec.model_copy(
        update={"columns": columns, "expectations": tuple(one for one in spec.expectations if one.meta.rule in asked)}
    )
    batches = (read_batches(ref, None if spec.sparse else list(columns), FRAME_ROWS) for ref in refs)
    frames = (batch.to_pandas(integer_object_nulls=True) for batch in chain.from_iterable(batches))
    for _ in checked(less, slot, frames, "whole"):
        pass


def _broken(spec: ContractSpec, slot: str, verdict: ContractVerdict, violations: Sequence[Violation]) -> ContractBroken:
    first = "; ".join(f"row {v.row} {v.column}={v.value!r} breaks {v.rule}" for v in violations[:3])
    told = "; ".join(verdict.aggregate_failures) or first or f"{verdict.rows_bad:,} rows share what only one may have"
    return ContractBroken(f"output of stage {slot.rpartition('/')[2]} breaks contract {spec.contract}: {told}")
