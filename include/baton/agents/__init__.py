"""Agents: models that phrase and propose, inside limits; what they may not do is enforced outside of them.

An `AgentSpec` of a pack says which rows deserve a call and what the model is told (`spec`); `calls` asks within limits;
`figures` refuses numbers that nobody gave; `steps.advise` is the stage. Without a model the pack's template speaks.

The names that packs use; the engine imports the modules. Imports tracking, stages, specs and the floors below.
"""

from baton.agents.case import AgentQuestion, Refused
from baton.agents.spec import AgentSpec, Critic
from baton.agents.tools import Tool

__all__ = ["AgentQuestion", "AgentSpec", "Critic", "Refused", "Tool"]
