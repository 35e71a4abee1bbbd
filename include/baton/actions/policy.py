"""The judgement: from a pack's `actions.yaml` and an action to a level. Pure, but for reading the file.

What is unknown or malformed is forbidden.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sqlalchemy.engine import Connection

from baton.actions import assets
from baton.actions.action import Action, digest
from baton.errors import SpecError
from baton.packs.pack import find_pack
from baton.packs.spec_file import raise_for, read_as
from baton.specs.actions import ActionsSpec, Level, PolicyRule

FILE = "actions.yaml"
NEEDS = {"one_approver": 1, "two_approvers": 2}  # different people; no setting makes it fewer
FREE = ("auto", "notify")  # levels that need nobody


@dataclass(frozen=True)
class Judgement:
    """What the policy says about one action.

    Attributes:
        rule: name of the rule that decided; empty: none did.
        reasons: why, in sentences.
        permit_minutes, answer_minutes: how long a permit is good, and people may answer.
    """

    level: Level
    rule: str
    reasons: tuple[str, ...]
    permit_minutes: int = 0
    answer_minutes: int = 0

    @property
    def needs(self) -> int:
        """How many people have to agree."""
        return NEEDS.get(self.level, 0)


def load(pack: str | Path, conn: Connection | None = None) -> ActionsSpec | None:
    """The actions of a pack by name or folder, or the changes of an asset (`model:NAME`), as they are now; None: none declared.

    The file is read each time, because a permit is checked against the policy as it is at that moment.

    Args:
        conn: the caller's, whose transaction then is the one that is read in.

    Raises:
        SpecError: there is no such pack, or its file is wrong; lists every mistake with file and line.
    """
    if isinstance(pack, str) and pack.startswith(assets.KINDS):
        return assets.policy_of(pack, conn)
    return read(find_pack(pack)[1])[0]


def read(folder: Path) -> tuple[ActionsSpec | None, bytes | None]:
    """The actions of a pack's folder with the bytes that they were read from; none where there is no file. Raises SpecError: see `load`."""
    path = folder / FILE
    if not path.is_file():
        return None, None
    content = path.read_bytes()
    return _read(path, hashlib.sha256(content).hexdigest()), content


@lru_cache(maxsize=16)
def _read(path: Path, content: str) -> ActionsSpec:
    spec, _, problems = read_as(ActionsSpec, path)
    raise_for(problems)
    if (
        hashlib.sha256(path.read_bytes()).hexdigest() != content
    ):  # else the policy of one text would be kept for another one's
        raise SpecError(f"{path}: was changed while it was read: try again")
    assert spec is not None
    return spec


def policy_digest(spec: ActionsSpec | None, kind: str) -> str:
    """SHA-256 over all of the policy that can decide about an action of this kind; descriptions decide nothing."""
    if spec is None or kind not in spec.actions:
        return digest([kind, "undeclared"])
    rules = []
    for rule in spec.policy:
        if kind in spec.named_by(rule):
            rules.append(rule.model_dump(mode="json"))
            if not rule.asset_class and rule.min_confidence is None and rule.max_amount is None:
                break  # it takes all that is left: those behind it never decide
    return digest([kind, spec.actions[kind].model_dump(mode="json", exclude={"description"}), rules])


def judge(spec: ActionsSpec | None, action: Action, used: Callable[[PolicyRule], int]) -> Judgement:
    """The level of an action: the first rule that fits decides; above its cap, its stricter level.

    Args:
        spec: None where the pack declares nothing.
        used: how many actions a rule has let through, or asked about, at its own level in the last hour.
    """
    if spec is None or action.kind not in spec.actions:
        return _forbidden(f"`{action.kind}` is no action that the pack declares in {FILE}")
    if flaw := action.flaw():
        return _forbidden(f"it cannot be judged: {flaw}")
    for rule in spec.policy:
        if action.kind not in spec.named_by(rule) or not _fits(rule, action):
            continue
        level, why = rule.level, [f"rule `{rule.name}`: {rule.level}"]
        if rule.cap_per_hour is not None and rule.above_cap is not None and used(rule) >= rule.cap_per_hour:
            level = rule.above_cap
            why.append(f"{rule.cap_per_hour} an hour are reached: {level}")
        return Judgement(level, rule.name, tuple(why), rule.permit_minutes, rule.answer_minutes)
    return _forbidden("no rule of the policy fits it")


def _forbidden(why: str) -> Judgement:
    return Judgement("forbidden", "", (why,))


def _fits(rule: PolicyRule, action: Action) -> bool:
    if rule.asset_class and action.asset_class not in rule.asset_class:
        return False
    if rule.min_confidence is not None and (action.confidence is None or action.confidence < rule.min_confidence):
        return False
    return rule.max_amount is None or (action.amount is not None and action.amount <= rule.max_amount)
