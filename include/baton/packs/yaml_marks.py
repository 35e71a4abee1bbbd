"""YAML with the line of every field, so that a mistake can be shown where it was made.

Differs from plain YAML 1.1 in what surprises people: a key given twice is an error (plain YAML keeps the last
without a word), `1e-3` is a number, a date stays the text that was written. Merge keys (`<<`) are refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Loc = tuple[str | int, ...]
_MAX_NODES = 100_000  # aliases of aliases grow exponentially

try:
    from yaml import CSafeLoader as _Base
except ImportError:  # PyYAML built without libyaml reads the same, only slower
    from yaml import SafeLoader as _Base  # type: ignore[assignment]


class _Loader(_Base):
    """Safe loader without dates and with `1e-3` as a number."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regex) for tag, regex in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in _Base.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Mistake:
    """Something wrong with the YAML itself: 1-based line, field path, what."""

    line: int
    loc: Loc
    message: str


@dataclass
class Marked:
    """A YAML document as plain data, with the line of every field and what was wrong on the way."""

    data: Any = None
    lines: dict[Loc, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def line(self, loc: Loc) -> int:
        """Line of a field, or of the nearest enclosing one that was written (1-based)."""
        return next((self.lines[loc[:n]] for n in range(len(loc), -1, -1) if loc[:n] in self.lines), 1)


def load_marked(text: str) -> Marked:
    """Reads one YAML document; mistakes are collected, never raised."""
    marked = Marked()
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            marked.mistakes.append(Mistake(1, (), "the file is empty"))
        else:
            marked.data = _Builder(loader, marked).build(node, ())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = text.splitlines()[mark.line] if mark and mark.line < text.count("\n") else ""
        if "\t" in line[: len(line) - len(line.lstrip())]:
            problem = "a tab indents this line; YAML wants spaces"
        marked.mistakes.append(Mistake(mark.line + 1 if mark else 1, (), f"not YAML: {problem}"))
    finally:
        loader.dispose()
    return marked


class _Builder:
    def __init__(self, loader: Any, marked: Marked) -> None:
        self.loader, self.marked = loader, marked
        self.nodes = 0
        self.open: set[int] = set()

    def build(self, node: Any, loc: Loc) -> Any:
        self.nodes += 1
        if self.nodes > _MAX_NODES or id(node) in self.open:
            raise yaml.composer.ComposerError(None, None, "aliases refer to each other", node.start_mark)
        self.marked.lines.setdefault(loc, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*loc, i)) for i, item in enumerate(node.value)]
            return dict(self.pairs(node, loc))
        finally:
            self.open.discard(id(node))

    def scalar(self, node: Any) -> Any:
        return self.loader.construct_object(node, deep=True)

    def pairs(self, node: Any, loc: Loc) -> Iterator[tuple[Any, Any]]:
        seen: dict[Any, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag.endswith(":merge"):
                self.marked.mistakes.append(Mistake(line, loc, "merge keys (`<<`) are not used here; write it out"))
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self.marked.mistakes.append(Mistake(line, loc, "a key must be a plain word"))
                continue
            key = self.scalar(key_node)
            place = (*loc, key)
            if key in seen:
                self.marked.mistakes.append(Mistake(line, place, f"given twice, first in line {seen[key]}"))
                continue
            seen[key] = line
            self.marked.lines[place] = line
            yield key, self.build(value_node, place)
