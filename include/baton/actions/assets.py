"""How many people have to agree to a change of an asset. What is said here no pack and no file of policy makes fewer.

An asset is named by kind and name, `model:card_fraud`. Its policy is an `actions.yaml` that nobody wrote: so requests, votes
and permits about changes are those of effects.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from baton.actions.action import Action
from baton.errors import SpecError
from baton.governance import assets, content
from baton.record import warehouse
from baton.settings import SINGLE, settings
from baton.specs.actions import ActionSpec, ActionsSpec, Level, PolicyRule
from baton.specs.governance import ASSET_KINDS

KINDS = tuple(f"{kind}:" for kind in ASSET_KINDS)
PROMOTE, LOOK_AGAIN, EDIT = "promote", "look_again", "edit"
FOUND = "edit_found"  # a changed file that a stage came upon, and asks about itself
EDITS = (EDIT, FOUND)
RAISE, DISCARD, GRANT = "raise_budget", "discard_rows", "grant_duty"
NOBODYS = "asked from a shared account"  # class of a discard of which nobody can tell who of several people asks for it
LOOK_HOURS = 24  # so soon somebody else looks at an emergency rollback
_LEVELS: dict[int, Level] = {1: "one_approver", 2: "two_approvers"}
THEN = {  # what follows once people agreed, for people
    RAISE: "the next run under the budget has the new limit",
    DISCARD: "whoever asked does the same again, and it is done",
    GRANT: "the duty is theirs from now on",
}
_MONTH = 60 * 24 * 30
_NO_END = 60 * 24 * 36_525  # no file of a pack may say as much


def votes_needed(asset: str, conn: Connection | None = None) -> int:
    """How many different people have to agree to a change of an asset: 1 or 2.

    One where the installation says that one person runs it. Else what its pack's governance.yaml says; two where no pack has it
    any more or the file is not to be read: an emergency rollback must not wait for that. Two also while that file is not the one
    that people agreed to, and to agree to it: no pack makes them fewer by itself.

    Args:
        conn: the caller's, if they have one.
    """
    if settings().governance == SINGLE:
        return 1
    try:
        found = assets.find(asset)
        return found.terms.votes if found.terms.votes > 1 or _agreed(found.pack, conn) else 2
    except SpecError:
        return 2


def _agreed(pack: str, conn: Connection | None) -> bool:
    if conn is not None:
        return content.governance_agreed(conn, pack)
    with warehouse.read() as own:
        return content.governance_agreed(own, pack)


def policy_of(asset: str, conn: Connection | None = None) -> ActionsSpec:
    """The changes of an asset and who has to agree, as of now."""
    needs = votes_needed(asset, conn)
    name = "governance_single" if settings().governance == SINGLE else f"votes_{needs}"
    changes = {
        PROMOTE: "makes a version the champion: it scores from then on",
        EDIT: "puts a changed file in force: stages work with it from then on, and with the one before no more",
        FOUND: "as edit, of a file that a stage came upon: nobody knows who wrote it",
        LOOK_AGAIN: "says that a second person has looked at an emergency rollback; it is done already",
        RAISE: "lets more be used up than the budget in force does",
        DISCARD: "gives up rows of a partition: no later run publishes them",
        GRANT: "gives somebody a duty on an asset",
    }
    long = {"permit_minutes": _MONTH, "answer_minutes": _MONTH}
    unknown = PolicyRule(
        name="author_unknown", actions=(RAISE, FOUND), level=_LEVELS[2]
    )  # of a file: one of two did not write it
    shared = PolicyRule(name="asker_unknown", actions=(DISCARD,), asset_class=(NOBODYS,), level=_LEVELS[2])  # likewise
    another = PolicyRule(
        name="another_person", actions=(DISCARD, GRANT), level="one_approver"
    )  # than who asked, who is barred
    return ActionsSpec(
        actions={
            kind: ActionSpec(description=said, recovery="reversible_by_others", reach="record")
            for kind, said in changes.items()
        },
        policy=(
            *(() if settings().governance == SINGLE else (shared.model_copy(update=long),)),
            another.model_copy(update=long),
            PolicyRule(name="second_look", actions=(LOOK_AGAIN,), level="one_approver").model_copy(
                update={"answer_minutes": _NO_END}
            ),
            *(() if settings().governance == SINGLE else (unknown.model_copy(update=long),)),
            PolicyRule(name=name, level=_LEVELS[needs], permit_minutes=60 * 24, answer_minutes=_MONTH),
        ),
    )


def changed(kind: str, entity_key: str, target: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Action:
    """A change as people are shown it: all of it is in the payload, so that another one is another action."""
    return Action(kind, entity_key, target, {"from": before, "to": after}, before=before, after=after)
