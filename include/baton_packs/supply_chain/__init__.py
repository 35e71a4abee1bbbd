"""Supply chain: forecasts that order stock; see README.md."""

from pathlib import Path

HERE = Path(__file__).parent
"""Where the pack's texts, policies and prompts lie."""
