"""Specs: what a pack's YAML may say, as strict types. Imports errors only."""
