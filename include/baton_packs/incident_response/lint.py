"""What `baton lint` asks this pack about its own files: playbooks and the rules about incidents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from baton.packs.spec_file import Problem, read_as
from baton_packs.incident_response.incidents.policy import IncidentPolicy
from baton_packs.incident_response.playbooks import lint as playbooks


def check(folder: Path) -> Iterator[Problem]:
    """Mistakes in what the engine does not read, by file and line."""
    yield from playbooks.check(folder)
    _, _, problems = read_as(IncidentPolicy, folder / "policy" / "incidents.yaml")
    yield from problems
