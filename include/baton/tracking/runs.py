"""Runs in MLflow: parameters, metrics, tags and the reference to the training data, in few requests."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from baton.data.datasets import DatasetRef
from baton.errors import BatonError, ServiceError
from baton.tracking.rest import Rest, RestError

# MLflow's limits of one log-batch request and of one value
_BATCH = {"params": 100, "metrics": 900, "tags": 100}
_MAX_PARAM, _MAX_TAG = 6000, 5000
NESTED = "mlflow.parentRunId"
_TABLES = "mlflow.loggedArtifacts"


def run_name(model: str, occasion: str, candidate: str | None = None) -> str:
    """Return `<model>__<partition or run>__<candidate>`, the name of a run in MLflow's lists."""
    return "__".join(part for part in (model, occasion, candidate) if part)


@contextmanager
def ending(log: "RunLog", run_id: str) -> Iterator[None]:
    """End a run with the block: finished, or failed where something is raised."""
    try:
        yield
    except BaseException:  # a task's time limit is no Exception
        with suppress(BatonError):  # the server may be what failed
            log.end_run(run_id, "FAILED")
        raise
    log.end_run(run_id)


class RunLog:
    """Runs and experiments of one tracking server."""

    def __init__(self, rest: Rest) -> None:
        self.rest = rest
        self._experiments: dict[str, str] = {}

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, created on first use. Raises ServiceError: it is in MLflow's trash."""
        if name not in self._experiments:
            try:
                found = self.rest.get("/experiments/get-by-name", experiment_name=name)["experiment"]
                if found.get("lifecycle_stage") == "deleted":
                    raise ServiceError(f"MLflow: experiment {name!r} is deleted; restore it in MLflow")
                self._experiments[name] = str(found["experiment_id"])
            except RestError as error:
                if error.code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                self._experiments[name] = self._create_experiment(name)
        return self._experiments[name]

    def _create_experiment(self, name: str) -> str:
        try:
            return str(self.rest.post("/experiments/create", name=name)["experiment_id"])
        except RestError as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise
            # a parallel candidate was faster
            found = self.rest.get("/experiments/get-by-name", experiment_name=name)["experiment"]
            return str(found["experiment_id"])

    def start_run(
        self,
        experiment: str,
        name: str,
        *,
        tags: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        datasets: Iterable[DatasetRef] = (),
        parent: str | None = None,
    ) -> str:
        """Start a run and log what is known already; return its id.

        The id is all that another process needs for `log` and `end_run`.

        Args:
            experiment: name of the experiment, one per model.
            name: see `run_name`.
            tags: texts; `airflow.dag_id`, `airflow.run_id`, `airflow.partition` make the way back to Airflow.
            params: settings of the run.
            metrics: measured values; one that is not finite is left out and named in tag `baton.not_finite`.
            datasets: what it learns from, logged as reference (address and hash); no row is read.
            parent: id of the run that this one is a candidate of.
        """
        labels = {**(tags or {}), "mlflow.user": "baton"}
        if parent:
            labels[NESTED] = parent
        named = {"experiment_id": self.experiment(experiment), "run_name": name, "start_time": _now_ms()}
        answer = self.rest.post("/runs/create", **named, tags=_texts(labels, _MAX_TAG))
        run_id = str(answer["run"]["info"]["run_id"])
        self.log(run_id, params=params, metrics=metrics)
        if references := [_dataset_input(ref) for ref in datasets]:
            self.rest.post("/runs/log-inputs", run_id=run_id, datasets=references)
        return run_id

    def log(
        self,
        run_id: str,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, Any] | None = None,
        logged_model: str | None = None,
    ) -> None:
        """Log to a run in one request (several only beyond MLflow's limits of a request).

        Args:
            run_id: the run.
            params: settings; a value can be logged once and not be changed.
            metrics: measured values.
            tags: texts.
            logged_model: id of the model that the metrics are of.
        """
        values, left_out = _metrics(metrics or {}, logged_model)
        labels = {**(tags or {}), **({"baton.not_finite": ", ".join(left_out)} if left_out else {})}
        batch: dict[str, list[Any]] = {"params": _texts(params or {}, _MAX_PARAM), "metrics": values}
        batch["tags"] = _texts(labels, _MAX_TAG)
        while any(batch.values()):
            part = {key: items[: _BATCH[key]] for key, items in batch.items() if items}
            self.rest.post("/runs/log-batch", run_id=run_id, **part)
            batch = {key: items[_BATCH[key] :] for key, items in batch.items()}

    def end_run(self, run_id: str, status: str = "FINISHED") -> None:
        """End a run with `FINISHED`, `FAILED` or `KILLED`."""
        self.rest.post("/runs/update", run_id=run_id, status=status, end_time=_now_ms())

    def log_text(self, run_id: str, path: str, content: str) -> None:
        """Store a text as artefact `path` of a run."""
        self.rest.upload(self._run(run_id)["info"]["artifact_uri"], path, content.encode())

    def log_table(self, run_id: str, path: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store rows as a table that MLflow's UI shows; columns are those of the first row, in its order."""
        columns = list(rows[0]) if rows else []
        table = {"columns": columns, "data": [[_cell(row.get(column)) for column in columns] for row in rows]}
        run = self._run(run_id)
        self.rest.upload(run["info"]["artifact_uri"], path, json.dumps(table).encode())
        # MLflow's UI finds tables by this tag
        tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
        listed = json.loads(tags.get(_TABLES, "[]"))
        if {"path": path, "type": "table"} not in listed:
            self.log(run_id, tags={_TABLES: [*listed, {"path": path, "type": "table"}]})

    def _run(self, run_id: str) -> dict[str, Any]:
        run: dict[str, Any] = self.rest.get("/runs/get", run_id=run_id)["run"]
        return run

    def run_url(self, run_id: str) -> str:
        """Address of a run in MLflow's UI."""
        info = self._run(run_id)["info"]
        return f"{self.rest.url}/#/experiments/{info['experiment_id']}/runs/{run_id}"


def _dataset_input(ref: DatasetRef) -> dict[str, Any]:
    schema = {"baton": {"fingerprint": ref.schema_fingerprint}}
    return {
        "tags": [{"key": "mlflow.data.context", "value": "training"}],
        "dataset": {
            "name": ref.partition or ref.uri.rsplit("/", 1)[-1],
            "digest": ref.content_sha256[:36],  # MLflow's limit of a digest; the whole hash is in the source
            "source_type": "uri",
            "source": json.dumps({"uri": ref.uri, "sha256": ref.content_sha256}),
            "schema": json.dumps(schema),
            "profile": json.dumps({"num_rows": ref.rows}),
        },
    }


def _metrics(metrics: Mapping[str, float], logged_model: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    now, values, left_out = _now_ms(), [], []
    for key, value in metrics.items():
        number = float(value)
        if number != number or number in (float("inf"), float("-inf")):
            left_out.append(key)  # JSON cannot carry them
            continue
        entry: dict[str, Any] = {"key": key, "value": number, "timestamp": now, "step": 0}
        values.append(entry | {"model_id": logged_model} if logged_model else entry)
    return values, left_out


def _texts(values: Mapping[str, Any], limit: int) -> list[dict[str, str]]:
    return [{"key": key, "value": _text(value)[:limit]} for key, value in values.items()]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else _text(value)


def _now_ms() -> int:
    return int(time.time() * 1000)
