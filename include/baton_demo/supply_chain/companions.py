"""The purchasing API of a fresh machine: a small real service beside Airflow, reached by the connection `purchasing`."""

import sys
from pathlib import Path

from baton.services.companions import Companion, token_file

NAME = "purchasing"


def companions(home: Path) -> list[Companion]:
    """The purchasing service; its token is made once."""
    token = token_file(home, NAME)
    command = [
        sys.executable, "-m", "baton_demo.supply_chain.purchasing_service", "--port", "{port}",
        "--database", str(home / f"{NAME}.db"), "--token-file", str(token),
    ]  # fmt: skip
    return [Companion(NAME, command, token)]
