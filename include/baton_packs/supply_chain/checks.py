"""What `baton lint` checks of this pack beyond models, contracts and sources."""

from collections.abc import Iterator
from pathlib import Path

from baton.actions.policy import FILE, FREE
from baton.packs.spec_file import Problem, read_as
from baton.specs.actions import ActionsSpec
from baton_packs.supply_chain.ordering.rules import OrderingPolicy

EFFECT, FIELD = "purchase_order", "approval_limit"


def problems(folder: Path) -> Iterator[Problem]:
    """Mistakes in the rules of ordering, and a limit of theirs at which the firewall does not ask."""
    path = folder / "policy" / "items.yaml"
    rules, marked, found = read_as(OrderingPolicy, path)
    yield from found
    actions = read_as(ActionsSpec, folder / FILE)[0]
    if rules is None or actions is None:  # a mistake in actions.yaml is said of that file itself
        return
    limit = _limit(actions)
    if limit != rules.approval_limit:
        free = "no order" if limit < 0 else f"an order of {_up_to(limit)}"
        said = f"{rules.approval_limit:,.0f} here, and {FILE} lets {free} go by itself"
        allowed = "" if limit in (-1.0, float("inf")) else f"{limit:g}"
        yield Problem(str(path), marked.line((FIELD,)), FIELD, said, allowed)


def _limit(actions: ActionsSpec) -> float:
    """Up to which amount an order asks nobody; below 0: it always does."""
    limit = -1.0
    for rule in actions.policy:  # the first that fits decides
        if EFFECT in actions.named_by(rule) and not rule.asset_class and rule.min_confidence is None:
            most = float("inf") if rule.max_amount is None else rule.max_amount
            if rule.level not in FREE:
                return limit
            limit = max(limit, most)
    return limit


def _up_to(limit: float) -> str:
    return "any amount" if limit == float("inf") else f"up to {limit:,.0f}"
