"""The ladder of a model whose flow declares a fallback: the champion, another champion of before, rules of the pack.

What is wrong with a model is answered by the next rung and not by a retry: it cannot be loaded, cannot be fetched (the
registry's own patience is over by then), fails on these rows, or its scores break their contract. What is wrong
with the warehouse or the store is raised, and Airflow tries again.

Tasks that share a batch climb each for its own rows. Of all rows the lowest rung is on record, once, when they are named as one.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
from sqlalchemy import Connection

from baton.contracts import check as contracts
from baton.data import typed as parsing
from baton.errors import BatonError, RegistryRefused, ServiceError
from baton.families import family
from baton.packs.pack import find_model
from baton.record import ledger
from baton.registry import rungs
from baton.registry.client import Registry, champions
from baton.registry.rungs import AS_FIXED, EARLIER, NO_VERSION, RULES
from baton.stages import groups
from baton.stages.job import StageJob
from baton.stages.slots import Slot
from baton.stages.step import resolve

PATIENCE = 10.0  # seconds for a registry that is down: somebody else can score
_SAID = 300  # characters of a reason
LADDER = "ladder"  # fact of one of those that score a batch between them
VERSIONS = "versions"  # fact: rows by version where more than one scored a batch, 0: rules


class OutOfContract(BatonError):
    """Scores that are not what their contract promises; the message names rules, no values."""


class Climb:
    """Scores rows, a batch in parts some at a time, with the first rung that can.

    The way leads on only: rows that a rung cannot score, and all behind them, have the next one.

    Attributes:
        rung, version: who scored last; version None where rules did.
        why: what was wrong with those before, one sentence each.
        refused: versions that could not be trusted, and why.
        rows: how many each version has scored so far; None: rules.
        address: of the version in MLflow's UI; empty for rules.
    """

    def __init__(self, job: StageJob[Any], model: str, fixed: int | None, explain: float, rules: str) -> None:
        """Nothing is fetched yet.

        Args:
            fixed: the version that the run fixed; None: the model has no champion yet.
            explain: share of the rows that get reason codes.
            rules: dotted path of the pack's function.
        """
        self._job, self._model, self._fixed, self._explain, self._rules = job, model, fixed, explain, rules
        self.why: list[str] = [] if fixed is not None else [f"{model} has no champion yet"]
        self.refused: dict[int, str] = {}
        self.rung, self.version, self.address = RULES, fixed, ""
        self._left = list(dict.fromkeys(one for one in (fixed, *champions(model)[:2]) if one is not None))
        self._loaded: Any = None
        self.rows: Counter[int | None] = Counter()

    def score(self, data: pd.DataFrame) -> pd.DataFrame:
        """Rows as of `baton.steps.score:score`, with `source`: the rung.

        Raises:
            BatonError: the rules fail too, or what they give is no scores.
        """
        frame = self._by_version(data) if self._left else None
        if frame is None:
            frame = by_rules(self._job, self._model, data, self._rules)
            self.rung, self.version, self.address = RULES, None, ""
            try:
                _require(self._job, frame)
            except OutOfContract as error:
                where = f"stage {self._job.flow}.{self._job.stage}, fallback {self._rules}"
                raise BatonError(f"{where}: {error}; {'; '.join(self.why)}") from error
        self.rows[self.version] += len(data)
        return frame

    @property
    def _rows(self) -> int:
        return self.rows.total()

    def _by_version(self, data: pd.DataFrame) -> pd.DataFrame | None:
        """By the first of the versions that are left; None where none of them can."""
        model, behind = self._model, self._behind() if self._rows else ""
        while self._left:
            version = self._left[0]
            try:
                registry = Registry(retry_seconds=PATIENCE)
                rung = AS_FIXED if version == self._fixed else EARLIER
                frame = self._scored(registry, version, data).assign(source=rung)
                _require(self._job, frame)
            except Exception as error:  # whatever a model's library raises: the next rung answers
                self.why.append(f"{model} version {version} does not score{behind}: {_reason(error)}")
                self._left.pop(0)
                self._loaded = None
                if isinstance(error, RegistryRefused):
                    self.refused[version] = str(error)
                if isinstance(error, ServiceError):
                    self._left.clear()  # nor would it give another version
                continue
            self.rung, self.version, self.address = rung, version, registry.version_url(model, version)
            return frame
        return None

    def _behind(self) -> str:
        """Which rows a version does not score that has scored those before; counted in the batch."""
        group = self._job.group
        if group is None or group.of == 1:
            return f" from row {self._rows + 1} on"
        start, end = group.rows
        return f" rows {start + self._rows + 1} to {end}"

    def _scored(self, registry: Registry, version: int, data: pd.DataFrame) -> pd.DataFrame:
        _, spec = find_model(self._model)
        maker = family(spec.family)
        if self._loaded is None:
            if not self._job.dry_run:
                registry.require_promoted(self._model, version)
            self._loaded = maker.load(registry.download(self._model, version, self._job.flow))
        frame = maker.score(spec, self._loaded, data, self._explain)
        frame.insert(1, "model", self._model)
        frame.insert(2, "version", version)
        return frame

    def facts(self) -> dict[str, Any]:
        """Of the rows so far: `rung`, `version`, perhaps `mlflow`, `degraded`, `versions`; and `ladder`, of which `record` makes a record."""
        facts: dict[str, Any] = {"rung": self.rung, "version": self.version}
        if self.address:
            facts["mlflow"] = self.address
        if self.rung != AS_FIXED:
            other = f"the rules {self._rules}" if self.version is None else f"version {self.version}, another champion,"
            verb = "score" if self.version is None else "scores"
            facts["degraded"] = [f"{'; '.join(self.why)}; {other} {verb} instead"]
        if self._job.shared or len(self.rows) > 1:
            facts[VERSIONS] = {str(version or NO_VERSION): rows for version, rows in self.rows.items()}
        mine = (0, self._rows) if self._job.group is None else self._job.group.rows
        return facts | {LADDER: {"model": self._model, "why": list(self.why), "rows": list(mine)}}


def joined(slot: Slot, facts: Sequence[Mapping[str, Any]]) -> groups.Joined:
    """Of a stage whose groups have climbed: the lowest rung of all and every reason, recorded when they are named as one."""
    said, _ = groups.alike(slot, facts)
    if any(LADDER not in one for one in facts):  # without a fallback
        return said, None
    lowest = _lowest(facts)
    about = {name: lowest[name] for name in ("rung", "version", "mlflow") if name in lowest}
    if degraded := _reasons(facts, lambda one: one.get("degraded", ())):
        about["degraded"] = degraded
    versions: Counter[str] = Counter()
    for one in facts:
        versions.update(one.get(VERSIONS, {}))
    about |= {VERSIONS: dict(versions)} if len(versions) > 1 else {}
    return {name: one for name, one in said.items() if name not in (LADDER, VERSIONS)} | about, partial(
        record, slot, facts
    )


def record(slot: Slot, facts: Sequence[Mapping[str, Any]], conn: Connection, _commit_id: int) -> None:
    """Put on record, in the transaction of their commit, who scored a batch: the lowest rung of all that scored some of its rows.

    Args:
        facts: of each of them, see `Climb.facts`.
    """
    lowest = _lowest(facts)
    reasons = "; ".join(_reasons(facts, lambda one: one[LADDER]["why"]))
    rungs.record(conn, slot.flow, lowest[LADDER]["model"], slot.partition, lowest["rung"], lowest["version"], reasons)


def record_refused(conn: Connection, climb: Climb, model: str, partition: str) -> None:
    """Put on record which versions could not be trusted, in the transaction of the commit: at once, whatever becomes of the run, and
    of tasks that share a batch by the first."""
    for version, why in climb.refused.items():
        subject, said = f"{model}/{version}", {"reason": why, "instead": climb.version, "partition": partition}
        known = ledger.entries(subject, "version_refused", 1, conn)
        if not known or any(known[0].payload.get(name) != said[name] for name in ("reason", "partition")):
            ledger.append(conn, "version_refused", subject, said)


def _reasons(facts: Sequence[Mapping[str, Any]], said: Callable[[Mapping[str, Any]], Sequence[str]]) -> list[str]:
    """What any of them says, each sentence once; with the rows that it is about where others do not say it."""
    rows: dict[str, list[str]] = {}
    for one in facts:
        first, end = one[LADDER]["rows"]
        for sentence in said(one):
            rows.setdefault(sentence, []).append(f"{first + 1} to {end}")
    return [
        sentence if len(some) == len(facts) else f"{sentence} (rows {', '.join(some)})"
        for sentence, some in rows.items()
    ]


def _lowest(facts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Of two on one rung, who found more wrong: it may have another version."""
    return max(facts, key=lambda one: (rungs.DOWN.index(one["rung"]), len(one[LADDER]["why"])))


