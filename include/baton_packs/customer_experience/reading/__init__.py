"""Bytes to text. Imports nothing of Baton but errors, and no room of the pack."""
