"""The purchasing API of a fresh machine: a small real service beside Airflow, reached by the connection `purchasing`."""

import secrets
import sys
from pathlib import Path

from baton.services.companions import Companion
from baton.services.plan import write_secret

NAME = "purchasing"


def companions(home: Path) -> list[Companion]:
    """The purchasing service; its token is made once."""
    token = home / "secrets" / f"{NAME}.token"
    if not token.exists():
        token.parent.mkdir(parents=True, exist_ok=True)
        write_secret(token, secrets.token_urlsafe(32))
    command = [
        sys.executable, "-m", "baton_demo.supply_chain.purchasing_service", "--port", "{port}",
        "--database", str(home / f"{NAME}.db"), "--token-file", str(token),
    ]  # fmt: skip
    return [Companion(NAME, command, token)]
