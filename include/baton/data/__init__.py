"""The batch: partitions, cells, rows with an identity, typed rows, stored datasets. Imports specs, settings, errors."""
