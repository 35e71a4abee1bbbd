"""Stored HTML pages: validation results, drift reports and flows' reports, out of the reports folder and out of nowhere else."""

from pathlib import Path

from baton.console.host import Rights
from baton.names import monitor_of

# such a page is data: no script, no request to anywhere, no form, and an origin of its own
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox allow-popups allow-top-navigation-by-user-activation"
)


def find_page(root: Path, path: str) -> Path | None:
    """The file of a page address, None when there is no such page below `root`.

    Only `.html` files count; `..`, absolute paths, hidden files and symbolic links that lead outside do not.
    """
    parts = path.split("/")
    if "\0" in path or "\\" in path or any(not part or part.startswith(".") for part in parts):
        return None
    base = root.resolve()
    found = base.joinpath(*parts).resolve()
    if found.suffix != ".html" or not found.is_relative_to(base) or not found.is_file():
        return None
    return found


def readable(rights: Rights, path: str) -> bool:
    """Whether the person may read about the DAG that the page belongs to."""
    kind, _, rest = path.partition("/")
    owner = rest.partition("/")[0]
    if kind == "contracts":
        return rights.read(owner)
    if kind == "drift":
        return rights.read(monitor_of(owner))
    return rights.read(kind)  # a report of a flow lies in a folder of its name
