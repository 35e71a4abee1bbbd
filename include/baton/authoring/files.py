"""New files of a pack, from templates; nothing is left behind when what was asked for has a mistake."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from baton.authoring.commented import inline
from baton.authoring.lint import lint
from baton.errors import SpecError
from baton.governance.assets import FILE
from baton.packs.yaml_marks import load_marked
from baton.specs.governance import AssetKind

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


def in_a_year() -> str:
    """The day until which what is new is looked at again."""
    return (datetime.now(UTC) + 365 * _DAY).date().isoformat()


def govern(folder: Path, name: str, kind: AssetKind, asset: str, terms: str, flow: str = "") -> list[Path]:
    """Name an asset in a pack's governance.yaml, written with a default where there is none, or let a flow use it.

    Args:
        name: of the pack.
        terms: the entry, as one line of YAML without braces; what is said of the asset already stays.
        flow: DAG id that is to be among its `consumers`; where these are no list on one line, `baton lint` says what to write.

    Returns:
        the file where it was changed, else nothing.
    """
    path = folder / FILE
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    text = before or render(f"pack/{FILE}.txt", name=name, review=in_a_year())
    marked = load_marked(text)
    lines = text.splitlines()
    if (kind, asset) not in marked.lines:
        entry = f"  {asset}: {{{', '.join([terms, f'consumers: [{flow}]'] if flow else [terms])}}}"
        at = marked.lines.get((kind,))
        lines[at or len(lines) : at or len(lines)] = [entry] if at else ["", f"{kind}:", entry]
    elif flow and (line := marked.lines.get((kind, asset, "consumers"))):
        named = marked.data[kind][asset]["consumers"]
        if flow not in named:
            lines[line - 1] = re.sub(
                r"(consumers: \[)(.*?)\]", rf"\g<1>{', '.join([*named, flow])}]", lines[line - 1], count=1
            )
    after = "\n".join(lines) + "\n"
    if after == before:
        return []
    path.write_text(after, encoding="utf-8")
    return [path]


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
