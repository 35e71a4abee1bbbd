"""What a pack may do to the world, and who has to agree: `actions.yaml`. What is not declared there is forbidden.

An action that no rule of the policy names is forbidden as well. Imports specs.base.
"""

from baton.specs.actions.declared import LEVELS, ActionSpec, Level, PolicyRule, Reach, Recovery
from baton.specs.actions.file import ActionsSpec

__all__ = ["LEVELS", "ActionSpec", "ActionsSpec", "Level", "PolicyRule", "Reach", "Recovery"]
