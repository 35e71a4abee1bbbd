"""Queries: what the pages show, as plain values. Imports console.host, console.wording, console.spans and the floors
below.
"""
