"""What the documentation tells a newcomer to do, done: every page's files written, its commands run, its DAGs run.

No part is a stand-in but two: pip's editable install (its entry point is written by hand, there is no network) and the browser.
"""

from __future__ import annotations

import runpy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """An HTTP interface that hands out the files of a folder; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


OTHER_ROWS = {
    "parquet": ("rows.to_parquet('sales.parquet')", "sales.parquet"),
    "sqlite": ("rows.to_sql('sales', 'sqlite:///sales.db', index=False)", "sqlite:///sales.db#sales"),
    "http": ("rows.to_json('sales.json', orient='records')", "{address}/sales.json"),
}


@pytest.mark.parametrize("origin", OTHER_ROWS)
def test_the_story_of_a_file_of_rows_holds_wherever_they_are_from(origin: str, tmp_path: Path) -> None:
    """The same page, its one line with the rows' origin written otherwise: pack, lint and trial come out as it says."""
    folder, (written, named) = tmp_path / "reader", OTHER_ROWS[origin]
    folder.mkdir()
    text = (DOCS / "how-to" / "file.md").read_text(encoding="utf-8")
    with _served(folder) as address:
        for old, new in (
            ('rows.to_csv("sales.csv", index=False)', written),
            ("--from sales.csv --yes", f"--from {named.format(address=address)} --yes"),
        ):
            assert text.count(old) == 1
            text = text.replace(old, new)
        (tmp_path / "file.md").write_text(text, encoding="utf-8")
        PAGES["Reader"](folder, folder / ".baton").follow(tmp_path / "file.md")
