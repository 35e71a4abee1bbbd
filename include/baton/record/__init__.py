"""The record: what a run leaves behind, in one database: the warehouse, its tables, the ledger. Imports settings,
jsontext, errors.
"""
