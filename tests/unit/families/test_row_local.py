"""Which families' rows several tasks may share is known at the door, where a DAG file may ask."""

from baton.families import NAMES, ROW_LOCAL, family


def test_the_door_and_the_families_agree() -> None:
    assert {name for name in NAMES if family(name).row_local} == set(ROW_LOCAL)
