"""What a pack's YAML means, also where YAML 1.1, YAML 1.2 and plain PyYAML disagree; every mistake with its line."""

from __future__ import annotations

from typing import Any

import pytest

from baton.packs.yaml_marks import load_marked


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("yes", True), ("off", False), ("y", "y"), ("true", True),
        ("010", 8), ("0o10", "0o10"), ("08", "08"), ("0x1F", 31), ("1_000", 1000), ("1:30", 90), ("12:30:45", 45045),
        ("1e-3", 0.001), ("-1E5", -100000.0), ("1.e+3", 1000.0), (".5", 0.5), (".inf", float("inf")), ("1e", "1e"),
        ("2026-01-01", "2026-01-01"), ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00Z"),
        ("~", None), ("", None), ("null", None), ("'x'", "x"), ("!!str 1", "1"),
    ],
)  # fmt: skip
def test_the_meaning_of_a_plain_word(written: str, meant: Any) -> None:
    found = load_marked(f"key: {written}\n")
    assert not found.mistakes
    assert found.data == {"key": meant}
    assert type(found.data["key"]) is type(meant)


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("a: 1\nb: 2\na: 3\nb: 4\n", {3: "given twice, first in line 1", 4: "given twice, first in line 2"}),
        ("yes: 1\non: 2\n", {2: "given twice, first in line 1"}),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", {3: "merge keys (`<<`) are not used here; write it out"}),
        ("? [a]\n: 1\n", {1: "a key must be a plain word"}),
        ("a: 1\n---\nb: 2\n", {2: "not YAML: but found another document"}),
        ("a: &x [*x]\n", {1: "not YAML: aliases refer to each other"}),
        ("", {1: "the file is empty"}),
    ],
)
def test_every_mistake_is_found_with_its_line(text: str, mistakes: dict[int, str]) -> None:
    assert {one.line: one.message for one in load_marked(text).mistakes} == mistakes


def test_aliases_of_aliases_end() -> None:
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    assert [one.message for one in load_marked("\n".join(lines)).mistakes] == ["not YAML: aliases refer to each other"]


def test_an_alias_is_the_value_and_has_a_line_of_its_own() -> None:
    found = load_marked("a: &x [1, 2]\nb: *x\n")
    assert found.data == {"a": [1, 2], "b": [1, 2]}
    assert (found.line(("a", 1)), found.line(("b",)), found.line(("nothing",))) == (1, 2, 1)
