"""Drift: has the world moved, and is retraining due? Pure functions on frames and numbers. Imports specs, jsontext,
errors.
"""
