"""Rows of a partition from files, folders, mailboxes, SQL, HTTP. Imports packs, data, record and the floors below."""
