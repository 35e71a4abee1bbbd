"""Sizing: what so many rows a day ask for, by rates that a benchmark measures. Imports packs and the floors below it."""
