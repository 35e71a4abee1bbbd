"""The pages Quarantine on Postgres: the unit tests that ask its database, with their warehouse on the server."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

PAGES = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "console" / "test_quarantine.py"))
hundred, no_registry = PAGES["hundred"], PAGES["no_registry"]


@pytest.fixture
def empty(postgres_home: Path) -> None:
    """What `hundred` fills."""


test_partitions = PAGES["test_partitions_with_what_is_wrong_in_them"]
test_pages = PAGES["test_a_page_says_how_many_there_are_and_shows_some"]
test_only_rows_of_this_partition = PAGES["test_only_rows_of_this_partition_and_as_many_as_were_seen"]
test_another_person_agrees = PAGES["test_above_the_share_one_other_person_agrees_and_the_same_again_does_it"]
