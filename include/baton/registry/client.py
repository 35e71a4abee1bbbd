"""The model registry: which version is champion, who said so, and what the gate said.

Aliases say what a version is for (`challenger`, `champion`, `previous_champion`), never stages. Training registers and
points `challenger`; only `promote` and `rollback` move `champion`, and both write it to the ledger.

The back door that MLflow leaves: whoever may edit a registered model may move any of its aliases, there is no
right for "set aliases, but not champion" (mlflow/mlflow#24742), and MLflow keeps no history of aliases. So
reviewers get rights on versions only (`mlflow_server.bootstrap`): they can tag, not move. The server's admin
still can, and moves nothing by it: champion is what the ledger's last move says (`recorded_champion`), and only a version
that a move made champion may score (`require_promoted`). Where the alias says something else, runs and the console's
page Today say so (`champion_moved`), and the next promotion or rollback puts it right.
"""

from datetime import UTC, datetime
from typing import Literal

from baton.errors import RegistryRefused
from baton.names import promote_of
from baton.record import ledger, warehouse
from baton.registry.card import with_gate
from baton.registry.identity import ModelVersion
from baton.registry.review import (
    GATE,
    GATE_AT,
    PENDING,
    REVIEW,
    REVIEW_BEFORE_GATE,
    GateResult,
    counted_review,
    decision_of,
)
from baton.registry.versions import Versions
from baton.tracking.rest import RestError
from baton.tracking.runs import run_name

__all__ = ["CHALLENGER", "CHAMPION", "PREVIOUS", "ModelVersion", "Registry", "run_name"]

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous_champion"
ALIAS_MOVED = "alias_moved"


class Registry(Versions):
    """Runs, versions, aliases and reviews on one MLflow server, as its service account."""

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
        """Make a version champion; the one it replaces keeps the alias `previous_champion`.

        The version is fetched and verified first, so that scoring never meets a champion that it must refuse.
        Repeating an interrupted promotion finishes it.

        Args:
            model: name of the registered model.
            version: the new champion.
            previous: the champion that the gate compared it with; None when there was none.
            actor: who decided, for the ledger.
            reason: why, for the ledger.

        Raises:
            RegistryRefused: the version does not verify, or the champion is not `previous` any more.
        """
        self.download(model, version)
        current = self.recorded_champion(model)
        if current not in (previous, version):
            raise RegistryRefused(
                f"{model}: champion is version {current}, but the gate compared with {previous}; judge again"
            )
        if previous is not None and previous != version:
            self._point(model, PREVIOUS, previous)
        self._move_champion(model, version, current, actor, reason or "promoted")

    def rollback(self, model: str, *, actor: str = "rollback", reason: str = "") -> int:
        """Swap champion and previous champion; return the version that is champion now.

        Raises:
            RegistryRefused: there is no previous champion, it was never promoted, or it does not verify.
        """
        current, target = self.recorded_champion(model), self.alias(model, PREVIOUS)
        if target is None or target == current:
            raise RegistryRefused(f"{model}: there is no previous champion to go back to")
        self.require_promoted(model, target)
        self.download(model, target)
        self._move_champion(model, target, current, actor, reason or "rolled back")
        if current is not None:
            self._point(model, PREVIOUS, current)
        return target

    def _move_champion(self, model: str, version: int, before: int | None, actor: str, reason: str) -> None:
        self._point(model, CHAMPION, version)
        if before == version == self.recorded_champion(model):
            return  # repeats a promotion that was complete
        move = {"alias": CHAMPION, "version": version, "before": before, "actor": actor, "reason": reason}
        with warehouse.write() as conn:
            ledger.append(conn, ALIAS_MOVED, model, move)

    def recorded_champion(self, model: str) -> int | None:
        """The champion: the version of the ledger's last move, whatever the alias says by now."""
        return next(iter(_moves(model)), None)

    def require_promoted(self, model: str, version: int) -> None:
        """Refuse a version that the ledger does not know as approved: no move ever made it champion.

        Raises:
            RegistryRefused: saying what may be done with it.
        """
        if version not in _moves(model):
            raise RegistryRefused(
                f"{model} version {version} was never promoted: the gate and a person have to say yes in {promote_of(model)} "
                "before it may score; until then try it with a dry run"
            )

    def record_gate(self, model: str, version: int, verdict: GateResult) -> str:
        """Write the gate's verdict to a version: tags, description, table `gate.json` of its run.

        A review tag set before the verdict does not count: it goes back to `pending` here, and what it said
        stays readable in `baton.review_before_gate`.

        Returns:
            ISO-8601 UTC time of the verdict, which `review` takes.
        """
        known = self.version(model, version)
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        early = known.tags.get(REVIEW, PENDING)
        if early != PENDING:
            self.tag(model, version, REVIEW_BEFORE_GATE, early)
        description = with_gate(known.description, verdict)
        self.rest.patch("/model-versions/update", name=model, version=str(version), description=description)
        if verdict.table:
            self.log_table(known.run_id, "gate.json", verdict.table)
        self.tag(model, version, GATE, decision_of(verdict))
        # the order matters: from the tag `gate_at` on, an answer counts
        self.tag(model, version, REVIEW, PENDING)
        self.tag(model, version, GATE_AT, at)
        return at

    def review(self, model: str, version: int, gate_at: str | None = None) -> Literal["approved", "rejected"] | None:
        """The answer in tag `baton.review`, or None while there is none that counts.

        Args:
            model: name of the registered model.
            version: the version that was judged.
            gate_at: what `record_gate` returned; when the version was judged again since, nothing counts.
        """
        return counted_review(self.tags(model, version), gate_at)


def _moves(model: str) -> list[int]:
    """Versions that the ledger's moves made champion, the newest move first."""
    entries = ledger.entries(subject=model, kind=ALIAS_MOVED, limit=10_000)
    return [int(entry.payload["version"]) for entry in entries if entry.payload.get("alias") == CHAMPION]
