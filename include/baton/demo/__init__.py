"""The frame of the demos' stories: real services, each move through a user's interface.

Imports services, registry and the floors below them.
"""
