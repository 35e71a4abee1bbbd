"""`baton data` and `baton lint`: what concerns packs."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from baton.cli.output import plural
from baton.errors import BatonError
from baton.progress import tell


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(data)
    app.command()(lint)


def data(pack: Annotated[list[str] | None, typer.Argument(help="Packs; default: all installed.")] = None) -> None:
    """Fetch the packs' data sets, check them by SHA-256 and convert them; instant when they are there."""
    from baton.packs.demos import prepare_data
    from baton.packs.pack import packs

    for name in pack or packs():
        manifest = prepare_data(name, _progress())
        print(f"{name}: {'brings no data' if manifest is None else 'data are ready'}")


def _progress() -> Callable[[str, int, int], None]:
    said: set[str] = set()

    def report(what: str, done: int, total: int) -> None:
        tell(what, "bytes", done, total)
        if what not in said:
            said.add(what)
            print(f"  {what}", flush=True)

    return report


def lint(
    paths: Annotated[list[Path] | None, typer.Argument(help="Pack folders or files; default all.")] = None,
    schema: Annotated[
        Path | None, typer.Option(help="Write JSON Schemas for your editor into this folder instead.")
    ] = None,
) -> None:
    """Check the YAML of packs: every mistake by file, line and field, with what is allowed."""
    from baton.authoring.lint import lint as find_problems

    if schema is not None:
        from baton.authoring.schemas import export

        for path in export(schema):
            print(f"wrote {path}")
        return

    problems = find_problems(paths or [])
    for problem in problems:
        print(problem)
    if problems:
        raise BatonError(plural(len(problems), "mistake", "mistakes"))
    print("no mistakes")
