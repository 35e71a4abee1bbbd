"""Expressions of repairs compute, and nothing else."""

from __future__ import annotations

import pytest

from baton.errors import BatonError
from baton.quarantine.expressions import CellError, Expression

CELLS = {"amount": "14962", "v1": "-1.5", "name": "shop", "none": None, "big": "1e400"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("amount/100", "149.62"), ("amount * 0.01", "149.62"), ("-amount", "-14962"), ("(v1 + 2) * 2", "1"),
        ("v1 - -1", "-0.5"), ("name", "shop"), ("'food'", "food"), ("''", None), ("none", None),
        ("0.1 + 0.2", "0.3"), ("7", "7"), ("amount/3", "4987.333333333333333333333333"),
    ],
)  # fmt: skip
def test_expressions(text: str, value: str | None) -> None:
    assert Expression(text).value(CELLS) == value


@pytest.mark.parametrize("text", ["amount/0", "0/0", "none + 1", "name * 2", "big + 1", "missing / 2", "missing"])
def test_expressions_without_a_value_say_why(text: str) -> None:
    with pytest.raises(CellError):
        Expression(text).value(CELLS)


@pytest.mark.parametrize(
    "text",
    [
        "", "  ", "__import__('os').system('true')", "amount.real", "amount[0]", "lambda: 1", "[1]", "{1}",
        "amount ** 9999999", "amount % 7", "amount // 7", "1 if 1 else 2", "f'{amount}'", "amount; 1", "a = 1",
        "'a' + 'b'", "True", "None", "1j", "1e999", "print(1)", "amount and 1", "(x := 1)", "a b", "9" * 300,
        "(" * 150 + "1" + ")" * 40,
    ],
)  # fmt: skip
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(BatonError, match="expression"):
        Expression(text)
