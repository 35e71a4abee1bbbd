"""`baton data` and `baton lint`: what concerns packs."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from baton.cli.output import Json, as_json, plural
from baton.errors import BatonError
from baton.progress import tell


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(data)
    app.command()(lint)


def data(
    pack: Annotated[
        list[str] | None, typer.Argument(metavar="[PACK]...", help="Packs by name or folder; default all.")
    ] = None,
) -> None:
    """Fetch what the packs' models work with and their demos' data sets, checked by SHA-256; instant when it is there."""
    from baton.packs.demos import prepare_data
    from baton.packs.pack import packs

    for name in pack or packs():
        manifest = prepare_data(name, _progress())
        print(f"{name}: {'has no demo that brings rows' if manifest is None else 'data are ready'}")


def _progress() -> Callable[[str, int, int], None]:
    said: set[str] = set()

    def report(what: str, done: int, total: int) -> None:
        tell(what, "bytes", done, total)
        if what not in said:
            said.add(what)
            print(f"  {what}", flush=True)

    return report


def lint(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PACK|FILE]...", help="Packs by name or folder, single files; default all, with their flows."
        ),
    ] = None,
    schema: Annotated[
        Path | None, typer.Option(help="Write JSON Schemas for your editor into this folder instead.")
    ] = None,
    json: Json = False,
) -> None:
    """Check the YAML of packs and the flows in dags/: every mistake by file, line and field, with what is allowed."""
    from baton.authoring.lint import lint as find_problems

    if schema is not None:
        from baton.authoring.schemas import export

        for path in export(schema):
            print(f"wrote {path}")
        return

    problems = find_problems(paths or [])
    for problem in problems:
        print(as_json(problem) if json else problem)
    mistakes = [problem for problem in problems if not problem.note]
    if mistakes:
        raise BatonError(plural(len(mistakes), "mistake", "mistakes"))
    if not json:
        print("no mistakes")
