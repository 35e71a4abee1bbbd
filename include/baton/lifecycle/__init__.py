"""The stages of the lifecycle DAGs: assemble, fit, promote, monitor. Imports every floor below: feedback, stages,
registry, families and so on.
"""
