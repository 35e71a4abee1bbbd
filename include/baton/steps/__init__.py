"""The engine's stages, named like a flow's verbs. Imports every floor below: feedback, agents, stages and so on."""
