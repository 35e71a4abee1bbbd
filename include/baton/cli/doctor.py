"""`baton doctor`: what an installation needs, each with what to do when it is missing."""

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

from baton.authoring.lint import lint
from baton.data import objects
from baton.errors import BatonError
from baton.packs.pack import packs
from baton.record import ledger
from baton.services.plan import choose_port
from baton.services.supervisor import supervisor_of
from baton.settings import Settings, settings

AIRFLOW = "3.3.2"
_FREE_GB = 3.0


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        what: what was looked at.
        ok: None where nothing is wrong but the user may want to know.
        says: the finding, and what to do.
    """

    what: str
    ok: bool | None
    says: str


def examine() -> Iterator[Finding]:
    """Yield the findings about this environment, the packs and the home."""
    here = settings()
    yield from _environment()
    yield from _packs(here)
    yield from _home(here)
    yield from _store(here)
    yield from _state(here)


def _environment() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    supported = (3, 11) <= sys.version_info[:2] <= (3, 12)
    yield Finding("Python", supported, python if supported else f"{python}: 3.11 or 3.12 is needed")
    for name, wanted in (("apache-airflow", AIRFLOW), ("mlflow", "3.17."), ("great-expectations", "1.24.1")):
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Finding(name, ok=False, says="not installed: run `make setup`")
            continue
        fits = found.startswith(wanted)
        yield Finding(name, fits, found if fits else f"{found}: Baton is made for {wanted}; run `make setup`")
    policies = [point.value for point in entry_points(group="airflow.policy")]
    warm = "baton.airflow.server.warmup" in policies
    yield Finding("warm workers", warm, "registered" if warm else "not registered: run `make setup`")
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        says = "PYTHONDONTWRITEBYTECODE is set: commands start slowly; `baton up` unsets it for the services"
        yield Finding("bytecode", ok=None, says=says)


def _packs(here: Settings) -> Iterator[Finding]:
    names = packs()
    yield Finding("packs", bool(names), ", ".join(names) or "none is installed: run `make setup`")
    try:
        problems = [problem for problem in lint() if not problem.note]
    except BatonError as error:
        yield Finding("YAML of packs", ok=False, says=str(error))
    else:
        says = "no mistakes" if not problems else f"{len(problems)} mistakes: see `baton lint`"
        yield Finding("YAML of packs", not problems, says)
    dags = here.project / "dags"
    there = dags.is_dir()
    yield Finding("DAGs", there, str(dags) if there else f"no {dags}: run in the project or set BATON_PROJECT")


def _home(here: Settings) -> Iterator[Finding]:
    existing = next(folder for folder in (here.home, *here.home.parents) if folder.exists())
    writable = os.access(existing, os.W_OK)
    yield Finding("home", writable, f"{here.home}{'' if writable else ': not writable; set BATON_HOME'}")
    free = shutil.disk_usage(existing).free / 1e9
    says = f"{free:.1f} GB free" + (
        "" if free > _FREE_GB else f": less than {_FREE_GB:.0f} GB; free some or set BATON_HOME"
    )
    yield Finding("disk", free > _FREE_GB, says)
    if here.home.exists():
        mode = stat.S_IMODE(here.home.stat().st_mode)
        says = (
            "for you alone" if not mode & 0o077 else f"mode {mode:04o}: others can look into it; chmod 700 {here.home}"
        )
        yield Finding("home's mode", not mode & 0o077, says)
    open_to_others = [path for path in _secret_files(here) if stat.S_IMODE(path.stat().st_mode) & 0o077]
    says = "readable by you alone" if not open_to_others else f"others can read {open_to_others[0]}: chmod 600 it"
    yield Finding("secrets", not open_to_others, says)


def _secret_files(here: Settings) -> list[Path]:
    folders = [folder for folder in (here.secrets_dir, here.keys_dir, here.home / "ledger") if folder.is_dir()]
    # a public key is for everybody
    return [path for folder in folders for path in folder.iterdir() if path.suffix != ".pub"]


def _store(here: Settings) -> Iterator[Finding]:
    if here.store_url.startswith("file://"):  # lies in the home, or is said to be missing by whoever writes there
        return
    try:
        objects.refuses_a_second_put()
    except BatonError as error:
        yield Finding("store", ok=False, says=str(error))
    else:
        yield Finding("store", ok=True, says=f"{here.store_url} takes a name once; XComs above 64 kB lie there, too")


def _state(here: Settings) -> Iterator[Finding]:
    if not here.home.exists():
        yield Finding("state", ok=None, says="none yet: `baton demo` or `baton up` makes it")
        return
    holder = supervisor_of(here.home)
    yield Finding("services", ok=None, says=f"supervised by process {holder}" if holder else "not running: `baton up`")
    if holder is None:
        for port, variable in ((here.airflow_port, "BATON_AIRFLOW_PORT"), (here.mlflow_port, "BATON_MLFLOW_PORT")):
            if port is None:
                continue
            try:
                choose_port(port, variable)
            except BatonError as error:
                yield Finding(variable, ok=False, says=str(error))
            else:
                yield Finding(variable, ok=True, says=f"{port} is free")
    if not here.warehouse_url.startswith("sqlite") or (here.home / "warehouse.db").exists():
        try:
            verdict = ledger.verify()
        except BatonError as error:
            yield Finding("warehouse", ok=False, says=str(error))
        else:
            says = f"{verdict.records:,} entries, all as written" if verdict.ok else verdict.reason
            yield Finding("ledger", verdict.ok, says)
