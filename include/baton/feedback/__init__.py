"""Feedback: what people and time say about decisions, as cases, labels, adjustments, rows whose truth is known. Imports
stages, sources, families, record and the floors below them.
"""
