"""The guard of the aliases: what was moved past the promotion goes back, and who tried to move it goes on the ledger.

The server's log-in refuses these aliases to all but Baton's account (`services.mlflow_access`). What does not pass the log-in
(SQL, another server on the same database, a restored one) is found here: an alias that is not where the ledger's moves put
it is put back. Scoring takes the ledger's champion meanwhile, so nothing should have been scored with the foreign
version; what was all the same is named with what repeats it.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from baton.names import CHAMPION, PREVIOUS, REFUSED
from baton.record import ledger, tables, warehouse
from baton.registry.client import ALIAS_MOVED, Registry, champions

ALIAS_REVERTED, ALIAS_REFUSED = "alias_reverted", "alias_refused"
SETTLE = 5.0  # seconds: a promotion moves the alias a moment before its record


@dataclass(frozen=True)
class MovedAlias:
    """An alias that is not where the ledger's moves put it; `scored`: partitions (flow, partition) to repeat."""

    model: str
    alias: str
    at: int | None
    recorded: int | None
    scored: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        was, back = (f"version {one}" if one else "no version" for one in (self.at, self.recorded))
        said = f"{self.model}: {self.alias} was moved outside Baton to {was}, and put back to {back}; "
        if not self.scored:
            return said + "nothing was scored with it"
        again = ", ".join(f"{flow} {partition}" for flow, partition in self.scored)
        return (
            said
            + f"scored with it, repeat each by a run with partition_from = partition_to and model=champion: {again}"
        )


@dataclass(frozen=True)
class GuardPass:
    """What one pass did."""

    reverted: list[MovedAlias] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)


def wanted(models: Any) -> dict[str, dict[str, Any]]:
    """What a change of which wakes the guard, by model: the two aliases that have a record, and attempts that were refused.

    Args:
        models: registered models as MLflow gives them.
    """
    return {
        one["name"]: {
            "aliases": {
                alias["alias"]: int(alias["version"])
                for alias in one.get("aliases", [])
                if alias["alias"] in (CHAMPION, PREVIOUS)
            },
            "refused": {
                tag["key"]: tag.get("value", "") for tag in one.get("tags", []) if tag["key"].startswith(REFUSED)
            },
        }
        for one in models
    }


def watch_over(registry: Registry, settle: float = SETTLE) -> GuardPass:
    """One pass: attempts to the ledger, foreign aliases back; repeating it changes nothing.

    Args:
        registry: as Baton's account.
        settle: seconds after which a difference must still be there to count.

    Raises:
        ServiceError: the registry is down, or does not take an alias back; what was seen is on the ledger.
    """
    seen = wanted(registry.standing())
    refused = [said for model in seen for said in _refusals(registry, model, seen[model]["refused"])]
    strange = set(_differences(seen))
    if strange:
        time.sleep(settle)
        strange &= set(_differences(wanted(registry.standing())))
    reverted = [_revert(registry, one) for one in sorted(strange, key=lambda one: (one.model, one.alias))]
    return GuardPass(reverted, refused)


def _differences(seen: Mapping[str, Mapping[str, Any]]) -> Iterator[MovedAlias]:
    for model, standing in seen.items():
        line, aliases = champions(model), standing["aliases"]
        if not line and not ledger.entries(subject=f"{model}/", limit=1):
            continue  # another's model on the same server
        for alias, recorded in zip((CHAMPION, PREVIOUS), [*line, None, None], strict=False):
            if aliases.get(alias) != recorded:
                yield MovedAlias(model, alias, aliases.get(alias), recorded)


def _revert(registry: Registry, one: MovedAlias) -> MovedAlias:
    done = MovedAlias(one.model, one.alias, one.at, one.recorded, tuple(_scored(one)))
    said: dict[str, Any] = {"alias": one.alias, "version": one.at, one.alias: one.recorded}
    with warehouse.write() as conn:  # before anything is changed
        ledger.append(conn, "foreign_alias", one.model, said)
    registry.put_back(one.model, one.alias, one.recorded)
    said = {
        "alias": one.alias,
        "from": one.at,
        "to": one.recorded,
        "by": None,
        "scored": [list(at) for at in done.scored],
    }
    with warehouse.write() as conn:
        ledger.append(conn, ALIAS_REVERTED, one.model, said)  # nobody knows by whom: the log-in refuses everybody
    return done


def _scored(one: MovedAlias) -> list[tuple[str, str]]:
    """Partitions that took the foreign version since the last move on record, which scoring does not let happen."""
    last = next(iter(ledger.entries(subject=one.model, kind=ALIAS_MOVED, limit=1)), None)
    table = tables.partition_models
    query = (
        select(table.c.flow, table.c.partition)
        .where(table.c.model == one.model, table.c.version == one.at, table.c.recorded_at > (last.at if last else ""))
        .order_by(table.c.flow, table.c.partition)
    )
    if one.alias != CHAMPION or one.at is None:
        return []
    with warehouse.read() as conn:
        return [(flow, partition) for flow, partition in conn.execute(query)]


def _refusals(registry: Registry, model: str, refused: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Take attempts from the model's tags to the ledger."""
    for key, text in sorted(refused.items()):
        try:
            said = json.loads(text)
        except ValueError:
            said = None
        kept = said if isinstance(said, dict) else {"what": str(text)[:200]}
        with warehouse.write() as conn:
            ledger.append(conn, ALIAS_REFUSED, model, kept)
        registry.rest.delete("/registered-models/delete-tag", name=model, key=key)
        yield {"model": model, **kept}
