"""Groups: a stage whose rows depend on no other rows is done by several tasks where its batch is large.

Each has some of the rows, consecutive parts of the batch, and a slot of its own: its map index is its number. When the last of them
has committed, their results are one: a manifest that names their parts in order, committed in the stage's own slot (map index
-1) under its fence, with nothing copied. Its inputs are the groups' results (`group.0`, ...), and under their own names what those
were made of, as one task would have had it. So whoever reads a stage's head finds all rows, or those of before; a slot of a group is
nobody's but its stage's, and one that a later, smaller batch has no use for is found from nowhere. A batch of one part is one
task, and commits in the stage's own slot.

What is put on record about a stage's result is so of the whole, in the commit that names it: a step says how (`Join`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.data import stored
from baton.data.datasets import DatasetRef
from baton.errors import BatonError, DatasetCorrupt, StaleAttempt
from baton.names import GROUP
from baton.record import warehouse
from baton.record.tables import commits
from baton.stages import slots
from baton.stages.digests import input_digest
from baton.stages.slots import Made, Slot, StageResult

TRIES = 20  # of naming the whole, where two tasks that end together are both the last


@dataclass(frozen=True)
class Portion:
    """Which rows of a batch a task has.

    Attributes:
        number: from 0.
        edges: where the groups of the batch begin and end: 0, 1000000, 2000000, the number of all rows.
    """

    number: int
    edges: tuple[int, ...]

    @property
    def rows(self) -> tuple[int, int]:
        """Where its rows begin and end in the batch, from 0."""
        return self.edges[self.number], self.edges[self.number + 1]

    @property
    def of(self) -> int:
        """How many have the batch between them."""
        return len(self.edges) - 1

    @property
    def map_index(self) -> int:
        """Of its slot; one that has all rows commits in the stage's own."""
        return self.number if self.of > 1 else -1


def split(ref: DatasetRef, most: int) -> list[Portion]:
    """Share a batch out among at most so many tasks, by whole parts.

    Raises:
        DatasetCorrupt: its manifest is missing, or another than was committed.
    """
    return portions(stored.ends(ref), most)


