"""The security services of a fresh machine: one small real server beside Airflow, reached by six connections.

Its switch for faults is on: it is a stand-in, for demo and trial, and whoever has its token owns this machine's home.
"""

import sys
from pathlib import Path

from baton.services.companions import Companion, token_file

NAME = "security"
CONNECTIONS = ("threat_intelligence", "asset_inventory", "user_directory", "firewall", "directory", "ticketing")


def companions(home: Path) -> list[Companion]:
    """The security services; their token is made once."""
    token = token_file(home, NAME)
    command = [
        sys.executable, "-m", "baton_demo.incident_response.security_services", "--port", "{port}",
        "--database", str(home / f"{NAME}.db"), "--token-file", str(token), "--faults",
    ]  # fmt: skip
    return [Companion(NAME, command, token, CONNECTIONS[0], also=CONNECTIONS[1:])]
