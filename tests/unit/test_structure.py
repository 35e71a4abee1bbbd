"""One word, one thing: a public class shares its name with no other class and no type alias of the packages."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

INCLUDE = Path(__file__).resolve().parents[2] / "include"
PACKAGES = ("baton", "baton_packs", "baton_demo")


def defined(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Public names of a module that are types: (name, whether it is a class rather than an alias)."""
    for node in tree.body:
        names: list[ast.expr] = []
        match node:
            case ast.ClassDef(name=name) if not name.startswith("_"):
                yield name, True
            case ast.Assign(targets=targets):
                names = targets
            case ast.AnnAssign(target=target):
                names = [target]
        # constants are written in capitals and variables in small letters
        yield from (
            (n.id, False) for n in names if isinstance(n, ast.Name) and n.id[0].isupper() and not n.id.isupper()
        )


def test_a_public_class_has_its_name_alone() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    classes: set[str] = set()
    for path in sorted(path for package in PACKAGES for path in (INCLUDE / package).rglob("*.py")):
        for name, is_class in defined(ast.parse(path.read_text())):
            places[name].append(path.relative_to(INCLUDE).as_posix())
            if is_class:
                classes.add(name)
    assert {name: files for name, files in places.items() if name in classes and len(files) > 1} == {}