def portions(ends: Sequence[int], most: int) -> list[Portion]:
    """The same, of rows that nobody may have made yet: `ends` are those of what is not cut, as `stored.ends`."""
    # a part of no rows is nobody's work, a batch of none is one task's
    ends = [0, *(sorted({*ends} - {0}) or [0])]
    count = min(len(ends) - 1, most)
    edges = tuple(ends[(len(ends) - 1) * number // count] for number in range(count + 1))
    return [Portion(number, edges) for number in range(count)]


def shared(inputs: Mapping[str, DatasetRef], group: Portion) -> list[dict[str, DatasetRef]]:
    """Each group's rows of a stage's inputs; a stage without any makes the rows itself.

    Raises:
        BatonError: the inputs have not the rows of the batch.
    """
    if not inputs:
        return [{} for _ in range(group.of)]
    many = {name: ref.rows for name, ref in inputs.items()}
    if set(many.values()) != {group.edges[-1]}:
        raise BatonError(
            f"a stage that several tasks share needs inputs of the same rows in the same order: the batch has {group.edges[-1]}, "
            f"they have {many}"
        )
    rows = {name: stored.windows(ref, group.edges) for name, ref in inputs.items()}
    return [{name: ref[number] for name, ref in rows.items()} for number in range(group.of)]


Judge = Callable[[Sequence[DatasetRef]], object]
"""Raises ContractBroken where results that were judged one by one break a rule together."""

Joined = tuple[dict[str, Any], Callable[[Connection, int], None] | None]
Join = Callable[[Slot, Sequence[Mapping[str, Any]]], Joined]
"""From the stage's own slot and the facts of its groups, in order: the facts of all, and what is called in the transaction that names
them as one (see `StageOutput.on_commit`)."""


def alike(_slot: Slot, facts: Sequence[Mapping[str, Any]]) -> Joined:
    """What groups have in common: facts that all have alike, the sum of `rows_in`, and what any of them says of `degraded`, once."""
    said = {name: value for name, value in facts[0].items() if all(one.get(name) == value for one in facts)}
    if all("rows_in" in one for one in facts):
        said["rows_in"] = sum(one["rows_in"] for one in facts)
    if degraded := sorted({str(reason) for one in facts for reason in one.get("degraded", ())}):
        said["degraded"] = degraded
    return said, None


def whole_if_complete(
    slot: Slot, mine: StageResult, digests: Sequence[Callable[[StageResult], str]], judge: Judge = len, join: Join = alike
) -> StageResult | None:  # fmt: skip
    """Name the groups' results as the stage's, where all are there.

    Of another task a degraded result counts only where it was made for this run, and since the whole was named last: else that task
    may be about to try again. Nor does a task that found its own result again know whether it alone is repeated. Then the
    whole is left to the last that tries again, or to the task that reads the stage, which begins when all are through.

    Args:
        slot: of one of them.
        mine: what its task has made, or found.
        digests: of what each is made of, in order; each given the head that is there, see `as_repeated`.
        judge, join: see `whole`.

    Raises:
        StaleAttempt: a group has got another result meanwhile, see `whole`.
    """
    own = Slot(slot.flow, slot.stage, slot.partition)
    found = slots.heads_of_groups(own, len(digests))
    if len(found) < len(digests) or any(one.digest != asked(one) for asked, one in zip(digests, found, strict=True)):
        return None
    if _perhaps_again(own, mine, [one for one in found if one.commit_id != mine.commit_id]):
        return None
    return whole(own, [one.ref for one in found], [one.facts for one in found], mine.models, judge, join)


def as_repeated(params: Mapping[str, Any], head: StageResult) -> Mapping[str, Any]:
    """The params of a job, with what a group's head came after in place of the job's own: each group is computed anew by itself, and
    has a state of its own for that (`slots.recomputed_after`)."""
    state, of_head = params.get("state", {}), head.params.get("state", {})
    return {**params, "state": {**state, "after": of_head.get("after")}} if "after" in state else params


def _perhaps_again(own: Slot, mine: StageResult, others: Sequence[StageResult]) -> bool:
    """Whether one of the others is degraded, and its task may be about to compute it anew (`slots.recomputed_after`)."""
    degraded = [one for one in others if one.facts.get("degraded") and "after" in one.params.get("state", {})]
    if not degraded or mine.cached:
        return bool(degraded)
    before = slots.head(own)
    named = _named_by(before) if before is not None else []
    return any(one.run_id != mine.run_id or one.ref.uri in named for one in degraded)


def whole(
    slot: Slot,
    refs: Sequence[DatasetRef],
    facts: Sequence[Mapping[str, Any]],
    models: Mapping[str, Any],
    judge: Judge = len,
    join: Join = alike,
    late: bool = False,
) -> StageResult:
    """Commit the results of a stage's groups as its result; the same again changes nothing.

    What another run has made anew since stays in force: who asks for results of before has them as they were named then.

    Args:
        slot: the stage's own.
        refs, facts: of the groups, in order.
        judge: asked before they are named; by default they have no contract.
        join: makes the facts of all, and what is put on record with the commit.
        late: asked for by who reads the stage, perhaps long after the groups were made.

    Raises:
        StaleAttempt: another attempt names other results at the same time, or others are there by now and these were never named.
    """
    parts = {f"{GROUP}{number}": ref for number, ref in enumerate(refs)}
    inputs = {**_together(refs), **parts}
    # a group that was computed anew because its object was damaged has the same content elsewhere
    objects = [ref.uri.rpartition("/")[2] for ref in refs]
    about = {
        "digest": input_digest(parts, {"objects": objects}, {}, __name__),
        "inputs": {name: ref.to_dict() for name, ref in inputs.items()},
        "params": {"groups": len(refs)}, "models": dict(models), "code": __name__, "run_id": None,
    }  # fmt: skip

    def make(path: str) -> Made:
        if not _in_force(slot, refs, late):  # under the whole's fence: who names it after this one takes that away
            raise StaleAttempt(f"{slot}: its groups have other results by now")
        judge(refs)
        slots.FAULT("computed")
        said, on_commit = join(slot, facts)
        return [stored.union(refs, path, lambda point: slots.FAULT(point))], said, on_commit

    turns = 0
    while _in_force(slot, refs, late):
        try:
            return slots.commit_once(slot, about, make, _named)
        except StaleAttempt:
            if (turns := turns + 1) > TRIES:
                raise
            time.sleep(random.uniform(0.01, 0.1))
    return _named_before(slot, str(about["digest"]))


def _in_force(slot: Slot, refs: Sequence[DatasetRef], late: bool) -> bool:
    """Whether these are the groups' results that are there, and for a late reader nothing was named for the stage since."""
    found, whole = slots.heads_of_groups(slot, len(refs)), slots.head(slot)
    if [one.ref.content_sha256 for one in found] != [ref.content_sha256 for ref in refs]:
        return False
    if not late or whole is None or whole.commit_id < max(one.commit_id for one in found):
        return True
    return _named_by(whole) == [ref.uri for ref in refs]


def _named_before(slot: Slot, digest: str) -> StageResult:
    """The whole of results that are in force no more, as it was once named.

    Raises:
        StaleAttempt: it never was.
    """
    for one in reversed(slots.history(slot)):
        if one.digest == digest and _named(slot, one):
            return replace(one, cached=True)
    raise StaleAttempt(
        f"{slot}: another run has made its rows anew, and those of this one were never named: clear the stage, which then has the new ones"
    )


def _together(refs: Sequence[DatasetRef]) -> dict[str, DatasetRef]:
    """The inputs of which groups have some rows each, all rows of them; what they did not share is left out."""
    query = sa.select(commits.c.inputs).where(commits.c.uri.in_([ref.uri for ref in refs])).order_by(commits.c.id)
    with warehouse.read() as conn:
        given = list(conn.scalars(query))
    each = {
        name: [DatasetRef.from_dict(one[name]) for one in given if name in one] for name in (given[-1] if given else ())
    }
    return {
        name: replace(some[-1], rows=sum(ref.rows for ref in some), start=0, content_sha256=some[-1].of, of="")
        for name, some in each.items() if len(some) == len(refs) and len({ref.of for ref in some}) == 1 and some[-1].of
    }  # fmt: skip


def groups_of(params: Mapping[str, Any], inputs: Mapping[str, Mapping[str, Any]]) -> list[DatasetRef]:
    """The groups' results that a commit names as one, in order; of any other commit, by its params and inputs, none."""
    return [DatasetRef.from_dict(dict(inputs[name])) for name in _inputs_of(params)]


def _inputs_of(params: Mapping[str, Any]) -> list[str]:
    many = params["groups"] if set(params) == {"groups"} else 0
    return [f"{GROUP}{number}" for number in range(many)]


def _named_by(whole: StageResult) -> list[str]:
    """Addresses of the groups' results that a stage's names as one."""
    return [whole.inputs[name].uri for name in _inputs_of(whole.params)]


def _named(_slot: Slot, result: StageResult) -> bool:
    """Whether the manifest is there; its parts are checked by whoever reads them, and each group has checked its own."""
    try:
        stored.held(result.ref)
    except DatasetCorrupt:
        return False
    return True
