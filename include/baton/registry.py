"""The model registry: versions, aliases, reviews and verified downloads on an MLflow server.

Aliases say what a version is for (`challenger`, `champion`, `previous_champion`), never stages. Training registers and
points `challenger`; only `promote` and `rollback` move `champion`, and both write it to the ledger.

The back door that MLflow leaves: whoever may edit a registered model may move any of its aliases, there is no right for
"set aliases, but not champion" (mlflow/mlflow#24742), and MLflow keeps no history of aliases. So reviewers get rights on
versions only (`mlflow_server.bootstrap`): they can tag, not move. The server's admin still can; `alias_moved_outside`
compares the alias with the ledger and says so.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from baton.cards import with_gate
from baton.errors import RegistryRefused, ServiceError
from baton.manifest import MAX_BYTES, MAX_FILES, Identity, public_key, verify
from baton.manifest_content import refuse_names
from baton.registry_package import package
from baton.registry_rest import RETRY_SECONDS, Credentials, Rest, RestError, credentials
from baton.registry_review import (
    GATE,
    GATE_AT,
    PENDING,
    REVIEW,
    REVIEW_BEFORE_GATE,
    GateResult,
    champion_moved,
    counted_review,
    decision_of,
)
from baton.registry_runs import RunLog, run_name
from baton.settings import settings

if TYPE_CHECKING:
    import pandas as pd

    from baton.datasets import DatasetRef

__all__ = ["CHALLENGER", "CHAMPION", "PREVIOUS", "ModelVersion", "Registry", "run_name"]

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous_champion"
ALIAS_MOVED = "alias_moved"
# MLflow answers without model_id; the source names the upload and cannot be changed afterwards
_SOURCE = re.compile(r"models:/(m-[0-9a-f]{32})")
_MODEL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_\-]{0,99}")


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model.

    Attributes:
        model: name of the registered model.
        version: number, counted by MLflow from 1.
        run_id: the run that trained it.
        logged_model: id of the upload that holds its files.
        description: the model card, with the gate's verdict once there is one.
        tags: `baton.*` and others.
        created_ms: time of registration, milliseconds since 1970 UTC.
    """

    model: str
    version: int
    run_id: str
    logged_model: str
    description: str
    tags: dict[str, str]
    created_ms: int


