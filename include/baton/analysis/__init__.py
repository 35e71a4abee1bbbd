"""Analysis: what was published, as views for SQL, read-only and within bounds. Imports stages, record, data and the floors
below them.
"""
