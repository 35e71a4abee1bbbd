"""Texts whatever they came in: charsets, HTML, languages, archives, limits. Imports nothing of the pack."""
