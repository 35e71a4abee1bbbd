"""A stage: one step of a flow on one partition, named by dotted path and run under the slot protocol.

Two kinds of function are stages. A *pack function* is pure: it takes frames by input name and plain
parameters, and returns a frame; it never sees Airflow, MLflow or a path. An *engine step* (marked with
`@engine_step`) takes the whole `StageJob`, because reading a source or publishing needs to know where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from baton.packs.pack import load_pack
from baton.stages.connections import Connections, Unconnected
from baton.stages.groups import Portion
from baton.stages.slots import Slot

if TYPE_CHECKING:
    from baton.data.datasets import DatasetRef
    from baton.packs.pack import Pack

DRY = "~dry"  # behind the flow's name in the slots of a dry run
O = TypeVar("O")  # noqa: E741 - the options that a step declares


@dataclass(frozen=True)
class StageJob(Generic[O]):
    """What one stage run knows.

    Attributes:
        pack: name of the pack whose contracts, sources and models the stage uses.
        flow: DAG id; with `stage`, `partition` and `map_index` it names the slot.
        partition: UTC start of the interval, `%Y-%m-%dT%H:%M:%S`; of a training or promotion, what it is about.
        step: dotted path `module:function` of the work.
        inputs: committed datasets of the stages before, by name.
        options: JSON from the DAG file; the step finds the class that it declares.
        output_contract: the stage's own output is checked against it; empty: it is not.
        models: model versions that this partition uses, resolved once by the first stage.
        files: documents that the run's form names; a source of kind folder reads these and no others.
        since, until: partitions that a training's form names.
        run_id: Airflow's run id, for the record only (not part of the digest).
        group: of a mapped stage on a large batch, which of its rows are this job's; `inputs` hold all. Else None.
        dry_run: compute under a slot of its own and change no table of the business.
        supersede_models: replace the versions on record for this partition (the form's `champion` choice).
        connections: models, peers and remote sources by the name of a connection.
        seen: what the step's fingerprint read, see `Seen`.
    """

    pack: str
    flow: str
    stage: str
    partition: str
    step: str
    inputs: Mapping[str, DatasetRef] = field(default_factory=dict)
    options: O = field(default_factory=dict)  # type: ignore[assignment]
    output_contract: str = ""
    models: Mapping[str, int] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    run_id: str = ""
    map_index: int = -1
    group: Portion | None = None
    dry_run: bool = False
    supersede_models: bool = False
    connections: Connections = field(default_factory=Unconnected, repr=False, compare=False)
    seen: Any = field(default=None, repr=False, compare=False)

    @property
    def slot(self) -> Slot:
        """The slot; a dry run has a flow name of its own, so it can never become a head of the real one."""
        flow = f"{self.flow}{DRY}" if self.dry_run else self.flow
        return Slot(flow, self.stage, self.partition, self.map_index if self.group is None else self.group.map_index)

    @property
    def shared(self) -> bool:
        """Whether others have other rows of the stage's batch; what is put on record is then said of all of them (`Step.join`)."""
        return self.group is not None and self.group.of > 1

    def load_pack(self) -> Pack:
        """The pack's specs, parsed."""
        return load_pack(self.pack)
