"""Playbooks: what is done about an incident, as YAML in CACAO's words; read, checked and planned here. Imports the engine's floors 1 to 6."""
