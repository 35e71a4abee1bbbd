"""Model versions in MLflow: registering a signed folder, and reading what is registered."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from baton.errors import RegistryRefused, ServiceError
from baton.governance.consume import require_consumer
from baton.names import REVIEW
from baton.registry.card import with_gate
from baton.registry.download import stored, verified_folder
from baton.registry.identity import Identity, ModelVersion
from baton.registry.manifest import Manifest
from baton.registry.package import Submission, package
from baton.registry.review import PENDING, RESERVED
from baton.settings import settings
from baton.tracking.rest import RETRY_SECONDS, Credentials, Rest, RestError, credentials
from baton.tracking.runs import RunLog

# MLflow answers without model_id; the source names the upload and cannot be changed afterwards
_SOURCE = re.compile(r"models:/(m-[0-9a-f]{32})")
_MODEL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_\-]{0,99}")


class Versions(RunLog):
    """Runs and model versions on one MLflow server."""

    def __init__(
        self,
        url: str | None = None,
        user: Credentials | None = None,
        *,
        home: Path | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """Connect lazily: nothing is sent before the first call.

        Args:
            url: address of the server; default `settings().mlflow_tracking_uri`.
            user: who asks; default the service account of `home/secrets/mlflow.json`.
            home: folder of secrets, keys and the model cache; default `settings().home`.
            retry_seconds: how long a call waits for a server that is down.

        Raises:
            ServiceError: no server is known, or no credentials.
        """
        self.home = home or settings().home
        address = url or settings().mlflow_tracking_uri
        if not address:
            raise ServiceError("MLflow: no server is known; start it with `baton up` or set BATON_MLFLOW_TRACKING_URI")
        super().__init__(Rest(address, user or credentials(self.home, "service"), retry_seconds))

    def register(self, given: Submission) -> int:
        """Sign a saved model, upload it and make it a version; return its number.

        Repeating a request after a lost answer does no harm: a version is looked up by its upload first.

        Raises:
            RegistryRefused: a file that may not be in a model folder.
            ServiceError: the server is down, or another user owns the name.
        """
        require_name(given.model)
        experiment = self.rest.get("/runs/get", run_id=given.run_id)["run"]["info"]["experiment_id"]
        trained_on = given.dataset.content_sha256 if given.dataset else ""
        kind = {"name": given.model, "model_type": f"baton.{given.family}", "source_run_id": given.run_id}
        logged = self.rest.post("/logged-models", experiment_id=experiment, **kind)["model"]["info"]
        upload = logged["model_id"]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        identity = Identity(given.model, given.run_id, upload, trained_on, now)
        with self._upload(logged["artifact_uri"], upload) as target:
            digest = package(given, identity, target, self.home / "keys")
        self.rest.post("/runs/outputs", run_id=given.run_id, models=[{"model_id": upload, "step": 0}])
        self.log(given.run_id, metrics=given.metrics, logged_model=upload)
        self._ensure_model(given.model, given.about)
        tags = {key: value for key, value in given.tags.items() if key not in RESERVED}
        tags |= {"baton.dataset": trained_on, "baton.manifest": digest, REVIEW: PENDING}
        return self._create_version(identity, with_gate(given.card_md, None), tags)

    @contextmanager
    def _upload(self, location: str, upload: str) -> Iterator[Path]:
        """Give a folder to fill, then store its files; MLflow shows the upload as ready or as failed."""
        status = "LOGGED_MODEL_UPLOAD_FAILED"
        try:
            with tempfile.TemporaryDirectory(prefix="baton-register-") as scratch:
                target = Path(scratch) / "model"
                yield target
                for path in sorted(file for file in target.rglob("*") if file.is_file()):
                    self.rest.upload(location, path.relative_to(target).as_posix(), path.read_bytes())
            status = "LOGGED_MODEL_READY"
        finally:
            self.rest.patch(f"/logged-models/{upload}", model_id=upload, status=status)

    def _ensure_model(self, model: str, about: str) -> None:
        try:
            self.rest.post("/registered-models/create", name=model, description=about)
        except RestError as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _create_version(self, identity: Identity, description: str, tags: Mapping[str, Any]) -> int:
        upload = identity.logged_model
        body = {"name": identity.model, "source": f"models:/{upload}", "run_id": identity.run_id, "model_id": upload}
        texts = [{"key": key, "value": str(value)} for key, value in tags.items()]
        answer = self.rest.post("/model-versions/create", **body, description=description, tags=texts)
        # when the answer of a first request was lost, the repeated one made a copy: the oldest is the version
        created = int(answer["model_version"]["version"])
        first = self._first_of(identity.model, identity.run_id, identity.logged_model)
        if first != created:
            self.rest.delete("/model-versions/delete", name=identity.model, version=str(created))
        return first

    def _first_of(self, model: str, run_id: str, logged_model: str) -> int:
        """Number of the first version that an upload was registered as."""
        return next(known.version for known in self.versions(model, run_id) if known.logged_model == logged_model)

    def versions(self, model: str, run_id: str | None = None) -> list[ModelVersion]:
        """All versions of a model, oldest first; those of one run where `run_id` is given."""
        require_name(model)
        wanted = f"name='{model}'" + (f" and run_id='{run_id}'" if run_id else "")
        found: list[ModelVersion] = []
        token = ""
        while True:
            page = self.rest.get("/model-versions/search", filter=wanted, max_results=1000, page_token=token)
            found += [_version(entry) for entry in page.get("model_versions", [])]
            token = page.get("next_page_token", "")
            if not token:
                return sorted(found, key=lambda version: version.version)

    def models(self) -> list[str]:
        """Names of the registered models, sorted."""
        return sorted(entry["name"] for entry in self.standing())

    def standing(self) -> Iterator[dict[str, Any]]:
        """Every registered model as MLflow gives it: name, aliases, tags, perhaps more."""
        token = ""
        while True:
            page = self.rest.get("/registered-models/search", max_results=1000, page_token=token)
            yield from page.get("registered_models", [])
            token = page.get("next_page_token", "")
            if not token:
                return

    def check(self, known: ModelVersion) -> Manifest:
        """Verify the files of a version that the registry itself holds; `download` looks at the copy on this machine.

        Raises:
            RegistryRefused, ServiceError: as `download`.
        """
        return stored(self.rest, self.home, known, self._first_of(known.model, known.run_id, known.logged_model))

    def version(self, model: str, version: int) -> ModelVersion:
        """One version. Raises RegistryRefused: there is no such version."""
        require_name(model)
        try:
            answer = self.rest.get("/model-versions/get", name=model, version=version)
        except RestError as error:
            if error.code == "RESOURCE_DOES_NOT_EXIST":
                raise RegistryRefused(f"{model} version {version}: not in the registry") from None
            raise
        return _version(answer["model_version"])

    def version_url(self, model: str, version: int) -> str:
        """Address of a version in MLflow's UI."""
        return f"{self.rest.url}/#/models/{model}/versions/{version}"

    def tags(self, model: str, version: int) -> dict[str, str]:
        """Tags of a version."""
        return self.version(model, version).tags

    def tag(self, model: str, version: int, key: str, value: str) -> None:
        """Set a tag of a version."""
        self.rest.post("/model-versions/set-tag", name=model, version=str(version), key=key, value=value)

    def download(self, model: str, version: int, consumer: str) -> Path:
        """Return a local folder with the verified files of a version, for a flow that may use it.

        The folder is fetched once into `home/models/<model>/<version>`; signature, identity and the hash of
        every file are checked on each call, before any model library opens it.

        Args:
            consumer: DAG id of the flow, or of one of the model's own DAGs.

        Raises:
            RegistryRefused: not for this consumer, tampered with, replayed, not signed, or holding something that could run.
            ServiceError: the server is down.
        """
        require_consumer(model, consumer)
        return self._verified(model, version)[0]

    def verified(self, model: str, version: int) -> Path:
        """As `download`, for whoever looks at the files and scores nothing."""
        return self._verified(model, version)[0]

    def manifest(self, model: str, version: int) -> str:
        """SHA-256 of the signed manifest of a version, which has the digests of all its files.

        Raises:
            RegistryRefused: as `download`.
            ServiceError: the server is down.
        """
        return self._verified(model, version)[1].digest

    def identity(self, model: str, version: int) -> Identity:
        """What was signed about a version: its run and its training data's hash.

        Whoever decides on a version reads these here and not from its tags, which a reviewer may edit.

        Raises:
            RegistryRefused: as `download`.
            ServiceError: the server is down.
        """
        return self._verified(model, version)[1].identity

    def _verified(self, model: str, version: int) -> tuple[Path, Manifest]:
        known = self.version(model, version)
        return verified_folder(
            self.rest, self.home, known, lambda: self._first_of(model, known.run_id, known.logged_model)
        )


def require_name(model: str) -> None:
    """Refuse a model name that could not also be the name of a folder. Raises RegistryRefused: naming it."""
    if not _MODEL_NAME.fullmatch(model):
        raise RegistryRefused(f"model name {model!r}: letters, digits, '_' and '-' only, at most 100")


def _version(entry: Mapping[str, Any]) -> ModelVersion:
    source = _SOURCE.fullmatch(entry.get("source", ""))
    tags = {tag["key"]: tag.get("value", "") for tag in entry.get("tags", [])}
    upload, description = source[1] if source else "", entry.get("description", "")
    return ModelVersion(entry["name"], int(entry["version"]), entry.get("run_id", ""), upload, description, tags)
