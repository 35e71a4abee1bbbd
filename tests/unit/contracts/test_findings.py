"""What a failed expectation says: a row and its value, or of direct personal data nothing but where it stands."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from baton.contracts.findings import Findings, Rule, rules_of
from baton.data.cells import MASKED
from baton.data.identity import with_row_identity
from baton.data.typed import parse
from baton.specs.contract import ContractSpec, is_moment

COLUMNS = {"id": {"type": "str"}, "mail": {"type": "str", "pii": "direct"}, "amount": {"type": "float"}}
SPEC = ContractSpec.model_validate(
    {"contract": "letters", "version": 1, "owner": "team", "description": "rows", "key": "id", "columns": COLUMNS}
)
SECRET = "ann@home.example"


@pytest.fixture
def found() -> Findings:
    frame = pd.DataFrame({"id": ["1", "2"], "mail": [SECRET, "x"], "amount": ["1", "2"]})
    return Findings(parse(with_row_identity(frame, "test"), SPEC), SPEC)


def rule(severity: str, **kwargs: Any) -> Rule:
    return Rule("expect_something", kwargs, severity, "a_rule", "look at it")


def outcome(raised: str = "", **result: Any) -> Any:
    info = {"raised_exception": bool(raised), "exception_message": raised}
    return SimpleNamespace(exception_info=info, result=result)


def said(found: Findings) -> str:
    return str([found.violations, found.info, found.all_failures()])


def test_a_row_of_several_columns_hides_the_personal_one(found: Findings) -> None:
    found.add(rule("warning", column_A="mail", column_B="amount"), outcome(unexpected_index_list=[0]))
    assert [(v.key, v.value) for v in found.violations] == [("1", f"{MASKED}, 1.0")]


@pytest.mark.parametrize("severity", ["critical", "info"])
def test_what_was_observed_of_a_whole_column_is_not_said(found: Findings, severity: str) -> None:
    found.add(rule(severity, column="mail"), outcome(observed_value=[SECRET, "x"]))
    found.add(rule(severity, column="amount"), outcome(observed_value=1.5))
    assert SECRET not in said(found)
    assert f"observed {MASKED}" in said(found)
    assert "observed 1.5" in said(found)


def test_an_expectation_that_raises_does_not_quote_the_column(found: Findings) -> None:
    found.add(rule("critical", column="mail"), outcome(raised=f"invalid: {SECRET}"))
    assert SECRET not in said(found)


def test_a_rule_may_name_the_partition_and_is_left_out_where_there_is_none() -> None:
    between = {
        "type": "expect_column_values_to_be_between", "severity": "warning", "meta": {"rule": "other_day"},
        "kwargs": {"column": "amount", "min_value": "{start}", "max_value": "{end}", "strict_max": True},
    }  # fmt: skip
    spec = ContractSpec.model_validate({**SPEC.model_dump(), "expectations": [between]})
    day = ("2026-11-20T00:00:00+00:00", "2026-11-21T00:00:00+00:00")
    assert rules_of(spec, day)[0].kwargs == {
        "column": "amount", "min_value": day[0], "max_value": day[1], "strict_max": True
    }  # fmt: skip
    assert "other_day" not in [rule.name for rule in rules_of(spec)]


def test_a_rule_may_name_a_moment_before_or_after_the_partition() -> None:
    late = {
        "type": "expect_column_values_to_be_between", "severity": "warning", "meta": {"rule": "late"},
        "kwargs": {"column": "amount", "min_value": "{start-1d12h}", "max_value": "{end+5m}"},
    }  # fmt: skip
    spec = ContractSpec.model_validate({**SPEC.model_dump(), "expectations": [late]})
    day = ("2026-11-20T00:00:00+00:00", "2026-11-21T00:00:00+00:00")
    assert rules_of(spec, day)[0].kwargs == {
        "column": "amount", "min_value": "2026-11-18T12:00:00+00:00", "max_value": "2026-11-21T00:05:00+00:00"
    }  # fmt: skip
    assert "late" not in [rule.name for rule in rules_of(spec)]
    assert not is_moment("{start-0d}")
    assert not is_moment("{start-1}")
