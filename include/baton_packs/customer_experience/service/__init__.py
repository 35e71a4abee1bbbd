"""The flow `customer_experience`. Imports letters, fields, reading and the engine."""
