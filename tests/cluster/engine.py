"""A Docker engine of this test's own: its images and networks touch no other's, and nothing of it stays when it has ended.

The images are kept in a folder (TEST_COMPOSE_FOLDER, default .baton/cluster) for the next time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# image that the project names -> our stand-in for it, and the release of Debian that it is made of
STAND_INS = {
    "python:3.11-slim-bookworm": ("python", "bookworm"),
    "postgres:17-alpine": ("postgres", "trixie"),
    "redis:8-alpine": ("redis", "trixie"),
}
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_TABLES = ("filter", "nat")


def say(line: str) -> None:
    """A line for who watches."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


class Engine:
    """`dockerd` with a folder, a socket and a process of its own; use as a context manager.

    Needs root, Linux, `docker.io`, Compose 2.20 or newer and, where no registry answers, `debootstrap`.
    """

    def __init__(self) -> None:
        default = ROOT / ".baton" / "cluster"
        self.folder = Path(os.environ.get("TEST_COMPOSE_FOLDER", default)).resolve()
        self.run_folder = Path(tempfile.mkdtemp(prefix="baton-engine-"))  # the path of a socket must be short
        self.stands_in = False  # whether bases were made here
        self._process: subprocess.Popen[bytes] | None = None
        self._before: dict[str, list[str]] = {}
        self._forwarding = Path("/proc/sys/net/ipv4/ip_forward")
        # the classic builder: it needs nothing beside the engine
        self.environment = {
            **os.environ,
            "DOCKER_HOST": f"unix://{self.run_folder}/engine.sock",
            "DOCKER_BUILDKIT": "0",
        }

    def __enter__(self) -> Engine:
        """Start it."""
        missing = [name for name in ("docker", "dockerd", "iptables-save") if shutil.which(name) is None]
        if os.geteuid() or missing:
            raise SystemExit(f"make test-compose needs root and docker.io with Compose; missing: {missing or 'root'}")
        self._before, self._forwarded = _chains(), self._forwarding.read_text()
        (self.folder / "docker").mkdir(parents=True, exist_ok=True)
        command = [
            "dockerd", "--data-root", str(self.folder / "docker"), "--exec-root", str(self.run_folder / "exec"),
            "--pidfile", str(self.run_folder / "pid"), "--host", self.environment["DOCKER_HOST"],
        ]  # fmt: skip
        with (self.folder / "engine.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        for _ in range(120):
            try:
                self.docker("info")
            except RuntimeError:
                time.sleep(0.5)
            else:
                return self
        self.__exit__()
        raise SystemExit(f"the engine does not start: {self.folder / 'engine.log'}")

    def __exit__(self, *_: object) -> None:
        """End it, and take its bridge and its chains out of the machine's network."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
        subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True, check=False)
        for table in _TABLES:
            left = [line for line in _chains()[table] if line not in self._before[table]]
            for rule in (line for line in left if line.startswith("-A")):
                subprocess.run(["iptables", "-t", table, "-D", *rule.split()[1:]], check=False)
            for chain in (line.split()[0][1:] for line in left if line.startswith(":DOCKER")):
                subprocess.run(["iptables", "-t", table, "-F", chain], check=False)
            for chain in (line.split()[0][1:] for line in left if line.startswith(":DOCKER")):
                subprocess.run(["iptables", "-t", table, "-X", chain], check=False)
        if ":FORWARD DROP" not in self._before["filter"]:
            subprocess.run(["iptables", "-P", "FORWARD", "ACCEPT"], check=False)
        self._forwarding.write_text(self._forwarded)
        shutil.rmtree(self.run_folder, ignore_errors=True)

    def docker(self, *arguments: str, env: dict[str, str] | None = None, **kwargs: Any) -> str:
        """Run `docker`; returns its output.

        Raises:
            RuntimeError: it failed; with the end of what it said.
        """
        kwargs.setdefault("timeout", 1500)
        done = subprocess.run(
            ["docker", *arguments], env={**self.environment, **(env or {})}, text=True, check=False,
            capture_output=True, **kwargs,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(
                f"docker {' '.join(arguments[:6])}: {done.returncode}: {(done.stdout + done.stderr)[-4000:]}"
            )
        return done.stdout

    def has(self, image: str) -> bool:
        """Whether there is such an image."""
        return bool(self.docker("image", "ls", "--quiet", image).strip())

    def prepare_bases(self) -> str:
        """See to the images that others are built from; returns where they come from."""
        if os.environ.get("TEST_COMPOSE_BASES") != "debootstrap":
            try:
                for image in STAND_INS:
                    self.docker("pull", "--quiet", image, timeout=300)
                return "of their makers"
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                say(f"no registry answers ({str(error).splitlines()[-1][-150:]}): bases are made here by debootstrap")
        self.stands_in = True
        for image, (name, release) in STAND_INS.items():
            recipe = sorted((HERE / "bases" / name).iterdir())
            digest = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in recipe)).hexdigest()
            kept = f"baton-bases/{name}:{digest[:16]}"
            if not self.has(kept):
                self._debian(release)
                self._build_base(recipe, kept)
            self.docker("tag", kept, image)
        return "stand-ins made by debootstrap"

    def _debian(self, release: str) -> None:
        if self.has(f"baton-bases/{release}"):
            return
        say(f"debootstrap {release}")
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            root = Path(folder) / "root"
            subprocess.run(
                ["debootstrap", "--variant=minbase", release, str(root)], check=True, stdout=subprocess.DEVNULL
            )
            slim = ["--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*", "--exclude=./usr/share/doc/*"]
            slim += ["--exclude=./usr/share/man/*", "--exclude=./usr/share/locale/*"]
            with subprocess.Popen(["tar", "-C", str(root), *slim, "-c", "."], stdout=subprocess.PIPE) as tar:
                self.docker("import", "-", f"baton-bases/{release}", stdin=tar.stdout)

    def _build_base(self, recipe: Sequence[Path], image: str) -> None:
        say(f"building {image}")
        with tempfile.TemporaryDirectory() as folder:
            for path in [*recipe, _AUTHORITIES]:
                shutil.copy(path, folder)
            self.docker("build", "--force-rm", "--tag", image, folder)


def leftovers() -> list[str]:
    """Bridges and chains of an engine that are still there."""
    found = [path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(("docker", "br-", "veth"))]
    return found + [line for lines in _chains().values() for line in lines if "DOCKER" in line]


def _chains() -> dict[str, list[str]]:
    """Chains with their policies, and rules, of each table; packet counts left out."""
    found = {}
    for table in _TABLES:
        text = subprocess.run(["iptables-save", "-t", table], capture_output=True, text=True, check=True).stdout
        found[table] = [line.split(" [")[0] for line in text.splitlines() if line.startswith((":", "-A"))]
    return found
