"""What of an installation is secret: its keys, its passwords, and what Airflow knows of other systems."""

import json
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path, PurePosixPath
from typing import Any

from baton.errors import BatonError, ServiceError
from baton.files import place
from baton.services.plan import Plan
from baton.settings import Settings

_FOLDERS = ("keys", "secrets")
_FILES = ("ledger/key", "ledger/evidence.pem", "governance")
_CARRIED = "baton.airflow.server.carried"
AIRFLOW = "airflow"


def gather(here: Settings) -> bytes:
    """All secrets of a home as JSON: files by their place, and Airflow's connections and variables, null where it never ran.

    Raises:
        ServiceError: Airflow's database cannot be read.
    """
    paths = [path for folder in _FOLDERS for path in sorted((here.home / folder).rglob("*")) if path.is_file()]
    paths += [here.home / name for name in _FILES if (here.home / name).is_file()]
    files = {path.relative_to(here.home).as_posix(): b64encode(path.read_bytes()).decode() for path in paths}
    plan = _plan(here)
    made = not plan.metadata_url.startswith("sqlite") or (here.home / "airflow" / "airflow.db").exists()
    # its last line: what Airflow itself has to say comes before
    carried = json.loads(_airflow(plan, "out").strip().rpartition("\n")[2]) if made else None
    return json.dumps({"files": files, AIRFLOW: carried}).encode()


def files_of(secrets: dict[str, Any]) -> dict[str, bytes]:
    """The files among secrets, by their place below a home.

    Raises:
        BatonError: one is to go elsewhere.
    """
    found = {}
    for name, content in secrets["files"].items():
        parts = PurePosixPath(name).parts
        if ".." in parts or not (name in _FILES or parts[0] in _FOLDERS):
            raise BatonError(f"the backup's secrets have a file {name!r}, which is none of Baton's; do not use it")
        found[name] = b64decode(content)
    return found


def lay(files: dict[str, bytes], home: Path) -> None:
    """Write files of secrets below a home, for the owner alone."""
    for name, content in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        place(path, content, mode=0o644 if path.suffix == ".pub" else 0o600)


def give_airflow(here: Settings, carried: dict[str, Any]) -> None:
    """Make Airflow's database in a home that has its keys, and write connections and variables into it.

    Raises:
        ServiceError: it cannot be made.
    """
    (here.home / "airflow").mkdir(parents=True, exist_ok=True)
    _airflow(_plan(here), "in", json.dumps(carried))


def _plan(here: Settings) -> Plan:
    # the ports are of no matter to what does not listen
    return Plan(here, here.project / "dags", here.project / "plugins", 1, 1)


def _airflow(plan: Plan, way: str, text: str = "") -> str:
    environment = plan.environment()
    if not Path(environment["AIRFLOW_CONFIG"]).exists():  # its keys come from the environment, as in containers
        del environment["AIRFLOW_CONFIG"]
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", _CARRIED, way], input=text, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServiceError(f"Airflow's connections and variables (`{way}`): {done.stderr.strip()[-800:]}")
    return done.stdout
