"""Rows of a partition from files, folders, mailboxes, SQL and HTTP. Imports packs, data, record and the floors below
them.
"""
