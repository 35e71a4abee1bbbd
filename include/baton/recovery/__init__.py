"""Recovery: is all that is on record there as it was written; a copy of it elsewhere, and the way back. Imports registry,
services, stages, record and the floors below them.
"""
