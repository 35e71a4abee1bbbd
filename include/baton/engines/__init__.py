"""Engines: where else than in its task a stage's rows are worked on: a Spark cluster, part by part, under the same slot.

Imports stages, registry, contracts, data and the floors below them. `worker` runs on the cluster.
"""