def by_rules(job: StageJob[Any], model: str, data: pd.DataFrame, path: str) -> pd.DataFrame:
    """What a pack's function says of the rows: version 0, source `rules`.

    Raises:
        BatonError: it does not give a row with entity_key and score for each of the rows.
    """
    function: Callable[..., pd.DataFrame] = resolve(path)
    made = function(data=data)
    where = f"stage {job.flow}.{job.stage}, fallback {path}"
    lacking = [name for name in ("entity_key", "score", "reasons") if name not in getattr(made, "columns", ())]
    if lacking:
        raise BatonError(f"{where}: its result has no column {lacking[0]}; it gives entity_key, score and reasons")
    if len(made) != len(data):
        raise BatonError(f"{where}: {len(made)} scores of {len(data)} rows; it gives one for each row, in their order")
    rest = [name for name in made if name not in ("entity_key", "model", "version", "source", "_row")]
    frame = pd.DataFrame({"entity_key": made["entity_key"].astype(str).to_numpy(), "model": model})
    frame = frame.assign(version=NO_VERSION, **{str(name): made[name].to_numpy() for name in rest})
    if "_row" in data:
        frame["_row"] = data["_row"].to_numpy()
    return frame.assign(source=RULES)


def _require(job: StageJob[Any], frame: pd.DataFrame) -> None:
    if not job.output_contract:
        return
    spec = job.load_pack().contract(job.output_contract)
    verdict = contracts.check(parsing.adopt(frame, spec, f"{job.flow}/{job.stage}"), spec)
    if verdict.status != "passed":
        rules = sorted({violation.rule for violation in verdict.violations}) or verdict.aggregate_failures
        raise OutOfContract(f"its scores break contract {job.output_contract} ({', '.join(map(str, rules))})")


def _reason(error: Exception) -> str:
    """Why, without what a library quotes of rows."""
    return str(error)[:_SAID] if isinstance(error, BatonError) else type(error).__name__
