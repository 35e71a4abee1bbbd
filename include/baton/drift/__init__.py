"""Drift: has the world moved, is retraining due? Pure functions on frames. Imports specs, jsontext, errors."""
