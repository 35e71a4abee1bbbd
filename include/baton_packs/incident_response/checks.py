"""What `baton lint` checks of this pack beyond models, contracts and sources."""

from collections.abc import Iterator
from pathlib import Path

from baton.packs.spec_file import Problem

READ = ("rules/**/*.yml", "rules/**/*.yaml")
"""Files of the pack's own that something reads."""


def problems(folder: Path) -> Iterator[Problem]:
    """Mistakes in the Sigma rules of a pack's folder."""
    from baton_packs.incident_response.detection.rules import read_rules
    from baton_packs.incident_response.detection.sigma_files import rule_files

    yield from read_rules(rule_files(folder / "rules"))[1]
