"""The flow `document_intake`. Imports letters, fields, reading and the engine."""
