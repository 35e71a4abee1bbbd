"""The whole of `actions.yaml`: what its actions and rules must be together, so that none is there for nothing."""

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator

from baton.specs.actions.declared import ActionName, ActionSpec, PolicyRule
from baton.specs.base import Seq, Spec


class ActionsSpec(Spec):
    """The file actions.yaml."""

    actions: dict[ActionName, ActionSpec] = Field(min_length=1, description="by name; the name is the effect's kind")
    policy: Seq[PolicyRule] = Field(min_length=1, description="rules, first match; what none names is forbidden")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for mistake in (*self._undo_mistakes(), *self._rule_mistakes()):
            raise ValueError(mistake)
        return self

    def named_by(self, rule: PolicyRule) -> frozenset[str]:
        """The declared actions that a rule is about, by name and reach."""
        return frozenset(
            name
            for name, action in self.actions.items()
            if (not rule.actions or name in rule.actions) and (not rule.reach or action.reach in rule.reach)
        )

    def family(self, name: str) -> frozenset[str]:
        """An action, the one that takes it back, and those that it takes back: they move the same state of a target."""
        mine = {name, self.actions[name].undo} - {None} if name in self.actions else {name}
        return frozenset(str(one) for one in mine | {other for other, a in self.actions.items() if a.undo == name})

    def _undo_mistakes(self) -> Iterator[str]:
        known = ", ".join(self.actions)
        for name, action in self.actions.items():
            at = f"actions.{name}.undo"
            if action.recovery != "reversible":
                if action.undo is not None:
                    yield f"{at}: only a reversible action has one; this one is {action.recovery}"
            elif action.undo is None:
                yield f"{at}: a reversible action names the action that takes it back (declared: {known})"
            elif action.undo == name:
                yield f"{at}: an action does not take itself back"
            elif action.undo not in self.actions:
                yield f"{at}: no action `{action.undo}` is declared here (declared: {known})"

    def _rule_mistakes(self) -> Iterator[str]:
        known, reaches = ", ".join(self.actions), {action.reach for action in self.actions.values()}
        seen: dict[str, int] = {}
        for at, rule in enumerate(self.policy):
            if rule.name in seen:
                yield f"policy[{at}].name: `{rule.name}` is also the name of rule {seen[rule.name] + 1}"
            seen[rule.name] = at
            for place, name in enumerate(rule.actions):
                if name not in self.actions:
                    yield f"policy[{at}].actions[{place}]: no action `{name}` is declared here (declared: {known})"
            for place, reach in enumerate(rule.reach):
                if reach not in reaches:
                    yield f"policy[{at}].reach[{place}]: no declared action reaches `{reach}`: the rule cannot match"
            if not self.named_by(rule):
                yield f"policy[{at}].reach: none of its actions reaches so far: the rule cannot match"
            for before in self.policy[:at]:
                if self._covers(before, rule):
                    yield f"policy[{at}].name: cannot match: rule `{before.name}` before it takes all that it would"
        for name in self.actions:
            if not any(name in self.named_by(rule) for rule in self.policy):
                yield f"actions.{name}: no rule of the policy names it: it could never be done"

    def _covers(self, first: PolicyRule, then: PolicyRule) -> bool:
        """Whether whatever fits `then` fits `first` as well."""
        classes = not first.asset_class or (bool(then.asset_class) and set(then.asset_class) <= set(first.asset_class))
        sure = first.min_confidence is None or (
            then.min_confidence is not None and first.min_confidence <= then.min_confidence
        )
        cheap = first.max_amount is None or (then.max_amount is not None and first.max_amount >= then.max_amount)
        return self.named_by(then) <= self.named_by(first) and classes and sure and cheap
