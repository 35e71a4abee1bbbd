"""Retention: what must go, by its age or because a person asks, and what of it stays as evidence. Imports agents, effects,
tracking, stages, record and the floors below them.
"""
