"""The world of a fresh machine: simulators, stories and stand-in servers of the packs, and the command `baton demo`.
Imports packs and the engine; an image for production holds none of it.
"""
