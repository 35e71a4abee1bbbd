"""No test leans on a name that begins with an underscore: what is private may change without a word."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
OURS = ("baton", "baton_packs", "baton_demo")
# "file: name", and why it may
ALLOWED = {
    "bench/year_rows.py: statement._values": "SQLAlchemy's own; a million statements that it compiles take minutes"
}
# a test may empty a cache of the process, so that none sees what another has left in it
EMPTIES = ("clear", "cache_clear")
BY_TEXT = ("setattr", "getattr", "delattr", "patch")  # take a name as text


def private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def of_ours(name: str | None) -> bool:
    return (name or "").split(".")[0] in OURS


def used(tree: ast.Module) -> Iterator[str]:
    """Private names that a module imports, reads, sets or replaces; those of its own objects (`self._x`) are its own."""
    nodes = list(ast.walk(tree))
    foreign = {"os", "sys"}  # the standard library's are not ours to judge
    emptied = {node.value for node in nodes if isinstance(node, ast.Attribute) and node.attr in EMPTIES}
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if of_ours(one.name) and private(one.name))
        elif isinstance(node, ast.ImportFrom) and of_ours(node.module):
            names = (f"{node.module}.{one.name}" for one in node.names)
            yield from (name for name in names if private(name))
        elif isinstance(node, ast.Attribute) and private(node.attr) and node not in emptied:
            owner = ast.unparse(node.value)
            if owner not in {"self", "cls", "super()"} | foreign:
                yield f"{owner}.{node.attr}"
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in BY_TEXT:
            texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            yield from (text for text in texts[:1] if private(text) and (of_ours(text) or "." not in text))


def found() -> set[str]:
    trees = {
        path.relative_to(TESTS).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in TESTS.rglob("*.py")
    }
    return {f"{name}: {one}" for name, tree in trees.items() for one in used(tree)}


def test_tests_know_public_names_only() -> None:
    assert sorted(found()) == sorted(ALLOWED)


def test_what_is_private_is_seen_in_every_way_it_can_be_used() -> None:
    source = """
import baton._a, os
from baton._b import c
from baton.d import _e, f
f._g = 1
monkeypatch.setattr(f, "_h", None)
monkeypatch.setattr("baton.d._i", None)
getattr(f, "_j")
f._k.cache_clear()
os._exit(0)
self._l = f.__name__
"""
    assert list(used(ast.parse(source))) == [
        "baton._a", "baton._b.c", "baton.d._e", "f._g", "_h", "baton.d._i", "_j",
    ]  # fmt: skip
