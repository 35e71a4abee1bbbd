"""What `baton lint` says of the rules of ordering: the limit of an order stands in two files, which must agree."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from baton_packs.supply_chain import HERE, checks

LIMIT = "max_amount: 110000, level: auto"


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    shutil.copytree(HERE / "policy", tmp_path / "policy")
    shutil.copy(HERE / "actions.yaml", tmp_path / "actions.yaml")
    return tmp_path


def said(pack: Path) -> list[tuple[str, int, str, str]]:
    return [(Path(one.file).name, one.line, one.field, one.message) for one in checks.problems(pack)]


def test_the_pack_is_right() -> None:
    assert list(checks.problems(HERE)) == []


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (
            "max_amount: 120000, level: auto",
            "110,000 here, and actions.yaml lets an order of up to 120,000 go by itself",
        ),
        (
            "max_amount: 90000, level: notify",
            "110,000 here, and actions.yaml lets an order of up to 90,000 go by itself",
        ),
        ("level: auto", "110,000 here, and actions.yaml lets an order of any amount go by itself"),
        ("max_amount: 110000, level: two_approvers", "110,000 here, and actions.yaml lets no order go by itself"),
    ],
)
def test_a_limit_that_differs_is_a_mistake_with_its_line(pack: Path, policy: str, words: str) -> None:
    path, rest = pack / "actions.yaml", "  - {name: above_the_limit"
    text = path.read_text().replace(LIMIT, policy)
    path.write_text(text[: text.index(rest)] if policy == "level: auto" else text)
    assert said(pack) == [("items.yaml", 3, "approval_limit", words)]


def test_a_file_of_rules_that_is_wrong_is_said_with_its_line(pack: Path) -> None:
    path = pack / "policy" / "items.yaml"
    path.write_text(path.read_text().replace("approval_limit: 110000", "approval_limit: -1"))
    assert [one[:3] for one in said(pack)] == [("items.yaml", 3, "approval_limit")]
