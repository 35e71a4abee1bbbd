"""docker-compose.yml brought up for real: a project name, secrets and ports of its own; processes killed from outside."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import time
from base64 import urlsafe_b64encode
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from engine import HERE, ROOT, Engine, say

from baton.services.airflow_api import Orchestrator
from baton.services.health import airflow_token
from baton.tracking.rest import Credentials, Rest

PROJECT = "baton-cluster-test"
TARGETS = {"baton": "baton:local", "demo": "baton-demo:local", "s3": "baton-s3:local", "backup": "baton-backup:local"}


class Installation:
    """One installation on an engine.

    Args:
        engine: that runs.
        folder: for the secrets.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.secrets = folder / "secrets"
        self.secrets.mkdir(mode=0o700)
        for name in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["secrets"]:
            value = secrets.token_hex(24)
            (self.secrets / name).write_text(
                urlsafe_b64encode(secrets.token_bytes(32)).decode() if name == "AIRFLOW_FERNET_KEY" else value
            )
        opens = X25519PrivateKey.generate()
        (self.secrets / "BACKUP_PRIVATE_KEY").write_bytes(
            opens.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        (self.secrets / "BACKUP_PUBLIC_KEY").write_bytes(
            opens.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        self.ports = {"AIRFLOW_PORT": _free_port(), "MLFLOW_PORT": _free_port()}
        self.environment = {
            **{name: str(port) for name, port in self.ports.items()},
            "MLFLOW_HOST": f"127.0.0.1:{self.ports['MLFLOW_PORT']}",
            "BATON_SECRETS": str(self.secrets),
            "BATON_PACKS": "financial_crime,supply_chain",
            "BATON_SCHEDULES": "false",  # what is to run is triggered
        }
        self._numbers: dict[str, str] = {}

    def build(self) -> dict[str, int]:
        """Build the images; returns their sizes in bytes."""
        for target, image in TARGETS.items():
            say(f"building {image}")
            source = ["--target", target, str(ROOT)]
            if target == "backup" and self.engine.stands_in:  # no registry, no package server of Postgres either
                source = [str(HERE / "bases" / "clients")]
            self.engine.docker("build", "--force-rm", "--tag", image, *source)
        return {
            image: int(self.engine.docker("image", "inspect", "--format", "{{.Size}}", image))
            for image in TARGETS.values()
        }

    def compose(self, *arguments: str, profiles: str = "*", **kwargs: Any) -> str:
        """Run `docker compose` on the project's own file."""
        file = ["--project-name", PROJECT, "--file", str(ROOT / "docker-compose.yml")]
        return self.engine.docker("compose", *file, "--profile", profiles, *arguments, env=self.environment, **kwargs)

    def lose(self, kept: str) -> None:
        """End everything and remove all volumes but one."""
        self.compose("down", "--timeout", "60")
        volumes = self.engine.docker("volume", "ls", "--quiet").split()
        self.engine.docker("volume", "rm", *(name for name in volumes if name != f"{PROJECT}_{kept}"))
        self._numbers.clear()

    def down(self) -> None:
        """Keep what the containers said, in `containers.log` beside the engine's; end everything, remove volumes and networks."""
        try:
            log = self.compose("logs", "--no-color", "--timestamps")
            (self.engine.folder / "containers.log").write_text(log)
        finally:
            self.compose("down", "--volumes", "--remove-orphans", "--timeout", "60")

    def secret(self, name: str) -> str:
        """A secret's value."""
        return (self.secrets / name).read_text()

    @cached_property
    def airflow(self) -> Orchestrator:
        """Airflow behind the published port, as its administrator."""
        url = f"http://127.0.0.1:{self.ports['AIRFLOW_PORT']}"
        return Orchestrator(
            url, lambda: airflow_token(url, "admin", self.secret("AIRFLOW_ADMIN_PASSWORD"), patience=60)
        )

    def registry(self, user: str, password: str) -> Rest:
        """MLflow behind the published port, as one user."""
        return Rest(f"http://127.0.0.1:{self.ports['MLFLOW_PORT']}", Credentials(user, self.secret(password)))

    def run_in(self, service: str, *command: str, variables: dict[str, str] | None = None, **kwargs: Any) -> str:
        """Run a command in a container, with its secrets; returns its output."""
        given = [part for name, value in (variables or {}).items() for part in ("--env", f"{name}={value}")]
        return self.compose("exec", "-T", *given, service, "with-secrets", *command, **kwargs)

    def moves(self, *arguments: str) -> Any:
        """Run a move (moves.py) in the world's container; returns what it printed last, as JSON."""
        text = (Path(__file__).parent / "moves.py").read_text()
        return json.loads(self.run_in("demo", "python", "-", *arguments, input=text).splitlines()[-1])

    def container(self, service: str) -> dict[str, Any]:
        """What the engine knows of a service's container."""
        if service not in self._numbers:
            self._numbers[service] = self.compose("ps", "--all", "--quiet", service).split()[0]
        return dict(json.loads(self.engine.docker("inspect", self._numbers[service]))[0])

    def restarts(self) -> dict[str, int]:
        """How often the engine has started each container anew."""
        return {name: self.container(name)["RestartCount"] for name in self.services()}

    def services(self) -> list[str]:
        """Services whose containers run."""
        return sorted(self.compose("ps", "--services", "--status", "running").split())

    def kill(self, service: str) -> float:
        """SIGKILL to the container's first process, as the machine sees it; returns seconds until a new one is well.

        What `docker kill` ends counts as ended by hand, and would not be started again.
        """
        before = self.container(service)
        began = time.monotonic()
        os.kill(before["State"]["Pid"], signal.SIGKILL)
        while time.monotonic() - began < 180:
            now = self.container(service)
            if (
                now["RestartCount"] > before["RestartCount"]
                and now["State"].get("Health", {}).get("Status") == "healthy"
            ):
                return round(time.monotonic() - began, 1)
            time.sleep(0.5)
        raise AssertionError(f"{service} is not well 180 s after it was killed: {self.container(service)['State']}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
