"""Signed model versions, and which of them is the champion. Imports tracking, record and the floors below them."""
