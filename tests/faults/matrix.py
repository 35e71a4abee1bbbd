"""The policy matrix: every reach x level x state of approval, played for real and compared with a table.

Used by the unit test and by `make bench NAME=actions`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from matrix_case import REACHES, RECOVERIES, Case, kinds, write_policy
from matrix_scenarios import EXPECTED

from baton.settings import settings


@dataclass
class Figures:
    """What the matrix came to; sentences name the cells."""

    cells: int = 0
    wrongly_allowed: list[str] = field(default_factory=list)
    wrongly_refused: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)


def play(reaches: tuple[str, ...] = REACHES, recoveries: tuple[str, ...] = RECOVERIES) -> Figures:
    """Play every cell in the warehouse of this home."""
    figures, folder = Figures(), write_policy(settings().home / "matrix")
    for number, (name, (act, allowed)) in enumerate(EXPECTED.items()):
        for kind, reach, level, recovery in kinds():
            if reach not in reaches or recovery not in recoveries:
                continue
            case = Case(kind, level, f"f{number}_{kind}", folder)
            act(case)
            _compare(figures, case, f"{name}: {reach}, {level}, {recovery}", level in allowed, reach, name)
    return figures


def _compare(figures: Figures, case: Case, cell: str, allowed: bool, reach: str, name: str) -> None:
    figures.cells += 1
    sent = case.peer.sent
    if sent and not allowed:
        figures.wrongly_allowed.append(cell)
    if not sent and allowed:
        figures.wrongly_refused.append(cell)
    own = 2 if name == "two incidents on one target" and reach == "record" else 1
    if len(sent) > own:
        figures.twice.append(cell)
