"""New files of a pack, from templates; nothing is left behind when what was asked for has a mistake."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from baton.authoring.commented import inline
from baton.authoring.lint import lint
from baton.errors import SpecError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


def check_name(what: str, name: str) -> None:
    """Raises SpecError: the name is no snake_case name."""
    if not _NAME.fullmatch(name):
        raise SpecError(f"{what} name {name!r}: lower case, digits and underscores, starting with a letter")


def cron_of(step: timedelta) -> str:
    """When a partition of that length is complete, as a cron line."""
    if step == 7 * _DAY:
        return "0 0 * * 1"
    if step < _HOUR and not _HOUR % step:
        return f"*/{step // timedelta(minutes=1)} * * * *"
    if step < _DAY and not _DAY % step:
        return "0 * * * *" if step == _HOUR else f"0 */{step // _HOUR} * * *"
    return "0 0 * * *"


def render(template: str, **values: Any) -> str:
    """A template of this package, filled in."""
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    files = Environment(  # noqa: S701 - no HTML
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    files.filters["yaml"] = inline
    return files.get_template(template).render(values)


def write(files: Mapping[Path, str]) -> list[Path]:
    """Writes new files of a pack; nothing is left behind when they do not pass lint.

    Raises:
        SpecError: one of them exists already, or has a mistake.
    """
    taken = [str(path) for path in files if path.exists()]
    if taken:
        raise SpecError(f"{', '.join(taken)}: exists already")
    try:
        for path, text in files.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        specs = [path for path in files if path.suffix == ".yaml"]
        problems = [one for one in lint(specs) if not one.note] if specs else []
    except BaseException:
        _remove(files)
        raise
    if problems:
        _remove(files)
        raise SpecError("what was asked for does not pass lint:\n" + "\n".join(map(str, problems)))
    return list(files)


def _remove(paths: Mapping[Path, str]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
