"""The business: one folder a pack, found by the entry-point group `baton.packs`. Imports the engine's floors 1 to 6,
never steps, lifecycle, console, airflow or cli.
"""
