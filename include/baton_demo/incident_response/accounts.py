"""The demo's tables: partitions, incidents and actions, counted in the warehouse, against the simulator's truth."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from baton_demo.incident_response.playbook import FLOW, MODELS

if TYPE_CHECKING:
    import pandas as pd


def facts(stage: str, partition: str) -> dict[str, Any]:
    """Facts of a stage's newest result; {} where it has none."""
    from baton.stages.slots import Slot, head

    result = head(Slot(FLOW, stage, partition))
    return dict(result.facts) if result is not None else {}


def rows(stage: str, partition: str) -> pd.DataFrame:
    """Rows of a stage's newest result; none where it has none."""
    import pandas as pd

    from baton.data.datasets import read
    from baton.stages.slots import Slot, head

    result = head(Slot(FLOW, stage, partition))
    return pd.DataFrame() if result is None else read(result.ref)


def partition_table(partitions: list[str], stages: dict[str, str]) -> list[dict[str, Any]]:
    """One row per partition: rows in, put aside, alerts, incidents by route, effects by state, what was degraded.

    Args:
        stages: task ids by what they do: events, connections (ingests), alerts, decide.
    """
    from baton.effects import outbox
    from baton.quarantine.records import accounting
    from baton.record.used_models import recorded_models

    table = []
    for partition in partitions:
        routes = Counter(rows(stages["decide"], partition).get("route", []))
        states = Counter(one.state for one in outbox.effects(FLOW, partition) if not one.undoes)
        used = recorded_models(FLOW, partition)
        table.append({
            "partition": partition, "events": len(rows(stages["events"], partition)),
            "connections": len(rows(stages["connections"], partition)), "aside": accounting(FLOW, partition)["open"],
            "alerts": len(rows(stages["alerts"], partition)), **{route: routes[route] for route in ("contain", "watch", "noise")},
            "sent": states["sent"], "refused": states["forbidden"], "held": sum(states.values()) - states["sent"] - states["forbidden"],
            "degraded": degraded(partition), "models": {name: used.get(name) for name in MODELS},
        })  # fmt: skip
    return table


def degraded(partition: str) -> list[str]:
    """Sentences on what did not work as it should in a partition, of all its stages."""
    from sqlalchemy import select

    from baton.record import tables, warehouse
    from baton.stages.slots import Slot, head

    commits = tables.commits
    query = select(commits.c.stage).where(commits.c.flow == FLOW, commits.c.partition == partition).distinct()
    with warehouse.read() as conn:
        names = sorted(conn.execute(query).scalars())
    found = [head(Slot(FLOW, name, partition)) for name in names]
    return [sentence for one in found if one is not None for sentence in one.facts.get("degraded", [])]


def incidents(partitions: list[str], stage: str) -> list[dict[str, Any]]:
    """Each incident as it was decided last, with what the alerts' events really were (the kinds of attack among them)."""
    newest: dict[str, dict[str, Any]] = {}
    for partition in partitions:
        for row in rows(stage, partition).to_dict("records"):
            newest[str(row["incident_id"])] = {str(name): value for name, value in row.items()}
    known = truth()
    return [_incident(row, known) for row in sorted(newest.values(), key=lambda row: str(row["first_seen"]))]


def _incident(row: dict[str, Any], known: dict[str, str]) -> dict[str, Any]:
    alerts = json.loads(row["alerts"])
    kinds = Counter(known.get(str(alert["event_uid"]), "") for alert in alerts)
    return {
        "incident": str(row["incident_id"]), "title": str(row["title"]), "severity": int(row["severity_id"]), "route": str(row["route"]),
        "playbook": str(row["playbook"]), "alerts": int(row["alerts_total"]), "first_seen": str(row["first_seen"]),
        "opened_at": str(row["opened_at"]), "hosts": json.loads(row["hosts"]), "users": json.loads(row["users"]),
        "addresses": json.loads(row["addresses"]), "state": str(row["state"]),
        "really": sorted(kind for kind in kinds if kind), "everyday": kinds[""],
    }  # fmt: skip


def truth() -> dict[str, str]:
    """Event or connection -> the attack that it belonged to; for the table only, no stage reads it."""
    import pandas as pd

    from baton.settings import settings

    frame = pd.read_parquet(settings().data_dir / "incident_response" / "truth.parquet")
    return dict(zip(frame["metadata_uid"], frame["attack"], strict=True))


def champions() -> dict[str, int | None]:
    """Model -> version in use."""
    from baton.registry.client import Registry

    registry = Registry()
    return {name: registry.alias(name, "champion") for name in MODELS}
