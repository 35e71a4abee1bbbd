"""What `baton lint` checks of this pack beyond models, contracts and sources."""

from collections.abc import Iterator
from pathlib import Path

from baton.packs.spec_file import Problem, read_as

READ = ("rules/**/*.yml", "rules/**/*.yaml")
"""Files of the pack's own that something reads."""


def problems(folder: Path) -> Iterator[Problem]:
    """Mistakes in the Sigma rules, the playbooks and the rules about incidents of a pack's folder."""
    from baton_packs.incident_response.detection.rules import read_rules, rule_files
    from baton_packs.incident_response.incidents.policy import IncidentPolicy
    from baton_packs.incident_response.playbooks import lint

    yield from read_rules(rule_files(folder / "rules"))[1]
    yield from lint.check(folder)
    yield from read_as(IncidentPolicy, folder / "policy" / "incidents.yaml")[2]
