"""The simulator of customers' messages and of what becomes of the replies. Imports the pack's knowledge base."""
