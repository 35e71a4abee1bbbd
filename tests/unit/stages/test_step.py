"""Steps: what options become, what is refused before anything runs, and what a step may be told by a template."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest

from baton.errors import SpecError
from baton.specs.base import Seq, Spec
from baton.stages.job import StageJob
from baton.stages.step import Keywords, Seen, Step, as_json, with_options
from baton.steps.advise import AdviseOptions
from baton.steps.deliver import DeliverOptions

ADVISE = {"agent": "pack.module:AGENT"}


class Counted(Spec):
    rounds: int = 1
    pause: float = 0.5
    columns: Seq[str] = ()
    required: bool = False


def job(**options: Any) -> StageJob[Any]:
    return StageJob("shop", "flow", "stage", "2026-11-20T09:00:00", "pack.steps:step", options=options)


@pytest.mark.parametrize(
    "value", [float("inf"), float("nan"), {1, 2}, Decimal("1.5"), datetime.date(2026, 1, 1), object()]
)
def test_parameters_that_json_cannot_tell_apart_are_refused(value: object) -> None:
    with pytest.raises(SpecError, match=r"stage flow.stage, pack.steps:step: options must be JSON"):
        as_json(with_options(job(params={"limit": value}), Keywords))


def test_equal_options_have_one_digest_however_they_are_written() -> None:
    written = as_json(with_options(job(columns=("a", "b"), pause=5, rounds=1), Counted))
    assert written == as_json(with_options(job(pause=5.0, columns=["a", "b"]), Counted))


def test_a_template_may_fill_in_numbers_and_truths_as_text() -> None:
    given = with_options(job(rounds="3", pause="0.5", required="true"), Counted).options
    assert (given.rounds, given.pause, given.required) == (3, 0.5, True)
    with pytest.raises(SpecError, match=r"option rounds: .*integer"):
        with_options(job(rounds="three"), Counted)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"rownds": 1}, "unknown option rownds; it takes rounds, pause"), ({"rownds": ""}, "unknown option rownds"),
     ({"rounds": None}, "option rounds is missing"), ({"rounds": ""}, "option rounds is missing")],
)  # fmt: skip
def test_what_is_wrong_is_named_with_what_the_step_takes(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        with_options(job(**options), Counted)


def test_nothing_falls_back_where_a_name_was_left_empty() -> None:
    with pytest.raises(SpecError, match="option conn_id is missing"):  # else a model that nobody named were asked
        with_options(job(**ADVISE, conn_id=None), AdviseOptions)
    for empty in ("", None):  # else orders became mails
        with pytest.raises(SpecError, match="option endpoint is missing"):
            with_options(job(effect="order", conn_id="shop", endpoint=empty, receipt="id"), DeliverOptions)
    with pytest.raises(SpecError, match="option endpoint is missing"):
        with_options(job(effect="order", conn_id="shop", endpoint=""), DeliverOptions)


def test_a_step_called_alone_looks_first() -> None:
    step = Step(lambda given: given.seen, Counted, lambda given: Seen({"rounds": given.options.rounds}, "read once"))
    assert step(job(rounds=2)) == "read once"
