"""What was measured, and what things cost: two YAML files, one written by a benchmark, one by whoever pays."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field

from baton.packs.spec_file import raise_for, read_as
from baton.specs.base import Spec

RATES, PRICES = (Path(__file__).with_name(name) for name in ("rates.yaml", "prices.yaml"))
M = TypeVar("M", bound=BaseModel)


class StageRate(Spec):
    """One kind of stage on one core."""

    rows_per_second: float = Field(gt=0, description="of one core, with reading, checking, writing and committing")
    bytes_per_row: float = Field(ge=0, description="of what it leaves in the store")
    reads: list[str] = Field(default_factory=list, description="the stages whose results it reads")
    wide: bool = Field(default=False, description="its work and its bytes grow with the columns")
    together: bool = Field(default=False, description="several tasks share the parts of one partition")
    whole: bool = Field(default=False, description="it holds a partition whole: BATON_MAX_FRAME_ROWS is its limit")


class DatabaseRate(Spec):
    """Bytes in the warehouse."""

    row: float = Field(ge=0, description="of a published row")
    case: float = Field(ge=0, description="of an open case")
    bad_row: float = Field(ge=0, description="of a row in quarantine")
    task: float = Field(ge=0, description="of a commit, with its entry in the ledger")


class TaskRate(Spec):
    """What Airflow takes for a task that does nothing."""

    per_second: float = Field(gt=0, description="tasks that one scheduler gets through")
    core_seconds: float = Field(ge=0, description="of a worker: process, connection, report")


class Rates(Spec):
    """The file rates.yaml."""

    measured: str = Field(description="when, and on what")
    columns: int = Field(ge=1, description="of the rows that were measured")
    rows_per_part: int = Field(ge=1, description="rows of one task where several share a partition")
    stages: dict[str, StageRate]
    database: DatabaseRate
    tasks: TaskRate


class Prices(Spec):
    """The file that --prices names; any currency."""

    currency: str = Field(description="name of the currency")
    core_hour: float = Field(ge=0, description="of a worker, memory included")
    services_month: float = Field(ge=0, description="scheduler, API server, MLflow, the database's machine")
    store_gb_month: float = Field(ge=0, description="of the object store")
    database_gb_month: float = Field(ge=0, description="of the database's disk")


def read(model: type[M], path: Path) -> M:
    """Read one of the files.

    Raises:
        SpecError: with every mistake in it and its line.
    """
    found, _, problems = read_as(model, path)
    raise_for(problems)
    assert found is not None
    return found
