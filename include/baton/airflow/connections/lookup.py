"""Airflow's connections as a stage sees them, see `baton.stages.connections`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from baton.airflow.connections.models import ConnectedModel
from baton.airflow.connections.peers import endpoint, mail_server
from baton.airflow.connections.readers import read_http, read_mailbox, read_sql
from baton.effects.smtp import MailServer
from baton.endpoint import Endpoint
from baton.packs.pack import Pack
from baton.sources.reading import RawBatch
from baton.sources.received import LargeRows
from baton.specs.source import Source
from baton.stages.connections import Model

_READS: dict[str, Callable[[Pack, Any, str], RawBatch | LargeRows]] = {
    "sql": read_sql,
    "http": read_http,
    "mailbox": read_mailbox,
}


class AirflowConnections:
    """The connections of the task that runs a stage."""

    def model(self, conn_id: str) -> Model:
        """See `Connections.model`."""
        return ConnectedModel(conn_id)

    def http(self, conn_id: str) -> Endpoint:
        """See `peers.endpoint`."""
        return endpoint(conn_id)

    def mail(self, conn_id: str) -> MailServer | Path | None:
        """See `peers.mail_server`."""
        return mail_server(conn_id)

    def rows(self, pack: Pack, source: Source, partition: str) -> RawBatch | LargeRows:
        """See `readers`."""
        return _READS[source.kind](pack, source, partition)
