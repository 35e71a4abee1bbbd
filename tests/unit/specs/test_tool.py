"""tools.yaml: what it may say, and where a mistake in it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from baton.authoring.lint import lint
from baton.errors import SpecError
from baton.packs.pack import read_pack

TOOLS = """\
reputation:
  description: how bad an address is, from the threat desk
  conn_id: threat_intelligence
  path: reputation/{value}
  answer: {score: integer, categories: list}
  per_second: 20.0
assets:
  description: what a host is
  conn_id: asset_inventory
  path: assets/{value}
  answer: {asset_class: text, owner: "text?"}
  breaker: {failures: 3}
"""


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    (tmp_path / "tools.yaml").write_text(TOOLS)
    (tmp_path / "models").mkdir()
    terms = "{owner: ann, deputy: bob, impact: low, intended_use: shop, review: 2030-01-01}"
    (tmp_path / "governance.yaml").write_text(f"default: {terms}\n")
    return tmp_path


def test_the_tools_of_a_pack_are_read_by_name(pack: Path) -> None:
    assert lint([pack]) == []
    read = read_pack("shop", pack)
    assert (read.tool("assets").name, read.tool("assets").breaker.failures) == ("assets", 3)
    assert read.tool("reputation").per_second == 20.0
    with pytest.raises(SpecError, match="no tool `asets`, did you mean `assets`"):
        read.tool("asets")


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "message"),
    [
        ("conn_id: threat", "con_id: threat", 3, "reputation.con_id", "did you mean `conn_id`?"),
        ("score: integer", "score: int", 5, "reputation.answer.score", "did you mean `integer`"),
        ("reputation/{value}", "reputation", 4, "reputation.path", "that holds {value} once"),
        ("reputation/{value}", '"{value}"', 4, "reputation.path", "that holds {value} once"),
        ("reputation/{value}", "reputation/{valu}/{value}", 4, "reputation.path", "no other placeholder"),
        ("reputation/{value}", "http://x/{value}", 4, "reputation.path", "no other placeholder than {value}, and no address"),
        ("{score: integer,", "{source: text,", 5, "reputation.answer.source", "a column of every look-up's result"),
        ("per_second: 20.0", "per_second: 0.0", 6, "reputation.per_second", "greater than 0"),
        ("per_second: 20.0", "keep_seconds: 60", 6, "reputation.keep_seconds", "cannot go before it is old"),
        ("{failures: 3}", "{failure: 3}", 12, "assets.breaker.failure", "did you mean `failures`?"),
    ],
)  # fmt: skip
def test_each_mistake_is_shown_where_it_is(pack: Path, old: str, new: str, line: int, field: str, message: str) -> None:
    assert old in TOOLS
    (pack / "tools.yaml").write_text(TOOLS.replace(old, new))
    problems = lint([pack])
    places = {(one.line, one.field): one.message for one in problems}
    assert (line, field) in places, "\n".join(map(str, problems))
    assert message in places[line, field]
