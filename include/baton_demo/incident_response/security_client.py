"""What the story asks and tells the security services, with the token of their connections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import httpx

from baton_demo.incident_response.companions import NAME


class SecurityClient:
    """One client; a context manager that holds the connection.

    Args:
        url: address of the services.
        token: of their connections.
    """

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=10
        )

    @classmethod
    def of(cls, home: Path, services_file: Path) -> Self:
        """The client of the services that run beside a home's Airflow."""
        address = json.loads(services_file.read_text(encoding="utf-8"))[NAME]["url"]
        return cls(address, (home / "secrets" / f"{NAME}.token").read_text(encoding="utf-8").strip())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str) -> dict[str, Any]:
        """What is at an address. Raises httpx.HTTPError: nothing, or no answer."""
        return dict(self._http.get(path).raise_for_status().json())

    def switch(self, part: str, mode: str) -> None:
        """Break one part (down, slow, wrong, redirect), or heal it (none)."""
        self._http.post("/faults", json={"part": part, "mode": mode}).raise_for_status()

    def actions(self, part: str) -> list[dict[str, Any]]:
        """All actions that a part has carried out, the oldest first."""
        found: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = self.get(f"/{part}/actions?after={after}")
            found += page["actions"]
            after = page["next"]
        return found

    def blocked(self) -> list[str]:
        """Addresses that the firewall blocks."""
        return [one["address"] for one in self.get("/firewall/state")["state"] if one["blocked"]]

    def isolated(self) -> list[str]:
        """Hosts that are isolated."""
        return [one["host"] for one in self.get("/directory/state")["state"] if one.get("isolated")]
