"""A pack's policy file: every mistake is named with file, line and field, and what was probably meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import Field

from baton.errors import SpecError
from baton.packs.policy_file import read_policy
from baton.specs.base import Seq, Share, Spec


class Rule(Spec):
    queue: str = Field(description="team that works it")
    priority: int = Field(ge=1, le=3, description="1 is first")


class Rules(Spec):
    certainty: Share = Field(description="least certainty")
    rules: Seq[Rule] = Field(default=(), description="in this order")


GOOD = "certainty: 0.5\nrules:\n  - queue: cards\n    priority: 1\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "rules.yaml"
    path.write_text(text)
    return path


def test_a_policy_is_read_once_and_again_when_the_file_is_another(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    found = read_policy(path, Rules)
    assert found == Rules(certainty=0.5, rules=(Rule(queue="cards", priority=1),))
    assert read_policy(path, Rules) is found
    written(tmp_path, GOOD.replace("0.5", "0.7"))
    os.utime(path, ns=(1, 1))
    assert read_policy(path, Rules).certainty == 0.7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("priority: 1", "priority: 9"), r"rules\.yaml:4: rules\[0\]\.priority: is `9`, .*less than or equal to 3"),
        (GOOD.replace("queue", "queu"), r"rules\.yaml:3: rules\[0\]\.queu: unknown field, did you mean `queue`\?"),
        (GOOD.replace("certainty: 0.5\n", ""), r"rules\.yaml:1: certainty: is missing"),
        (GOOD + "certainty: 0.6\n", r"rules\.yaml:5: certainty: given twice, first in line 1"),
        ("certainty: [\n", r"rules\.yaml:\d: not YAML"),
        ("", r"rules\.yaml:1: the file is empty"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_policy(written(tmp_path, text), Rules)


def test_every_mistake_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as refused:
        read_policy(written(tmp_path, "certanty: 0.5\nrules: [{queue: 1, priority: 1}]\n"), Rules)
    assert len(str(refused.value).splitlines()) == 3


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"absent\.yaml:1: cannot be read"):
        read_policy(tmp_path / "absent.yaml", Rules)
