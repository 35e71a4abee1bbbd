"""Packs and demos: found by entry point, read from YAML, with what they fetch. Imports specs, settings, errors."""
