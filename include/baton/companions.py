"""Local servers that a pack brings, so that its flows have somewhere to go on a fresh machine.

A pack takes part by a module `companions.py` with `companions(home: Path) -> list[Companion]`. `baton up` and
`baton demo` start them on 127.0.0.1 beside Airflow, and keep an Airflow connection that leads there. Whoever edits that
connection in Airflow's UI owns it from then on: give it another description, and it is left alone.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from baton.settings import LOOPBACK, Settings

KEPT = "Local stand-in, kept by Baton. Change this text to keep your own settings."


@dataclass(frozen=True)
class Companion:
    """One server.

    Attributes:
        name: of the service, its log and the Airflow connection that leads to it (type HTTP).
        command: argument vector; `{port}` is replaced by a free port.
        token_file: file with the bearer token that the connection carries; readable by its owner only.

    It answers 200 at /health, to anybody, when it is well.
    """

    name: str
    command: list[str]
    token_file: Path

    def on(self, port: int) -> list[str]:
        """The command with its port."""
        return [part.replace("{port}", str(port)) for part in self.command]

    @staticmethod
    def url(port: int) -> str:
        """Its address."""
        return f"http://{LOOPBACK}:{port}"


def companions(settings: Settings) -> list[Companion]:
    """The companions of all installed packs, by name."""
    from baton.packs import load_pack, packs

    found: list[Companion] = []
    for pack in packs():
        path = f"{load_pack(pack).package}.companions"
        if importlib.util.find_spec(path):
            found += importlib.import_module(path).companions(settings.home)
    return sorted(found, key=lambda one: one.name)
