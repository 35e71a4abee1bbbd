"""What a tool may answer: the declared fields, each of its type, and nothing that no table could hold."""

from __future__ import annotations

import json

import pytest

from baton.lookups.answers import NotAsDeclared, read
from baton.lookups.client import unaskable

DECLARED = {"score": "integer", "share": "number", "good": "flag", "name": "text?", "tags": "list"}
GOOD = {"score": 3, "share": 0.5, "good": True, "name": None, "tags": ["a", 1, True]}


def test_the_declared_fields_are_kept_and_no_others() -> None:
    assert read(json.dumps({**GOOD, "more": {"deep": 1}}).encode(), DECLARED) == GOOD
    assert read(json.dumps({**GOOD, "share": 2}).encode(), DECLARED)["share"] == 2.0


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("score", "3", "field `score` of the answer should be integer, it is text"),
        ("score", True, "should be integer, it is flag"),
        ("score", 3.0, "should be integer, it is number"),
        ("score", 2**63, "should be integer, it is integer"),
        ("score", None, "should be integer, it is null"),
        ("share", [1], "should be number, it is list"),
        ("good", 1, "should be flag, it is integer"),
        ("name", {"first": "Ada"}, "should be text, it is an object"),
        ("name", "a\x00b", "should be text, it is text with characters that are none"),
        ("name", "\ud800", "should be text, it is text with characters that are none"),
        ("tags", [{"a": 1}], "should be list, it is list of other things"),
        ("tags", ["a"] * 1001, "should be list, it is list of other things, or too long"),
    ],
)
def test_a_field_of_another_type_is_named_without_its_value(field: str, value: object, words: str) -> None:
    with pytest.raises(NotAsDeclared, match=words) as wrong:
        read(json.dumps({**GOOD, field: value}).encode(), DECLARED)
    assert "Ada" not in str(wrong.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>log in</html>", "no JSON"), (b"", "no JSON"), (b"\xff", "no JSON"), (b"[" * 60_000, "no JSON"),
        (b'{"score": NaN}', "no JSON"), (b"[1]", "is list, not an object"), (b'"x"', "is text, not an object"),
        (b"{}", "has no field `score`"), (b'{"score": ' + b"9" * 5000 + b"}", "no JSON"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_such_object_says_so(body: bytes, words: str) -> None:
    with pytest.raises(NotAsDeclared, match=words):
        read(body, DECLARED)


@pytest.mark.parametrize("value", ["", ".", "..", "a\x00", "\x1b[2J", "x" * 501, "\ud800"])
def test_some_values_are_never_sent(value: str) -> None:
    assert unaskable(value)


@pytest.mark.parametrize("value", ["10.0.0.1", "host/../../etc", "a b", "fe80::1%eth0", "ü?x=1#y"])
def test_others_are(value: str) -> None:
    assert unaskable(value) == ""
