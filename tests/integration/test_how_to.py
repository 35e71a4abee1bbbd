"""What the documentation tells a newcomer to do, done: every page's files written, its commands run, its DAGs run.

No part is a stand-in but two: pip's editable install (its entry point is written by hand, there is no network) and the browser.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)
PAGES: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("pages.py")))
DOCS: Path = PAGES["DOCS"]
HOW_TO = sorted(page.name for page in DOCS.glob("how-to/*.md"))


@pytest.fixture(scope="module")
def airflow() -> None:
    """Airflow's metadata database, for the DAGs that a page has its reader trigger."""
    from baton.airflow.server.initialise import initialise

    initialise()


@pytest.mark.parametrize("page", HOW_TO)
def test_a_how_to_can_be_followed(page: str, airflow: None, tmp_path: Path) -> None:
    PAGES["Reader"](tmp_path, tmp_path / ".baton").follow(DOCS / "how-to" / page)


def test_the_first_hour_ends_with_a_champion_that_scores(workbench: Any, tmp_path: Path) -> None:
    PAGES["Reader"](tmp_path, workbench.home, models=True).follow(DOCS / "first-hour.md")
