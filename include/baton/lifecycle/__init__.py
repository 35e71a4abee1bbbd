"""Stages of lifecycle DAGs: assemble, fit, promote, monitor. Imports every floor below: feedback, families, others."""
