"""Agents: models that phrase and propose, inside limits; what they may not do is enforced outside of them.

An `AgentSpec` of a pack says which rows deserve a call and what the model is told (`spec`); `calls` asks within limits;
`figures` refuses numbers that nobody gave; `advise` is the stage. Without a model the pack's template speaks.
"""
