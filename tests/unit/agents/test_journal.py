"""A run that was killed asks only for what it has not heard yet; its journal holds masked answers, and ends with it."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel, Field

from baton.agents.case import AgentQuestion
from baton.agents.spec import AgentSpec
from baton.data.datasets import read
from baton.stages import slots
from baton.stages.run import run

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
Scripted = runpy.run_path(str(Path(__file__).parents[1] / "scripted_model.py"))["Scripted"]
ORDERS = pd.DataFrame(
    {"order_id": [f"o{i}" for i in range(10)], "name": [f"Person{chr(65 + i)} Smith" for i in range(10)]}
)


class Killed(BaseException):
    """No task may catch it."""


class Reply(BaseModel):
    text: str = Field(max_length=60)


def _cases(orders: pd.DataFrame) -> list[AgentQuestion]:
    return [
        AgentQuestion(
            row["order_id"], {"order": row["order_id"]}, {"name": row["name"]}, personal={"NAME": [row["name"]]}
        )
        for row in orders.to_dict("records")
    ]


SPEC = AgentSpec("clerk", Path(__file__), Reply, _cases, lambda case, reply: reply, lambda case: Reply(text="as it is"))


@pytest.fixture(autouse=True)
def warehouse(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        prompt = folder / "prompts" / "clerk.md"  # where people answer for it
        prompt.parent.mkdir()
        prompt.write_text(SPEC.instructions)
        monkeypatch.setattr(f"{__name__}.SPEC", replace(SPEC, prompt=prompt))
        yield


def advise(model: Any, **job: Any) -> Any:
    return run(
        STAGE["job"](
            "advise",
            "baton.steps.advise:advise",
            inputs={"orders": STAGE["commit"]("contract", 0, ORDERS)},
            options={"agent": f"{__name__}:SPEC"},
            connections=STAGE["Connected"](model),
            **job,
        )
    )


def kept(home: Path) -> list[Path]:
    return sorted((home / "store").rglob("journal/*.json"))


def test_a_killed_run_asks_only_for_the_rest(home: Path) -> None:
    first = Scripted(*[{"text": "Dear [NAME_1]."}] * 7, Killed())
    with pytest.raises(Killed):
        advise(first)
    assert (len(first.asked), len(kept(home))) == (8, 7)
    texts = [path.read_text() for path in kept(home)]
    assert not any("Smith" in text or "Person" in text for text in texts), "masked text only"
    second = Scripted(good={"text": "Hello [NAME_1]."})
    result = advise(second)
    assert len(second.asked) == 3
    rows = read(result.ref)
    assert rows["text"].tolist() == [
        *(f"Dear {name}." for name in ORDERS["name"][:7]), *(f"Hello {name}." for name in ORDERS["name"][7:]),
    ]  # fmt: skip
    assert (result.facts["asked"], result.facts["calls"], result.facts["replayed"]) == (10, 10, 7)
    assert rows["input_tokens"].gt(0).all(), "what was paid before still counts"
    assert kept(home) == [], "the run is over"


def test_a_commit_that_fails_keeps_the_answers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(point: str) -> None:
        if point == "before_commit":
            raise OSError("the database went away")

    STAGE["commit"]("contract", 0, ORDERS)
    first = Scripted(good={"text": "Dear [NAME_1]."})
    with monkeypatch.context() as patched:
        patched.setattr(slots, "FAULT", fail)
        with pytest.raises(OSError, match="went away"):
            advise(first)
    assert (len(first.asked), len(kept(home))) == (10, 10)
    again = Scripted(good={"text": "Hello."})
    assert advise(again).facts["replayed"] == 10
    assert again.asked == []
    assert kept(home) == []


def test_half_an_answer_and_one_that_was_not_accepted_are_asked_for_again(home: Path) -> None:
    with pytest.raises(Killed):
        advise(Scripted({"text": "Dear [NAME_1]."}, "no json", "no json", {"text": "bob@evil.example"}, Killed()))
    (path,) = kept(home)
    path.write_text(path.read_text()[:20])
    again = Scripted(good={"text": "Hello."})
    assert advise(again).facts["replayed"] == 0
    assert len(again.asked) == 10


def test_another_model_or_a_dry_run_takes_none_of_it(home: Path) -> None:
    with pytest.raises(Killed):
        advise(Scripted({"text": "Dear."}, Killed()))
    with pytest.raises(Killed):
        advise(Scripted({"text": "Dear."}, Killed()), dry_run=True)
    assert len(kept(home)) == 1, "a dry run keeps none"
    other = Scripted(good={"text": "Hello."})
    other.name = "scripted:two"
    advise(other)
    assert len(other.asked) == 10


def test_a_store_that_takes_no_answers_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    class Full:
        def cat_file(self, path: str) -> bytes:
            raise FileNotFoundError(path)

        def makedirs(self, path: str, exist_ok: bool) -> None:
            raise OSError(28, "no space left")

        exists = staticmethod(lambda path: False)

    opened = fsspec.core.url_to_fs
    monkeypatch.setattr(
        fsspec.core, "url_to_fs", lambda url, **given: (Full(), url) if "/journal" in url else opened(url, **given)
    )
    facts = advise(Scripted(good={"text": "Hello."})).facts
    assert facts["accepted"] == 10
    assert facts["degraded"] == ["agent clerk: results could not be kept for a retry (OSError)"]
    assert json.dumps(facts).count("Smith") == 0
