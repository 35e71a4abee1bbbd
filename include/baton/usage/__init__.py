"""Usage: who used which model or agent how often and at what cost, and budgets that are kept. Imports packs, record and the floors below."""
