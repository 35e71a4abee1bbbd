"""Alerts become incidents, incidents get a judgement, a route and remedies. Imports playbooks and the engine's floors 1 to 6."""
