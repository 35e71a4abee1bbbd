"""Customer experience: documents that come in, and messages of customers; see README.md. Imports the engine's floors 1 to 6."""

from pathlib import Path

HERE = Path(__file__).parent
"""Where the pack's texts, policies and prompts lie."""
