"""Stages: one step on one partition, committed once; what a pack's function or an engine step works with.

The names that packs use; the engine imports the modules. Imports contracts, data, record, packs and the floors below.
"""

from baton.stages.job import StageJob
from baton.stages.run import read_inputs
from baton.stages.slots import StageOutput
from baton.stages.step import engine_step

__all__ = ["StageJob", "StageOutput", "engine_step", "read_inputs"]
