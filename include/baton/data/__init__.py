"""The batch: partitions, cells, rows with an identity, typed rows, datasets in the store. Imports specs, settings,
errors.
"""
