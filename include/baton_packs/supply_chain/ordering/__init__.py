"""From a forecast to orders: the item's policy, inventory, cost, alternatives, logistics.

Imports the engine only.
"""
