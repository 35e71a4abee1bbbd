"""Rows that wait in quarantine, by partition and one by one. Imports what console.queries may."""
