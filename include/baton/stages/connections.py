"""What a stage reaches beyond the store: models, peers and remote sources, each by the name of a connection.

The Airflow layer hands a job what knows Airflow's connections; tests hand it a fake.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from baton.errors import BatonError, SourceError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_ai import Agent

    from baton.effects.smtp import MailServer
    from baton.endpoint import Endpoint
    from baton.packs.pack import Pack
    from baton.sources.reading import RawBatch
    from baton.sources.received import LargeRows
    from baton.specs.source import Source
    from baton.stages.job import StageJob
    from baton.stages.slots import StageOutput


_PRICES = '`prices` of its extra must be {"input": ..., "output": ...}, dollars for a million tokens, 0 or more'


class NoModel(BatonError):
    """There is no model to ask; the message says why, and holds no secret."""


class Model(Protocol):
    """A language model behind a connection; inherit from it for the defaults."""

    name: str  # as configured, for example `openai-chat:smollm2-135m`; part of the stage's digest
    answered: str = ""  # name of the model that gave the last answer, where a fallback did; else empty
    chain: int = 1  # models that are asked one after the other until one answers
    prices: Mapping[str, float] = {}  # dollars for a million tokens, `input` and `output`, if known

    def agent(self, output: type[BaseModel], instructions: str, retries: int) -> Agent[Any, Any]:
        """An agent with typed output, no tools; `retries` after invalid answers.

        Raises:
            NoModel: the connection cannot be used.
        """

    def reveals(self, text: str) -> bool:
        """Does the text hold a secret of the connection?"""


def prices_of(conn_id: str, given: Any) -> dict[str, float]:
    """Dollars for a million tokens, as a connection's extra says them; half a price list is none, since it would tell a wrong cost.

    Raises:
        NoModel: they are no prices.
    """
    if given is None:
        return {}
    try:
        found = {name: float(given[name]) for name in ("input", "output")}
    except (TypeError, KeyError, ValueError) as error:
        raise NoModel(f"connection {conn_id}: {_PRICES}") from error
    if wrong := [name for name, price in found.items() if not 0 <= price < math.inf]:
        raise NoModel(f"connection {conn_id}: {_PRICES}; {wrong[0]} is {found[wrong[0]]}")
    return found


class Engine(Protocol):
    """What works on the rows of a stage whose step is `row_local`; see `baton.engines.orders.output`."""

    def __call__(self, job: StageJob[Any], work: str, files: Path | None, facts: Mapping[str, Any]) -> StageOutput:
        """What the stage returns."""


class Connections(Protocol):
    """How the name of a connection becomes what is behind it."""

    def model(self, conn_id: str) -> Model:
        """The language model. Raises NoModel: there is no such connection, or it is none to a model."""

    def http(self, conn_id: str) -> Endpoint:
        """Address and log-in of a peer."""

    def mail(self, conn_id: str) -> MailServer | Path | None:
        """The mail server; a folder for the file outbox; or None: there is no such connection."""

    def rows(self, pack: Pack, source: Source, partition: str) -> RawBatch | LargeRows:
        """The partition's rows of a source that is no file (sql, http, mailbox)."""

    def cluster(self, conn_id: str) -> Engine:
        """The cluster that works on a stage's rows instead of its task."""


class Unconnected:
    """The connections of a job outside a task: there are none."""

    def model(self, conn_id: str) -> Model:
        """See `Connections`."""
        raise _outside(conn_id)

    def http(self, conn_id: str) -> Endpoint:
        """See `Connections`."""
        raise _outside(conn_id)

    def mail(self, conn_id: str) -> MailServer | Path | None:
        """See `Connections`."""
        raise _outside(conn_id)

    def rows(self, pack: Pack, source: Source, partition: str) -> RawBatch | LargeRows:
        """See `Connections`."""
        raise SourceError(f"source {source.name}: {source.kind} is read through an Airflow connection: use it in a DAG")

    def cluster(self, conn_id: str) -> Engine:
        """See `Connections`."""
        raise _outside(conn_id)


def _outside(conn_id: str) -> BatonError:
    return BatonError(
        f"connection {conn_id}: connections are known inside an Airflow task only; use the stage in a DAG"
    )