class Registry(RunLog):
    """Runs and model versions on one MLflow server, as its service account."""

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

    # --- versions -----------------------------------------------------------------------------------------------------

    def register(
        self,
        model: str,
        folder: Path,
        run_id: str,
        *,
        family: str,
        input_example: pd.DataFrame,
        output_example: pd.DataFrame | None = None,
        card_md: str,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, Any] | None = None,
        dataset: DatasetRef | None = None,
        about: str = "",
    ) -> int:
        """Sign a saved model, upload it and make it a version; return its number.

        Repeating a request after a lost answer does no harm: a version is looked up by its upload before it is created.

        Args:
            model: name of the registered model, created on first use.
            folder: what the family saved; not changed.
            run_id: the run that trained it.
            family: name of the family that loads it.
            input_example: shape (few, features) with the dtypes of the data; no personal data, it is shown in MLflow.
            output_example: shape (few, outputs).
            card_md: model card in Markdown, also the version's description.
            metrics: held-out metrics of this model.
            tags: `baton.partition`, Airflow ids and the like; reviews and verdicts are not taken from here.
            dataset: the training data; its hash is signed into the manifest.
            about: one line on the registered model: what, owner.

        Raises:
            RegistryRefused: a file that may not be in a model folder.
            ServiceError: the server is down, or another user owns the name.
        """
        _require_name(model)
        run = self.rest.get("/runs/get", run_id=run_id)["run"]["info"]
        given = {key: value for key, value in (tags or {}).items() if key not in _RESERVED}
        labels = {**given, "baton.dataset": dataset.content_sha256 if dataset else "", REVIEW: PENDING}
        logged = self.rest.post(
            "/logged-models",
            experiment_id=run["experiment_id"],
            name=model,
            model_type=f"baton.{family}",
            source_run_id=run_id,
        )["model"]["info"]
        identity = Identity(
            model, run_id, logged["model_id"], labels["baton.dataset"], datetime.now(UTC).isoformat(timespec="seconds")
        )
        with tempfile.TemporaryDirectory(prefix="baton-register-") as scratch:
            target = Path(scratch) / "model"
            labels["baton.manifest"] = package(
                folder,
                target,
                identity=identity,
                family=family,
                keys_dir=self.home / "keys",
                input_example=input_example,
                output_example=output_example,
                card_md=card_md,
                metadata={"dataset": labels["baton.dataset"]},
            )
            for path in sorted(target.rglob("*")):
                if path.is_file():
                    self.rest.upload(logged["artifact_uri"], path.relative_to(target).as_posix(), path.read_bytes())
        self.rest.patch(
            f"/logged-models/{logged['model_id']}", model_id=logged["model_id"], status="LOGGED_MODEL_READY"
        )
        self.rest.post("/runs/outputs", run_id=run_id, models=[{"model_id": logged["model_id"], "step": 0}])
        self.log(run_id, metrics=metrics, logged_model=logged["model_id"])
        self._ensure_model(model, about)
        return self._create_version(model, identity, with_gate(card_md, None), labels)

    def _ensure_model(self, model: str, about: str) -> None:
        try:
            self.rest.post("/registered-models/create", name=model, description=about)
        except RestError as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _create_version(self, model: str, identity: Identity, description: str, tags: Mapping[str, Any]) -> int:
        # a lost answer made the client repeat an upload or a creation: the upload's id is unique, so look first
        for known in self.versions(model, run_id=identity.run_id):
            if known.logged_model == identity.logged_model:
                return known.version
        answer = self.rest.post(
            "/model-versions/create",
            name=model,
            source=f"models:/{identity.logged_model}",
            run_id=identity.run_id,
            model_id=identity.logged_model,
            description=description,
            tags=[{"key": key, "value": str(value)} for key, value in tags.items()],
        )
        return int(answer["model_version"]["version"])

    def versions(self, model: str, run_id: str | None = None) -> list[ModelVersion]:
        """All versions of a model, oldest first; of one run where `run_id` is given."""
        _require_name(model)
        wanted = f"name='{model}'" + (f" and run_id='{run_id}'" if run_id else "")
        found: list[ModelVersion] = []
        token = ""
        while True:
            page = self.rest.get("/model-versions/search", filter=wanted, max_results=1000, page_token=token)
            found += [_version(entry) for entry in page.get("model_versions", [])]
            token = page.get("next_page_token", "")
            if not token:
                return sorted(found, key=lambda version: version.version)

    def version(self, model: str, version: int) -> ModelVersion:
        """One version.

        Raises:
            RegistryRefused: there is no such version.
        """
        try:
            return _version(self.rest.get("/model-versions/get", name=model, version=version)["model_version"])
        except RestError as error:
            if error.code == "RESOURCE_DOES_NOT_EXIST":
                raise RegistryRefused(f"{model} version {version}: not in the registry") from None
            raise

    def version_url(self, model: str, version: int) -> str:
        """Address of a version in MLflow's UI."""
        return f"{self.rest.url}/#/models/{model}/versions/{version}"

    def tags(self, model: str, version: int) -> dict[str, str]:
        """Tags of a version."""
        return self.version(model, version).tags

    def tag(self, model: str, version: int, key: str, value: str) -> None:
        """Set a tag of a version."""
        self.rest.post("/model-versions/set-tag", name=model, version=str(version), key=key, value=value)

    # --- aliases ------------------------------------------------------------------------------------------------------

    def aliases(self, model: str) -> dict[str, int]:
        """Aliases of a model and the versions they point at; empty for an unknown model."""
        try:
            found = self.rest.get("/registered-models/get", name=model)["registered_model"]
        except RestError as error:
            if error.code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {entry["alias"]: int(entry["version"]) for entry in found.get("aliases", [])}

    def alias(self, model: str, name: str) -> int | None:
        """The version that an alias points at, or None."""
        return self.aliases(model).get(name)

    def set_alias(self, model: str, name: str, version: int) -> None:
        """Point an alias at a version.

        Raises:
            RegistryRefused: for `champion`, which only `promote` and `rollback` move.
        """
        if name == CHAMPION:
            raise RegistryRefused(f"{model}: alias {CHAMPION} is moved by promote or rollback only")
        self._point(model, name, version)

    def _point(self, model: str, name: str, version: int) -> None:
        self.rest.post("/registered-models/alias", name=model, alias=name, version=str(version))

    def promote(
        self, model: str, version: int, previous: int | None = None, *, actor: str = "promote", reason: str = ""
    ) -> None:
        """Make a version champion; the champion it replaces keeps the alias `previous_champion`.

        The version is fetched and verified first, so that no champion is ever refused by the scoring stage right away.
        Repeating an interrupted promotion finishes it.

        Args:
            model: name of the registered model.
            version: the new champion.
            previous: the champion that the gate compared it with; None when there was none.
            actor: who decided, for the ledger.
            reason: why, for the ledger.

        Raises:
            RegistryRefused: the version does not verify, or the champion is another one than `previous` by now.
        """
        self.download(model, version)
        aliases = self.aliases(model)
        current = aliases.get(CHAMPION)
        if current not in (previous, version):
            raise RegistryRefused(
                f"{model}: champion is version {current}, but the gate compared with {previous}; run the gate again"
            )
        if previous is not None and previous != version:
            self._point(model, PREVIOUS, previous)
        self._move_champion(model, version, current, actor, reason or "promoted")

    def rollback(self, model: str, *, actor: str = "rollback", reason: str = "") -> int:
        """Swap champion and previous champion; return the version that is champion now.

        Raises:
            RegistryRefused: there is no previous champion, or it does not verify.
        """
        aliases = self.aliases(model)
        current, target = aliases.get(CHAMPION), aliases.get(PREVIOUS)
        if target is None or target == current:
            raise RegistryRefused(f"{model}: there is no previous champion to go back to")
        self.download(model, target)
        self._move_champion(model, target, current, actor, reason or "rolled back")
        if current is not None:
            self._point(model, PREVIOUS, current)
        return target

    def _move_champion(self, model: str, version: int, before: int | None, actor: str, reason: str) -> None:
        from baton import ledger, warehouse

        self._point(model, CHAMPION, version)
        if self.recorded_champion(model) == version:
            return  # a repeated promotion whose first try died after this record
        with warehouse.write() as conn:
            ledger.append(
                conn,
                ALIAS_MOVED,
                model,
                {"alias": CHAMPION, "version": version, "before": before, "actor": actor, "reason": reason},
            )

    def recorded_champion(self, model: str) -> int | None:
        """The champion by the ledger: the version of the last recorded move."""
        from baton import ledger

        moves = [entry for entry in ledger.entries(subject=model, kind=ALIAS_MOVED) if entry.payload["alias"] == CHAMPION]
        return int(max(moves, key=lambda entry: entry.seq).payload["version"]) if moves else None

    def alias_moved_outside(self, model: str) -> str | None:
        """Say what is wrong when `champion` points elsewhere than the ledger records; None when both agree."""
        return champion_moved(model, self.alias(model, CHAMPION), self.recorded_champion(model))

    # --- gate and review ----------------------------------------------------------------------------------------------

    def record_gate(self, model: str, version: int, verdict: GateResult) -> str:
        """Write the gate's verdict to a version: tags, description, table `gate.json` of its run; return its time.

        A review tag set before the verdict does not count: it is put back to `pending` here, and what it said stays
        readable in `baton.review_before_gate`.
        """
        known = self.version(model, version)
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        early = known.tags.get(REVIEW, PENDING)
        if early != PENDING:
            self.tag(model, version, REVIEW_BEFORE_GATE, early)
        self.tag(model, version, REVIEW, PENDING)
        self.tag(model, version, GATE, decision_of(verdict))
        self.tag(model, version, GATE_AT, at)
        self.rest.patch(
            "/model-versions/update",
            name=model,
            version=str(version),
            description=with_gate(known.description, verdict),
        )
        if verdict.table:
            self.log_table(known.run_id, "gate.json", verdict.table)
        return at

    def review(self, model: str, version: int, gate_at: str | None = None) -> Literal["approved", "rejected"] | None:
        """The answer in tag `baton.review`, or None while there is none that counts.

        Args:
            model: name of the registered model.
            version: the version that was judged.
            gate_at: what `record_gate` returned; a verdict of another time than this one does not count.
        """
        return counted_review(self.tags(model, version), gate_at)

    # --- files --------------------------------------------------------------------------------------------------------

    def download(self, model: str, version: int) -> Path:
        """Return a local folder with the verified files of a version.

        The folder is fetched once into `home/models/<model>/<version>`; signature, identity and every file's hash are
        checked on each call, before any model library opens it.

        Raises:
            RegistryRefused: tampered with, replayed, not signed, or holding something that could run.
            ServiceError: the server is down.
        """
        _require_name(model)
        known = self.version(model, version)
        if not known.run_id or not known.logged_model:
            raise RegistryRefused(f"{model} version {version}: has no run or no logged model, so Baton did not register it")
        expected = {"model": model, "run_id": known.run_id, "logged_model": known.logged_model}
        key = public_key(self.home / "keys")
        final = self.home / "models" / model / str(version)
        if not final.is_dir():
            self._fetch(known, final, expected)
        try:
            verify(final, key, expected)
        except RegistryRefused as refusal:
            raise RegistryRefused(
                f"{model} version {version}: {refusal} (cached copy {final}; delete it to fetch the registry's)"
            ) from refusal
        return final

    def _fetch(self, known: ModelVersion, final: Path, expected: Mapping[str, str]) -> None:
        same = [other.version for other in self.versions(known.model, known.run_id) if other.logged_model == known.logged_model]
        if same[0] != known.version:
            raise RegistryRefused(f"{known.model} version {known.version}: is version {same[0]} registered once more")
        final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        incoming = Path(tempfile.mkdtemp(dir=final.parent, prefix=".incoming-"))  # mode 0700
        try:
            self._fetch_files(known, incoming)
            try:
                verify(incoming, public_key(self.home / "keys"), expected)
            except RegistryRefused as refusal:
                raise RegistryRefused(f"{known.model} version {known.version}: {refusal}") from refusal
            try:
                os.replace(incoming, final)
            except OSError:
                if not final.is_dir():  # else a parallel task was faster, and its copy is verified next
                    raise
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _fetch_files(self, known: ModelVersion, target: Path) -> None:
        try:
            location = self.rest.get(f"/logged-models/{known.logged_model}")["model"]["info"]["artifact_uri"]
        except RestError as error:
            if error.code == "RESOURCE_DOES_NOT_EXIST":
                raise RegistryRefused(f"{known.model} version {known.version}: its logged model is gone") from None
            raise
        listed = list(self.rest.artifacts(location))
        if len(listed) > MAX_FILES or sum(size for _, size in listed) > MAX_BYTES:
            raise RegistryRefused(f"{known.model} version {known.version}: more than {MAX_FILES} files or {MAX_BYTES} bytes")
        for path, _ in listed:
            refuse_names(path)  # the server names the files: none may leave the folder
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self.rest.fetch(location, path))


_RESERVED = {REVIEW, REVIEW_BEFORE_GATE, GATE, GATE_AT}


def _require_name(model: str) -> None:
    if not _MODEL_NAME.fullmatch(model):
        raise RegistryRefused(f"model name {model!r}: letters, digits, '_' and '-' only, at most 100")


def _version(entry: Mapping[str, Any]) -> ModelVersion:
    return ModelVersion(
        model=entry["name"],
        version=int(entry["version"]),
        run_id=entry.get("run_id", ""),
        logged_model=source[1] if (source := _SOURCE.fullmatch(entry.get("source", ""))) else "",
        description=entry.get("description", ""),
        tags={tag["key"]: tag.get("value", "") for tag in entry.get("tags", [])},
        created_ms=int(entry.get("creation_timestamp", 0)),
    )
