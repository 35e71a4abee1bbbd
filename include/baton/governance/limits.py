"""Limits of budgets: what the files say, and what of it is in force.

One row of `meta` to a pack (`budgets:PACK`) has all of its limits in force, so that one that the file has no more is found by key, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from baton.errors import SpecError
from baton.packs.pack import ALL, load_pack
from baton.packs.spec_file import raise_for, read_as
from baton.record import warehouse
from baton.settings import settings
from baton.specs.budgets import BudgetsSpec, SpendingSpec

EVERYWHERE = ""  # pack of the budgets that BATON_BUDGETS names
OVERTAKEN = timedelta(days=1)  # so long after a file was changed a worker may have the one of before
_AGREED = ("flow", "period", "unit", "limit")  # what people agree to; the ladder decides nothing about what may be used


@dataclass(frozen=True)
class LimitInForce:
    """A limit in force.

    Attributes:
        spec: None: people agreed to take it away.
        asked: number of the request about what the file says instead.
        was, since: what people raised it from, and when; None: it was not raised, or lowered since.
    """

    spec: SpendingSpec | None
    asked: int | None = None
    was: SpendingSpec | None = None
    since: str = ""

    def overtaken(self, file: SpendingSpec | None) -> bool:
        """Whether a file says what people raised it from less than `OVERTAKEN` ago: a worker that does not have the new file yet."""
        if self.was is None or file is None:
            return False
        return agreed(self.was) == agreed(file) and young(self.since)


def young(at: str) -> bool:
    """Whether it was less than `OVERTAKEN` ago."""
    return at > warehouse.stamp(datetime.now(UTC) - OVERTAKEN)


def key_of(pack: str, name: str) -> str:
    """Name of a budget among all."""
    return f"{pack or ALL}/{name}"


def asset_of(pack: str) -> str:
    """The asset that a pack's budgets are; those of the installation are in no pack's governance.yaml."""
    return f"rules:{pack or ALL}/budgets"


def said(pack: str) -> Mapping[str, SpendingSpec]:
    """What the file of a pack, or of the installation, says now, by name.

    Raises:
        SpecError: a file is wrong; lists every mistake with file and line.
    """
    if pack != EVERYWHERE:
        return load_pack(pack).budgets
    path = settings().budgets
    if path is None:
        return {}
    try:
        changed_at = path.stat().st_mtime_ns
    except OSError as error:  # no budget would be no limit
        raise SpecError(
            f"BATON_BUDGETS names {path}, which cannot be read ({error.strerror}): write the file there, or take the setting away; "
            "until then no stage that asks an agent runs"
        ) from error
    return _read(path, changed_at)


@lru_cache(maxsize=4)
def _read(path: Path, _changed_at: int) -> dict[str, SpendingSpec]:
    spec, _, problems = read_as(BudgetsSpec, path)
    raise_for(problems)
    assert spec is not None
    return dict(spec.root)


def on_record(conn: Connection, pack: str) -> dict[str, LimitInForce]:
    """The limits in force of a pack, by name."""
    text = warehouse.meta_get(_row(pack), conn)
    found: dict[str, dict[str, Any]] = json.loads(text) if text else {}
    return {
        name: LimitInForce(
            _spec(name, one["spec"], pack), one.get("asked"), _spec(name, one.get("was"), pack), one.get("since", "")
        )
        for name, one in found.items()
    }


def keep(conn: Connection, pack: str, limits: Mapping[str, LimitInForce]) -> None:
    """Write the limits in force of a pack."""
    rows = {
        name: {"spec": _kept(one.spec), "asked": one.asked, "was": _kept(one.was), "since": one.since}
        for name, one in limits.items()
    }
    warehouse.meta_set(_row(pack), json.dumps(rows), conn)


def _kept(spec: SpendingSpec | None) -> dict[str, Any] | None:
    return spec.model_dump(mode="json") if spec is not None else None


def _row(pack: str) -> str:
    return f"budgets:{pack}"


def _spec(name: str, kept: dict[str, Any] | None, pack: str) -> SpendingSpec | None:
    if kept is None:
        return None
    if "flow" not in kept:  # of an earlier Baton, which kept limit, unit and period alone
        now = said(pack).get(name)
        kept = {**kept, "flow": now.flow if now else None}
    return SpendingSpec.model_validate_json(json.dumps(kept))


def agreed(spec: SpendingSpec | None) -> dict[str, Any]:
    """What people agree to of a budget; empty: that there is none."""
    return {name: getattr(spec, name) for name in _AGREED} if spec is not None else {}


def looser(before: SpendingSpec, after: SpendingSpec | None) -> bool:
    """Whether more may be used up than before, or nobody can tell: another unit, another flow, a day instead of a month, none."""
    if after is None or after.unit != before.unit or after.limit > before.limit:
        return True
    return after.flow not in (before.flow, None) or (before.period, after.period) == ("month", "day")


def change(conn: Connection, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is in force of a budget, and what the file says now; alike where nothing is to be agreed to."""
    pack, _, name = key.partition("/")
    pack = EVERYWHERE if pack == ALL else pack
    known, now = on_record(conn, pack).get(name), said(pack).get(name)
    return agreed(known.spec if known else None), agreed(now)
