"""Small expressions over the cells of one row, for repairs: `amount/100`, `(v1 + v2) / 2`, `'food'`, `other_column`.

Numbers, text in quotes, column names, + - * / and parentheses; nothing else parses, and nothing is ever
executed. Arithmetic is decimal, so that 14962/100 is 149.62 and not a binary float near it.
"""

import ast
import decimal
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from baton.errors import BatonError

_LONGEST = 200
_EXPONENT = 308  # what a 64-bit float holds
_CONTEXT = decimal.Context(prec=28)


def _plus(a: Decimal, b: Decimal) -> Decimal:
    return _CONTEXT.add(a, b)


_OPERATORS: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: _plus,
    ast.Sub: _CONTEXT.subtract,
    ast.Mult: _CONTEXT.multiply,
    ast.Div: _CONTEXT.divide,
}


class CellError(BatonError):
    """The expression has no value in this row; the message says why."""


class Expression:
    """A parsed expression; `value(cells)` computes it for one row.

    Raises:
        BatonError: the text is no such expression.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        if not self.text:
            raise BatonError("an expression is missing after `=`; write '' (two quotes) for an empty cell")
        if len(self.text) > _LONGEST:
            raise BatonError(f"expression longer than {_LONGEST} characters: {self.text[:40]}...")
        try:
            self._tree = ast.parse(self.text, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            raise BatonError(f"expression {self.text!r} cannot be read; {_ALLOWED}") from error
        self.columns = _columns(self._tree, self.text)

    @property
    def for_record(self) -> str:
        """What the ledger and viewers' cards may show: of a value alone, which may be somebody's name or number, nothing."""
        return self.text if self.columns else "a given value"

    def value(self, cells: Mapping[str, str | None]) -> str | None:
        """Compute the cell's new text; None is an empty cell.

        Args:
            cells: column -> text of one row.

        Raises:
            CellError: a column is unknown, empty or not a number here; a division by zero.
        """
        tree = self._tree
        if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
            return tree.value or None
        if isinstance(tree, ast.Name):  # a copy keeps the text as it is
            return _cell(tree.id, cells)
        try:
            return _plain(self._number(tree, cells))
        except decimal.DecimalException as error:
            zero = isinstance(error, decimal.DivisionByZero | decimal.InvalidOperation)
            reason = "division by zero" if zero else "the number is out of range"
            raise CellError(f"{self.text}: {reason}") from error

    def _number(self, node: Any, cells: Mapping[str, str | None]) -> Decimal:
        if isinstance(node, ast.Constant):
            return Decimal(str(node.value))
        if isinstance(node, ast.Name):
            return _as_number(node.id, _cell(node.id, cells))
        if isinstance(node, ast.UnaryOp):
            number = self._number(node.operand, cells)
            return -number if isinstance(node.op, ast.USub) else number
        return _OPERATORS[type(node.op)](self._number(node.left, cells), self._number(node.right, cells))


_ALLOWED = (
    "allowed are numbers, column names, + - * / and parentheses, for example amount/100; put text in quotes, for "
    "example kind='food'"
)


def _columns(tree: ast.expr, text: str) -> list[str]:
    """The columns that the expression reads; refuses every kind of node that is not on the short list."""
    names: list[str] = []

    def visit(node: ast.AST, top: bool) -> None:
        if isinstance(node, ast.Name):
            names.append(node.id)
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            visit(node.left, False)
            visit(node.right, False)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
            visit(node.operand, False)
        elif not (isinstance(node, ast.Constant) and _allowed(node.value, top)):
            raise BatonError(f"expression {text!r}: {ast.unparse(node)!r} is not allowed; {_ALLOWED}")

    visit(tree, True)
    return list(dict.fromkeys(names))


def _allowed(value: object, top: bool) -> bool:
    if type(value) is int or type(value) is str:  # bool is an int, and no number here
        return top if isinstance(value, str) else True
    return type(value) is float and value == value and abs(value) != float("inf")


def _cell(name: str, cells: Mapping[str, str | None]) -> str | None:
    if name not in cells:
        known = ", ".join(list(cells)[:12])
        raise CellError(f"no column {name!r} (there are {known}{', ...' if len(cells) > 12 else ''}); quote text")
    return cells[name]


def _as_number(name: str, cell: str | None) -> Decimal:
    if cell is None:
        raise CellError(f"{name} is empty")
    try:
        number = Decimal(cell.strip())
    except decimal.InvalidOperation as error:
        raise CellError(f"{name} is {cell[:40]!r}, not a number") from error
    if not number.is_finite() or abs(number.adjusted()) > _EXPONENT:
        raise CellError(f"{name} is {cell[:40]!r}, not a number that can be stored")
    return number


def _plain(number: Decimal) -> str:
    if number and abs(number.adjusted()) > _EXPONENT:
        raise CellError("the result is a number that cannot be stored")
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
