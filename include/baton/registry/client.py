"""The model registry: which version is champion, who said so, and what the gate said.

Aliases say what a version is for (`challenger`, `champion`, `previous_champion`), never stages. Training registers and
points `challenger`, which ends when that version is champion; only `promote` and `rollback` move `champion`, and both write it to
the ledger. What a rollback left is no previous champion any more: another rollback goes further back, never forward again, unless the
version is named.

MLflow has no right for "set aliases, but not champion" (mlflow/mlflow#24742), and keeps no history of aliases. So the
server's log-in refuses these aliases to everybody but Baton's account (`services.mlflow_access`), and what gets past it (SQL,
another server, a restored database) moves nothing: champion is what the ledger's last move says (`recorded_champion`), and only
a version that a move made champion may score (`require_promoted`). Where the alias says something else, runs and the console's
page Today say so (`champion_moved`), and the guard puts it back (`registry.guard`).
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy.engine import Connection

from baton.actions import switch
from baton.actions.promotions import ALIAS_MOVED, line, moves, recorded_champion, rolled_back
from baton.errors import RegistryRefused, ServiceError
from baton.names import CHALLENGER, CHAMPION, PREVIOUS, REVIEW, promote_of
from baton.record import ledger, warehouse
from baton.registry.card import with_gate
from baton.registry.identity import ModelVersion
from baton.registry.manifest import MANIFEST
from baton.registry.review import (
    GATE,
    GATE_AT,
    PENDING,
    REVIEW_BEFORE_GATE,
    REVIEW_SAYS,
    GateResult,
    author,
    counted_review,
    decision_of,
    misread,
)
from baton.registry.versions import Versions
from baton.tracking.rest import RestError
from baton.tracking.runs import run_name

__all__ = ["ALIAS_MOVED", "CHALLENGER", "CHAMPION", "PREVIOUS", "ModelVersion", "Registry", "champions", "run_name"]
_log = logging.getLogger(__name__)


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

    def put_back(self, model: str, name: str, version: int | None) -> None:
        """Point an alias at the version that the ledger says; None takes it away. Moves nothing on the record."""
        if version is None:
            self._unpoint(model, name)
        else:
            self._point(model, name, version)

    def _point(self, model: str, name: str, version: int) -> None:
        self.rest.post("/registered-models/alias", name=model, alias=name, version=str(version))

    def _unpoint(self, model: str, name: str) -> None:
        self.rest.delete("/registered-models/alias", name=model, alias=name)

    def promote(
        self,
        model: str,
        version: int,
        previous: int | None = None,
        *,
        permit: Callable[[Connection], Mapping[str, Any]],
    ) -> None:
        """Make a version champion; the one it replaces keeps the alias `previous_champion`.

        The version is fetched and verified first, so that scoring never meets a champion that it must refuse.
        The record comes first, the aliases follow it. Repeating an interrupted promotion finishes it.

        Args:
            model: name of the registered model.
            version: the new champion.
            previous: the champion that the gate compared it with; None when there was none.
            permit: called in the transaction in which the move is recorded, to use up what lets it happen
                (`baton.actions.promotions.permitted`); returns the record's actor, reason and more. It raises, and nothing moves.

        Raises:
            RegistryRefused: the version does not verify, the champion is not `previous` any more, or there is no permit.
        """
        manifest = _manifest(self.verified(model, version))

        def move(conn: Connection) -> None:
            warehouse.take_turns(conn, switch.TURNS)
            current = recorded_champion(model, conn)
            if current == version:
                return  # an earlier try recorded it
            if current != previous:
                raise RegistryRefused(
                    f"{model}: champion is version {current}, but the gate compared with {previous}; judge again"
                )
            _record(conn, model, version, current, manifest, permit(conn))

        warehouse.transact(move)
        if previous is not None and previous != version:
            self._point(model, PREVIOUS, previous)
        self._point(model, CHAMPION, version)
        if self.alias(model, CHALLENGER) == version:
            self._unpoint(model, CHALLENGER)

    def rollback(
        self, model: str, to: int | None = None, *, actor: str = "", reason: str = "", report: Callable[[str], None] = _log.warning,
    ) -> int:  # fmt: skip
        """Make an earlier champion the champion again, on one person's word; return its version.

        Somebody else is asked to look at it afterwards (`baton.actions.promotions.rolled_back`). The record is what counts: once
        it is made, a registry that is away is no error, since whoever met one would roll back again, and go back twice.

        Args:
            to: the version; None: the champion that the present one replaced.
            actor: who does it, as they logged in.
            reason: why.
            report: gets a line where the aliases lag behind the record, or others had to do it but for one person's installation.

        Raises:
            RegistryRefused: there is no such champion (and which was left by a rollback), it was never promoted, it does
                not verify, nobody knows who asks, or no reason is given.
            BatonError: activating the model is others' duty.
        """
        moved = moves(model)
        known = line(moved)
        current = known[-1] if known else None
        target = to if to is not None else known[-2] if len(known) > 1 else None
        if target is None:
            left = next((move for move in moved if move.get("rollback")), None)
            said = (
                f"; version {left['before']} was left by {left['actor']} ({left['reason']}): --to {left['before']} restores it"
                if left else ""
            )  # fmt: skip
            raise RegistryRefused(f"{model}: there is no previous champion to go back to{said}")
        if target == current:
            raise RegistryRefused(f"{model}: version {target} is champion already")
        self.require_promoted(model, target)
        manifest = _manifest(self.verified(model, target))

        def move(conn: Connection) -> dict[str, Any]:
            warehouse.take_turns(conn, switch.TURNS)
            if recorded_champion(model, conn) != current:
                raise RegistryRefused(f"{model}: the champion was moved meanwhile: look, and try again")
            told = rolled_back(conn, model, current, target, actor, reason)
            _record(conn, model, target, current, manifest, {**told, "rollback": True})
            return told

        told = warehouse.transact(move)
        if allowed := told.get("duty"):
            report(str(allowed))
        after = line(moves(model))
        try:
            self._point(model, CHAMPION, target)
            if len(after) > 1:
                self._point(model, PREVIOUS, after[-2])
            elif self.alias(model, PREVIOUS) is not None:
                self._unpoint(model, PREVIOUS)
        except ServiceError as error:
            report(
                f"{model}: version {target} is champion by the ledger, which scoring takes: do not roll back again. MLflow's aliases "
                f"lag behind ({error}): trigger registry_guard once it answers"
            )
        return target

    def recorded_champion(self, model: str) -> int | None:
        """The champion: the version of the ledger's last move, whatever the alias says by now."""
        return recorded_champion(model)

    def require_promoted(self, model: str, version: int) -> None:
        """Refuse a version that the ledger does not know as approved: no move ever made it champion.

        Raises:
            RegistryRefused: saying what may be done with it.
        """
        if version not in {int(move["version"]) for move in moves(model)}:
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
        self.ask(model, version, known.tags)
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

    def heard(self, model: str, version: int, gate_at: str) -> Literal["approved", "rejected"] | None:
        """As `review`; a word in the tag that is no answer gets one, in the tag `baton.review_says`."""
        tags = self.tags(model, version)
        if (said := misread(tags, gate_at)) and tags.get(REVIEW_SAYS) != said:
            self.tag(model, version, REVIEW_SAYS, said)
        return counted_review(tags, gate_at)

    def answered_by(self, model: str, version: int, answer: str) -> str | None:
        """The MLflow user whose answer stands in tag `baton.review`, or None: nobody knows."""
        return author(self.tags(model, version), answer)

    def ask(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Put the review's tag back to `pending`: what it said was another request's answer."""
        self.tag(model, version, REVIEW, PENDING)
        if tags.get(REVIEW_SAYS):
            self.tag(model, version, REVIEW_SAYS, "asked again: no answer yet")

    def say(self, model: str, version: int, words: str) -> None:
        """Answer a reviewer's word that does not count, or not alone, in the tag `baton.review_says`."""
        self.tag(model, version, REVIEW_SAYS, words)

    def show_answer(self, model: str, version: int, answer: str, by: str) -> None:
        """Write an answer, given wherever, to the version's tags: it is `pending` no more."""
        self.tag(model, version, REVIEW, answer)
        self.tag(model, version, REVIEW_SAYS, f"{answer} by {by}")


def _record(
    conn: Connection, model: str, version: int, before: int | None, manifest: str | None, told: Mapping[str, Any]
) -> None:
    move = {"alias": CHAMPION, "version": version, "before": before, **told}
    ledger.append(conn, ALIAS_MOVED, model, move | ({"manifest": manifest} if manifest else {}))


def _manifest(folder: Path) -> str | None:
    """SHA-256 of what was signed of a version that was just verified, for the record of its move."""
    signed = folder / MANIFEST
    return hashlib.sha256(signed.read_bytes()).hexdigest() if signed.is_file() else None


def champions(model: str) -> list[int]:
    """The champion by the ledger, the one that it replaced, and so on, without those that a rollback left."""
    return line(moves(model))[::-1]
