"""The record: what a run leaves in one database: warehouse, tables, ledger. Imports settings, jsontext, errors."""
