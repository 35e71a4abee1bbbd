"""A Spark cluster behind Spark Connect: Databricks, EMR, Dataproc or one's own; no Java here, and nothing of Spark but its client.

`spark.range` gives the numbers of the units, one partition each, and `mapInArrow` hands them to `worker.work`: rows do not pass
through Spark, so nothing of them depends on its readers, and what runs is the same code as in a task.
"""

from __future__ import annotations

import ipaddress
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.engines import worker
from baton.engines.orders import EngineError, Reports, output
from baton.errors import SpecError

if TYPE_CHECKING:
    from baton.stages.job import StageJob
    from baton.stages.slots import StageOutput

_SAID = 600  # characters of what a server says
# milliseconds between the tries of a server that does not answer: 20 s in all, where the client's own patience is ten minutes
PATIENCE: dict[str, Any] = {
    "max_retries": 7,
    "initial_backoff": 50,
    "backoff_multiplier": 4.0,
    "max_backoff": 5000,
    "jitter": 0,
}


@dataclass(frozen=True)
class SparkCluster:
    """Where a Spark Connect server is, and how to log in.

    Attributes:
        host, port: of the server.
        user: id of the user; empty: the server does not ask.
        token: bearer token; empty: the server does not ask.
        tls: whether the connection is encrypted and the server's certificate checked.
        headers: sent with each call, such as Databricks' `x-databricks-cluster-id`.
    """

    host: str
    port: int = 15002
    user: str = ""
    token: str = field(default="", repr=False)
    tls: bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Raises SpecError: what is sent could be read on the way."""
        if not self.tls and not self.local:
            raise SpecError(
                f"sc://{self.host}: code and token would travel unencrypted; set use_ssl, only loopback goes without"
            )

    @property
    def local(self) -> bool:
        """Whether it runs on this machine."""
        with suppress(ValueError):
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        return self.host == "localhost"

    def __call__(self, job: StageJob[Any], work: str, files: Path | None, facts: Mapping[str, Any]) -> StageOutput:
        """See `orders.output`."""
        return output(self, job, work, files, facts)

    def each(self, order: str, count: int) -> Reports:
        """See `orders.Distributor`; when the caller stops listening, the cluster stops working.

        Raises:
            EngineError: it cannot be reached, or gave up.
            SpecError: the client is not installed.
        """
        with self._session() as session:
            numbers = session.range(0, count, 1, numPartitions=count)
            for row in numbers.mapInArrow(partial(worker.work, order), "part long, said string").toLocalIterator():
                yield row.part, row.said

    @contextmanager
    def _session(self) -> Iterator[Any]:
        try:
            from pyspark.errors import PySparkException
            from pyspark.sql.connect.client.core import DefaultChannelBuilder
            from pyspark.sql.connect.client.retries import DefaultPolicy
            from pyspark.sql.connect.session import SparkSession
        except ImportError as error:
            raise SpecError(
                f"engine: spark needs the extra `spark`: pip install 'baton-orchestra[spark]' ({error})"
            ) from error
        address = DefaultChannelBuilder(f"sc://{self.host}:{self.port}")
        given = {"use_ssl": str(self.tls).lower(), "user_id": self.user, "token": self.token, **self.headers}
        for name, value in given.items():
            if value:
                address.set(name, value)
        session: Any = None
        done = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that its patience is over, it says by its error, too
            try:
                session = SparkSession.builder.channelBuilder(address).create()
                session.client.set_retry_policies([DefaultPolicy(**PATIENCE)])
                yield session
                done = True
            except PySparkException as error:
                raise EngineError(f"sc://{self.host}:{self.port}: {_reason(error)}; nothing was committed") from error
            finally:
                if session is not None:
                    _left(session, done)


def _left(session: Any, done: bool) -> None:
    """Have the cluster stop what still runs, and forget the session; a server that is gone is not waited for."""
    with suppress(Exception):
        if not done:
            session.client.set_retry_policies([])
            session.interruptAll()
    with suppress(Exception):
        session.stop()


def _reason(error: Exception) -> str:
    text = str(error)
    if "No module named 'baton" in text:
        return "its workers have no Baton; install the same wheels there, from the same lock"
    if "UNAVAILABLE" in text:
        return f"does not answer any more: {_line(text, 'details')}"
    return _line(text, "Error:")


def _line(text: str, mark: str) -> str:
    """The last line that says what it was; a stack of calls says nothing to whoever reads a task's error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if mark in line), lines[-1] if lines else "")[:_SAID]
