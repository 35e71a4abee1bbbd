"""Verbs about the whole state of an installation. Imports what the other verbs import."""
