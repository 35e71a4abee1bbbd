"""The table of assets: who answers for each, who uses it, when somebody has to look at it again."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime
from typing import Any

from baton.console.host import Rights
from baton.governance.assets import Asset, every
from baton.names import promote_of

PER_PAGE = 50
SOON = 30  # days before its review is due from which an asset is on Today
FACETS = ("kind", "pack", "owner", "impact")
_RANK = {"high": 0, "medium": 1, "low": 2}
_FIRST = ("model", "agent", "flow", "effect", "rules", "prompt", "contract", "source")


@dataclass(frozen=True)
class AssetFilter:
    """Which assets are asked for; empty: all of them.

    Attributes:
        q: words, each of which has to be in what is shown of an asset.
        due: `due` for those whose review is over or due within `SOON` days.
    """

    q: str = ""
    kind: str = ""
    pack: str = ""
    owner: str = ""
    impact: str = ""
    due: str = ""

    def takes(self, row: dict[str, Any]) -> bool:
        """Whether this asset is asked for."""
        words = " ".join(
            str(row[name]) for name in ("id", "pack", "owner", "deputy", "intended_use", "consumers")
        ).lower()
        return (
            all(not getattr(self, name) or getattr(self, name) == row[name] for name in FACETS)
            and all(word in words for word in self.q.lower().split())
            and (not self.due or row["due_in"] <= SOON)
        )


def readable(rights: Rights, asset: Asset) -> bool:
    """Whether a person may read about an asset: about its own DAG, or about a flow that uses it, unless reading it is others' duty."""
    return any(map(rights.read, _dags(asset))) and asset.id not in rights.withheld


def decides(rights: Rights, asset: Asset) -> bool:
    """Whether the host lets a person decide on an asset: on its own DAG, or on every flow that uses it."""
    return all(map(rights.decide, _dags(asset)))


def _dags(asset: Asset) -> list[str | None]:
    """DAGs by which the host is asked about an asset; None: DAGs in general."""
    if asset.kind == "model":
        return [promote_of(asset.name)]
    return [asset.name] if asset.kind == "flow" else [*asset.terms.consumers] or [None]


def row_of(asset: Asset, today: date) -> dict[str, Any]:
    """An asset as the table has it; `due_in` in days, below 0 where the review is over."""
    terms = asdict(asset.terms)
    known = {"id": asset.id, "kind": asset.kind, "name": asset.name, "pack": asset.pack}
    return {
        **known, **terms, "review": asset.terms.review.isoformat(), "due_in": (asset.terms.review - today).days,
        "consumers": list(asset.terms.consumers),
    }  # fmt: skip


def rows(rights: Rights, today: date | None = None) -> list[dict[str, Any]]:
    """All assets that a person may read about: of high impact first, then models, agents, flows, ..., by name."""
    present = today or datetime.now(UTC).date()
    found = [row_of(one, present) for one in every() if readable(rights, one)]
    return sorted(found, key=lambda one: (_RANK[one["impact"]], _FIRST.index(one["kind"]), one["name"], one["pack"]))


def one_page(rights: Rights, wanted: AssetFilter, page: int, today: date | None = None) -> dict[str, Any]:
    """One page of the assets that are asked for.

    Returns:
        filter, all (how many there are), found, due (of those found), page, pages, assets, choices (facet -> values).
    """
    known = rows(rights, today)
    taken = [one for one in known if wanted.takes(one)]
    pages = max(1, -(-len(taken) // PER_PAGE))
    page = min(page, pages)
    return {
        "filter": asdict(wanted), "all": len(known), "found": len(taken), "due": len(due(taken)), "page": page, "pages": pages,
        "assets": taken[(page - 1) * PER_PAGE : page * PER_PAGE],
        "choices": {facet: sorted({one[facet] for one in known}) for facet in FACETS},
    }  # fmt: skip


def due(known: Collection[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those whose review is over, or due soon, the latest first."""
    return sorted((one for one in known if one["due_in"] <= SOON), key=lambda one: (one["due_in"], one["id"]))


def wanted_of(given: dict[str, str]) -> AssetFilter:
    """The filter that an address asks for."""
    return AssetFilter(**{one.name: given.get(one.name, "") for one in fields(AssetFilter)})
