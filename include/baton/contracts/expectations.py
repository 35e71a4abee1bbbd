"""The expectations that Great Expectations offers, and their arguments, by name, read from its installed files.

Nothing of GX is imported (that takes seconds); `baton lint` and editors need the names only.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from baton.errors import BatonError

# in every GX schema; the contract's own fields (severity, meta) or its checker (result_format) say these
_OURS = {"id", "meta", "notes", "result_format", "description", "catch_exceptions", "rendered_content", "severity"}
_OURS |= {"windows", "batch_id", "metadata"}
_NEVER_REGISTERED = {"expect_multicolumn_values_to_be_unique"}  # exported by GX 1.24, but a suite refuses it
COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list", "column_set")


@dataclass(frozen=True)
class Expectation:
    """One expectation of GX; `arguments` and `required` are None when GX does not describe them."""

    name: str
    arguments: tuple[str, ...] | None
    required: tuple[str, ...] | None


@cache
def known_expectations() -> dict[str, Expectation]:
    """Every expectation of the installed GX by name.

    Raises:
        BatonError: GX is not installed, or it keeps its expectations elsewhere than it used to.
    """
    found = find_spec("great_expectations")  # does not import it
    if found is None or not found.submodule_search_locations:
        raise BatonError("great_expectations is not installed; install Baton's requirements again")
    core = Path(found.submodule_search_locations[0]) / "expectations" / "core"
    exported = _exported(core / "__init__.py")
    described = {path.stem.lower(): path for path in (core / "schemas").glob("*.json")}
    known = {name: _described(name, described.get(name.replace("_", ""))) for name in exported}
    if not known:
        raise BatonError(f"{core}: no expectations found; this GX version is not the one Baton was made for")
    return known


def _exported(init: Path) -> list[str]:
    """Names of the modules that GX's core exports an expectation from."""
    try:
        text = init.read_text(encoding="utf-8")
    except OSError:
        return []
    return sorted(set(re.findall(r"^from \.(expect_\w+) import", text, re.MULTILINE)) - _NEVER_REGISTERED)


def _described(name: str, schema: Path | None) -> Expectation:
    if schema is None:
        return Expectation(name, None, None)
    content: dict[str, Any] = json.loads(schema.read_text(encoding="utf-8"))
    arguments = tuple(argument for argument in content.get("properties", {}) if argument not in _OURS)
    return Expectation(name, arguments, tuple(content.get("required", ())))
