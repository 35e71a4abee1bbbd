"""The console's host: who asks, what they may do and what runs, told by the program that shows the console.

The console knows no Airflow; `baton.airflow.server.console_host` implements this for Airflow's API server, tests with a few lines.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from baton.governance import duties
from baton.names import monitor_of, promote_of, scoring_of, train_of
from baton.record.warehouse import read

Access = Literal["read", "decide"]
_OF_MODELS = (train_of, promote_of, monitor_of, scoring_of)


@dataclass(frozen=True)
class Person:
    """Who asks.

    Attributes:
        name: goes on record, and is what people are called.
        handle: the host's own object for them.
        id: what they log in with; two people never share it. The name where the host gives none.
    """

    name: str
    handle: Any = field(default=None, repr=False)
    id: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", self.name)


@dataclass(frozen=True)
class RunsOfDag:
    """The day's runs of one DAG.

    Attributes:
        dag_id: the DAG.
        states: number of runs by state (success, failed, running, queued).
        last_run: id of the newest run, with its state, time (ISO, UTC) and partition.
        failed_run: id of the newest failed run, None when none failed.
    """

    dag_id: str
    states: Mapping[str, int]
    last_run: str
    last_state: str
    last_at: str
    partition: str | None = None
    failed_run: str | None = None


@dataclass(frozen=True)
class Wiring:
    """How a DAG is wired, by its file.

    Attributes:
        tags: such as `kind:flow`, `pack:<name>`, `model:<name>`.
        stages: task id -> the options that its stage is given.
        gives: assets that its tasks tell others of; `wakes_on`: those that start it.
    """

    dag_id: str
    tags: tuple[str, ...] = ()
    paused: bool = False
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    gives: tuple[str, ...] = ()
    wakes_on: tuple[str, ...] = ()

    def tagged(self, kind: str) -> str | None:
        """What stands behind `kind:` in a tag."""
        return next((tag.partition(":")[2] for tag in self.tags if tag.startswith(f"{kind}:")), None)


@dataclass(frozen=True)
class OpenRequest:
    """A task that waits for a person's answer; `asked_at` is ISO, UTC."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    subject: str
    asked_at: str


class Host(Protocol):
    """The program that shows the console."""

    @property
    def root(self) -> str:
        """Path that the host's own pages start with; empty, or such as `/airflow`."""

    @property
    def origin(self) -> str:
        """Public `scheme://host[:port]` of the host; empty when it is not configured."""

    @property
    def secret(self) -> bytes:
        """Key of the form tokens: the same in every process of the host, known to nobody else."""

    def allowed(self, person: Person, action: Access, dag_id: str | None) -> bool:
        """Whether the person may read about a DAG, or decide what it asks people; None: DAGs in general."""

    def runs(self, person: Person, since: datetime) -> list[RunsOfDag]:
        """Runs since a moment, and those that still run, of the DAGs that the person may read."""

    def requests(self, person: Person) -> list[OpenRequest]:
        """Tasks that wait for an answer, of the DAGs that the person may read; oldest first."""

    def wirings(self, person: Person) -> list[Wiring]:
        """The DAGs that the person may read, by id, as their files wire them now."""

    def start(self, person: Person, dag_id: str, conf: Mapping[str, str]) -> str:
        """Start a run of a DAG on behalf of a person, whom the caller has found allowed to; returns its id."""

    def login_url(self, next_url: str) -> str:
        """Address of the log-in page that comes back to `next_url`."""


class Rights:
    """What one person may do: the host has to let them, and the duty `read` on the DAG's asset must not be others'.

    Each question is asked once; that about duties at once, before a page holds a connection of its own.

    Attributes:
        withheld: assets that others were given to read.
    """

    def __init__(self, host: Host, person: Person) -> None:
        self.host, self.person = host, person
        self._known: dict[tuple[Access, str | None], bool] = {}
        with read() as conn:
            self.withheld = frozenset(duties.withheld(conn, "read", duties.Who(person.id, person.name)))
        named = [one.partition(":") for one in self.withheld]
        flows = {name for kind, _, name in named if kind == "flow"}
        models = {dag_of(name) for kind, _, name in named if kind == "model" for dag_of in _OF_MODELS}
        self._hidden = flows | models | self.withheld  # a request about an asset may have its id for a DAG's

    def read(self, dag_id: str | None) -> bool:
        """May read about this DAG."""
        return self._ask("read", dag_id)

    def decide(self, dag_id: str | None) -> bool:
        """May answer what this DAG asks people."""
        return self._ask("decide", dag_id)

    def runs(self, since: datetime) -> list[RunsOfDag]:
        """As the host has them, of what the person may read."""
        return [one for one in self.host.runs(self.person, since) if one.dag_id not in self._hidden]

    def requests(self) -> list[OpenRequest]:
        """As the host has them, of what the person may read."""
        return [one for one in self.host.requests(self.person) if one.dag_id not in self._hidden]

    def wirings(self) -> list[Wiring]:
        """As the host has them, of what the person may read."""
        return [one for one in self.host.wirings(self.person) if one.dag_id not in self._hidden]

    def _ask(self, action: Access, dag_id: str | None) -> bool:
        dag_id = dag_id or None  # a request about a pack's file is of no DAG: who answers it may answer for all
        if (action, dag_id) not in self._known:
            may = self.host.allowed(self.person, action, dag_id)
            self._known[action, dag_id] = may and dag_id not in self._hidden
        return self._known[action, dag_id]
