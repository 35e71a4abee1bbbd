"""The engine's stages, named like the verbs of a flow. Imports every floor below: feedback, agents, stages, contracts
and so on.
"""
