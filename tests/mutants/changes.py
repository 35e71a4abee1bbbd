"""Small changes of a Python file that a test should notice: found in its syntax tree, made in its text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_SILENT = ("log", "warnings", "FAULT", "at")  # what is said to nobody, and the hooks of the crash tests


@dataclass(frozen=True)
class Change:
    """One change: the text of lines `line` to `end` (from 1) between the columns (bytes) becomes `new`."""

    kind: str
    line: int
    column: int
    end: int
    end_column: int
    old: str
    new: str

    def applied(self, source: str) -> str:
        """The changed file."""
        lines = source.encode().splitlines(keepends=True)
        before = b"".join(lines[: self.line - 1]) + lines[self.line - 1][: self.column]
        after = lines[self.end - 1][self.end_column :] + b"".join(lines[self.end :])
        return (before + self.new.encode() + after).decode()

    def __str__(self) -> str:
        def short(text: str) -> str:
            one = " ".join(text.split())
            return one if len(one) <= 90 else f"{one[:87]}..."

        return f"{short(self.old)} -> {short(self.new)}"


def changes(source: str) -> list[Change]:
    """All changes of a file, in order."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    return sorted(finder.found, key=lambda one: (one.line, one.column, one.kind))


class _Finder(ast.NodeVisitor):
    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[Change] = []

    def _add(self, kind: str, node: ast.expr | ast.stmt, new: ast.AST | str) -> None:
        old = ast.get_source_segment(self.source, node)
        if old is None or node.end_lineno is None or node.end_col_offset is None:
            return
        text = new if isinstance(new, str) else f"({ast.unparse(new)})"
        self.found.append(Change(kind, node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, old, text))

    def visit_Compare(self, node: ast.Compare) -> None:
        for number, op in enumerate(node.ops):
            ops = [*node.ops[:number], _COMPARE[type(op)](), *node.ops[number + 1 :]]
            self._add("comparison", node, ast.Compare(node.left, ops, node.comparators))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self._add("and/or", node, ast.BoolOp(other, node.values))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._add("not", node, node.operand)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._add("constant", node, str(not node.value))
        elif isinstance(node.value, (int, float)):
            self._add("constant", node, f"({node.value + 1!r})")

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self._add("returned value", node, "return None")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._add("removed statement", node, "pass")

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._add("removed statement", node, "pass")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Call):
            return  # a text: documentation
        if _head(node.value.func) in _SILENT:
            return
        self._add("removed statement", node, "pass")
        self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Words for people are no behaviour."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        if _head(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for part in _parts(node):
            self.visit(part)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in node.body:  # decorators are left out: that a class is frozen shows in no result
            self.visit(part)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg != "strict":  # of zip: says what holds anyway
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if _head(node.func) in _SILENT:
            return
        self.generic_visit(node)


def _parts(node: ast.FunctionDef) -> Iterator[ast.AST]:
    yield from (default for default in (*node.args.defaults, *node.args.kw_defaults) if default is not None)
    yield from node.body  # decorators and annotations are left out


def _head(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
