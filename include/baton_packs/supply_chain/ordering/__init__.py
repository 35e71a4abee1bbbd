"""Ordering: from a forecast to orders, by the item's policy, inventory, cost, alternatives, logistics. Imports the
engine only.
"""
