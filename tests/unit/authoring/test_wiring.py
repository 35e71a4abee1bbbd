"""A DAG file that wires a step wrongly is refused when it is parsed, with the names that the step takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from baton.authoring import wiring
from baton.errors import SpecError

STEPS = '''"""Steps of a pack."""
import numpy_that_is_not_there
import pandas as pd
from baton.specs.base import Spec
from baton.stages import StageJob, StageOutput, engine_step
from baton.stages.step import row_local
from pydantic import Field, create_model
from wired_pack import more
from wired_pack.more import Settled, imported
from wired_pack.more import Settled as Renamed


class SettleOptions(Settled):
    """Options of `settle`."""

    answer: dict | None = None


def decide(orders: pd.DataFrame, scores: pd.DataFrame, factor: int = 2, *, cap: float | None = None) -> pd.DataFrame:
    return orders


@row_local
def local(orders: pd.DataFrame) -> pd.DataFrame:
    return orders


@row_local
def priced(orders: pd.DataFrame, factor: int = 2) -> pd.DataFrame:
    return orders


@row_local(orders=["amount"])
def narrow(orders: pd.DataFrame) -> pd.DataFrame:
    return orders


@row_local
@more.twice
def marked_twice(orders): ...


def gather(**frames: pd.DataFrame) -> pd.DataFrame:
    return frames["a"]


@engine_step(SettleOptions)
def settle(job: StageJob) -> StageOutput: ...


@engine_step(options=SettleOptions, fingerprint=lambda job: {})
def settle_again(job: StageJob) -> StageOutput: ...


@engine_step()
def alone(job: StageJob) -> StageOutput: ...


@engine_step(more.Settled)
def by_attribute(job): ...


class Mine(more.Settled):
    """A base that is not a plain name."""


@engine_step(Mine)
def of_mine(job): ...


@engine_step(Renamed)
def renamed(job): ...


@engine_step(create_model("Made", a=(int, 1)))
def made(job): ...


@with_rules
def decorated(orders, rules): ...


mark = engine_step(SettleOptions)


@mark
def marked(job): ...


try:
    def nested(job): ...
except ImportError:
    nested = None


class Needy(Spec):
    model: str = Field(description="needed")
    share: float = Field(default=0.1)


@engine_step(Needy)
def needy(job): ...
'''
MORE = "from baton.specs.base import Spec\nclass Settled(Spec):\n    limit: float = 1.0\ndef imported(a): return a\n"


@pytest.fixture(autouse=True, scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("site") / "wired_pack"
    folder.mkdir()
    for name, text in {"__init__": "", "steps": STEPS, "more": MORE}.items():
        (folder / f"{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder.parent)
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "wired_pack"]:
        del sys.modules[name]


def check(step: str, options: dict[str, object] | None = None, **inputs: object) -> None:
    wiring.check("task", f"wired_pack.steps:{step}", options or {}, inputs)


def test_what_fits_is_taken() -> None:
    check("decide", orders=1, scores=2)
    check("decide", {"params": {"factor": 3, "cap": 1.0}}, orders=1, scores=2)
    check("gather", a=1, b=2)
    check("settle", {"answer": None, "limit": 2.0}, decisions=1, after=2)
    check("settle_again", {"answer": None})
    check("alone", after=1)
    check("imported", {"anything": 1})  # its source stands elsewhere
    check("renamed", {"limit": 1.0})
    check("needy", {"model": "m"})
    check("local", {"engine": "spark", "conn_id": "ours"}, orders=1)
    check("decide", {"params": object()}, orders=1, scores=2)  # the result of a stage, known in the run


def test_a_persons_answer_goes_where_the_step_looks() -> None:
    def given(step: str, options: dict[str, object]) -> dict[str, object]:
        return wiring.with_answers(f"wired_pack.steps:{step}", options, {"answer": 7})

    assert given("decide", {"params": {"cap": 1.0}}) == {"params": {"cap": 1.0, "answer": 7}}
    assert given("settle", {"limit": 2.0}) == {"limit": 2.0, "answer": 7}
    assert wiring.with_answers("wired_pack.steps:decide", {}, {}) == {}


@pytest.mark.parametrize("step", ["by_attribute", "of_mine", "made", "decorated", "marked", "nested"])
def test_what_the_source_does_not_say_for_sure_is_left_to_the_run(step: str) -> None:
    check(step, {"anything": 1}, whatever=1)


@pytest.mark.parametrize(
    ("step", "options", "inputs", "said"),
    [
        ("settle", {"anwser": {}}, {}, r"no option `anwser`.*did you mean `answer`.*It takes limit, answer"),
        ("settle_again", {"step": "1h"}, {}, r"no option `step`.*It takes limit, answer"),
        ("alone", {"answer": {}}, {}, r"no option `answer`.*It takes none"),
        ("decide", {"answer": {}}, {"orders": 1, "scores": 2}, r"no option `answer`.*It takes params"),
        (
            "decide",
            {"cap": 1.0},
            {"orders": 1, "scores": 2},
            r"no option `cap`: give `cap` by its name, or in {'params': ",
        ),
        ("decide", {"params": {"factr": 1}}, {"orders": 1, "scores": 2}, r"no frame or parameter `factr`.*factor"),
        ("decide", {}, {"orders": 1, "score": 2}, r"no frame or parameter `score`.*did you mean `scores`"),
        ("decide", {}, {"orders": 1}, r"it needs scores"),
        ("needy", {"share": 0.5}, {}, r"it needs model"),
        ("renamed", {"limits": 1}, {}, r"no option `limits`.*did you mean `limit`"),
        (
            "decide",
            {"engine": "spark"},
            {"orders": 1, "scores": 2},
            r"engine: spark needs a function that is marked `@row_local`",
        ),
        (
            "local",
            {"engine": "sprak"},
            {"orders": 1},
            r"no engine `sprak`.*did you mean `spark`.*There are local, spark",
        ),
        ("local", {"engine": "spark"}, {"order": 1}, r"no frame or parameter `order`"),
        ("decides", {}, {}, r"has no 'decides'.*did you mean `decide`"),
    ],
)
def test_what_does_not_fit_is_named(step: str, options: dict, inputs: dict, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        check(step, options, **inputs)


@pytest.mark.parametrize(
    ("step", "said"),
    [("wired_pack.stps:decide", "no module wired_pack.stps"), ("wired_pack.steps.decide", "expected 'package.module:function'"),
     ("nowhere.steps:decide", "nowhere")],
)  # fmt: skip
def test_a_path_that_leads_nowhere_is_named(step: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        wiring.check("task", step, {})


def test_nothing_of_the_step_is_imported() -> None:
    code = (
        "import sys; from baton.authoring import wiring\n"
        "wiring.check('a', 'baton_packs.supply_chain.steps:place', {'answer': None})\n"
        "wiring.check('a', 'baton.steps.advise:advise', {'agent': 'x', 'max_calls': 1})\n"
        "late = {'pandas', 'baton_packs.supply_chain.steps', 'baton.steps.advise', 'baton.stages.job'} & set(sys.modules)\n"
        "assert not late, late\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_function_that_is_row_local_is_known_and_its_frames_are_compared(pack: None) -> None:
    paths = [
        "wired_pack.steps:priced",
        "wired_pack.steps:narrow",
        "wired_pack.steps:decide",
        "wired_pack.steps:marked_twice",
        "baton.steps.score:score",
    ]
    assert [wiring.is_row_local(path) for path in paths] == [True, True, False, False, False]
    with pytest.raises(SpecError, match="no frame or parameter `ordrs`"):
        wiring.check("price", paths[0], {}, {"ordrs": None})
