"""Ordering: forecast to orders, by policy, inventory, cost, alternatives, logistics. Imports the engine only."""
