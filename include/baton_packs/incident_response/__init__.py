"""Incident response: alerts become incidents, and remedies run as far as policy and people allow; see README.md. Imports the engine's floors 1 to 6."""

from pathlib import Path

HERE = Path(__file__).parent
"""Where the pack's rules, playbooks, policies and prompts lie."""
