"""Stages of lifecycle DAGs: assemble, fit, promote, watch. Imports every floor below: feedback, families and so on."""
