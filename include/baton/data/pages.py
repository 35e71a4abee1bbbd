"""Pages for people, stored below the reports folder: validation results and flows' reports."""

import os

from baton.settings import settings


def store_page(address: str, html: str) -> str:
    """Write a page at an address below `settings().reports_dir`, whole or not at all; returns the address."""
    path = settings().reports_dir / address
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(html, encoding="utf-8")
    unfinished.replace(path)
    return address
