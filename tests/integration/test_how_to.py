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
NEED_MLFLOW = ["first-hour.md", "how-to/model.md", "how-to/family.md"]
ALONE = sorted(str(page.relative_to(DOCS)) for page in DOCS.glob("how-to/*.md") if f"how-to/{page.name}" not in NEED_MLFLOW)


@pytest.fixture(scope="module")
def airflow() -> None:
    """Airflow's metadata database, for the DAGs that a page has its reader trigger."""
    from baton.airflow.initialise import initialise

    initialise()


@pytest.mark.parametrize("page", ALONE)
def test_a_page_can_be_followed(page: str, airflow: None, tmp_path: Path) -> None:
    PAGES["Reader"](tmp_path, tmp_path / ".baton").follow(DOCS / page)


@pytest.mark.parametrize("page", NEED_MLFLOW)
def test_a_page_about_models_can_be_followed(page: str, workbench: Any, tmp_path: Path) -> None:
    PAGES["Reader"](tmp_path, workbench.home, models=True).follow(DOCS / page)
