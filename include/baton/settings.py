"""Every BATON_* variable, in one place.

Paths derive from `home` (BATON_HOME, default `./.baton`). Addresses of the running services come from
`home/services.json`, which the supervisor writes, unless a variable names them. Secrets are never settings:
they live in `home/secrets`, mode 0600.
"""

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from baton.errors import BatonError

LOOPBACK = "127.0.0.1"
FOUR_EYES, SINGLE = "four_eyes", "single"


class Settings(BaseSettings):
    """Settings of one Baton home; read through `settings()`."""

    model_config = SettingsConfigDict(env_prefix="BATON_", env_ignore_empty=True, frozen=True, extra="ignore")

    home: Path = Field(default=Path(".baton"), description="Folder that holds all state.")
    project: Path = Field(default=Path(), description="Folder with dags/ and plugins/; default the working folder.")
    airflow_port: int | None = Field(default=None, ge=1, le=65535, description="Airflow's port; unset: any free one.")
    mlflow_port: int | None = Field(default=None, ge=1, le=65535, description="MLflow's port; unset: any free one.")
    warehouse_url: str = Field(default="", description="SQLAlchemy URL; default a SQLite file in home.")
    store_url: str = Field(default="", description="fsspec URL of the dataset store; default a folder in home.")
    max_frame_rows: int = Field(
        default=5_000_000,
        ge=1,
        description="A stage that wants more rows at once is refused; it can take them in batches.",
    )
    scoring_slots: int | None = Field(
        default=None,
        ge=1,
        description="Slots of the pool `scoring` when it is made, default twice the cores; at most twice as many tasks share "
        "a stage of a large batch.",
    )
    mlflow_tracking_uri: str | None = Field(default=None, description="Default: what services.json says.")
    airflow_url: str | None = Field(default=None, description="Default: what services.json says.")
    packs: str = Field(default="", description="Packs that run, by name, with commas between; default all installed.")
    governance: Literal["four_eyes", "single"] = Field(
        default="four_eyes",
        description="Who agrees to what takes more than one person (a new champion, a changed file of a pack, a raised budget, a large "
        "discard, a duty that is given): `four_eyes`: others than whoever asked, see governance.md; `single`: one person runs "
        "this installation and agrees alone, which every page and every pack of evidence says; only the file `governance` of the home "
        "makes it so, a variable may only say the stricter; production refuses it.",
    )
    budgets: Path | None = Field(default=None, description="YAML file of budgets over all packs; see budgets.yaml.")
    lineage_url: str = Field(
        default="",
        description="Who is told of datasets, model versions and decisions as OpenLineage events: file:///path.jsonl, or an "
        "endpoint's address (a token in secrets/lineage_token); default nobody.",
    )
    schedules: bool = Field(default=True, description="False: DAGs run only when triggered (demo, tests).")

    @field_validator("home", "project", "budgets")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        # a task may run in another working directory than the command that set the variable
        return None if value is None else value.expanduser().resolve()

    @field_validator("store_url")
    @classmethod
    def _address(cls, value: str) -> str:
        # a plain path would go through a driver that overwrites and never waits for the disk
        scheme, mark, rest = value.partition("://")
        if not (scheme and mark and rest.strip("/")):
            raise ValueError("BATON_STORE_URL is an address such as file:///srv/store or s3://bucket/folder")
        return value

    @field_validator("lineage_url")
    @classmethod
    def _told(cls, value: str) -> str:
        parts = urlsplit(value)
        file = parts.scheme == "file" and parts.path.startswith("/") and not parts.netloc
        http = parts.scheme in ("http", "https") and parts.hostname and not parts.username and not parts.password
        if value and not (file or http):
            raise ValueError(
                "file:///srv/lineage.jsonl, or an endpoint such as https://host/api/v1/lineage, without a password"
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _defaults_in_home(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        home = Path(data.get("home", ".baton")).expanduser().resolve()
        given = {key: value for key, value in data.items() if value not in (None, "")}
        said = home / "governance"  # of an installation that one person runs; `baton up` writes it
        of_home = {"governance": said.read_text(encoding="utf-8").strip()} if said.is_file() else {}
        if given.get("governance") == SINGLE != of_home.get("governance"):  # else any shell could agree alone
            raise BatonError(
                f"BATON_GOVERNANCE=single: a variable lets nobody agree alone; an installation is one person's where {said} says it, "
                "which `baton up` writes into a new home: take the variable away"
            )
        addresses = read_services(home)
        derived = {
            "warehouse_url": f"sqlite:///{home / 'warehouse.db'}",
            "store_url": (home / "store").as_uri(),
            "mlflow_tracking_uri": addresses.get("mlflow", {}).get("url"),
            "airflow_url": addresses.get("airflow", {}).get("url"),
            "project": _project(),
        }
        return {**derived, **of_home, **given}

    @property
    def data_dir(self) -> Path:
        """Converted data sets."""
        return self.home / "data"

    @property
    def landing_dir(self) -> Path:
        """Files as they arrive from sources."""
        return self.home / "landing"

    @property
    def keys_dir(self) -> Path:
        """Signing keys of model manifests (0700)."""
        return self.home / "keys"

    @property
    def reports_dir(self) -> Path:
        """Contract and drift pages."""
        return self.home / "reports"

    @property
    def secrets_dir(self) -> Path:
        """Passwords and keys of the services (0700, files 0600)."""
        return self.home / "secrets"

    @property
    def logs_dir(self) -> Path:
        """One log file per service."""
        return self.home / "logs"

    @property
    def governance_file(self) -> Path:
        """Says `single` where one person runs the installation; no file: `four_eyes`."""
        return self.home / "governance"

    @property
    def sessions_file(self) -> Path:
        """Processes of the running services, written by the supervisor."""
        return self.home / "sessions.json"

    @property
    def services_file(self) -> Path:
        """Addresses of the running services, written by the supervisor."""
        return self.home / "services.json"


def _project() -> Path:
    """Return the working folder when it has DAGs, else the folder that an editable install runs from."""
    here = Path.cwd()
    return here if (here / "dags").is_dir() else Path(__file__).resolve().parents[2]


def read_services(home: Path) -> dict[str, dict[str, Any]]:
    """Return the addresses in `home/services.json`, `{}` when no supervisor has written any.

    Raises:
        BatonError: the file is there and is not the JSON object that the supervisor writes.
    """
    path = home / "services.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise BatonError(f"{path}: not JSON ({error}); stop `baton up` and delete the file") from error
    if not isinstance(content, dict):
        raise BatonError(f"{path}: expected an object of services; stop `baton up` and delete the file")
    return content


def scoring_slots() -> int:
    """Slots of the pool `scoring`."""
    return settings().scoring_slots or 2 * (os.cpu_count() or 1)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process; call `settings.cache_clear()` after a change."""
    return Settings()
