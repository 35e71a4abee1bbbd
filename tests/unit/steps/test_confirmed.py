"""Looking up what people confirmed: never of this partition or a later one, the newest of a class, the same again."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.data.datasets import read
from baton.errors import BatonError
from baton.feedback.labels import record_labels
from baton.record import warehouse
from baton.stages.run import run
from baton.stages.slots import StageResult

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
commit, job, FLOW, HOURS = (STAGE[name] for name in ("commit", "job", "FLOW", "HOURS"))


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        yield folder


def orders(first: int, count: int = 4, **more: Any) -> pd.DataFrame:
    """Orders with the keys and amounts first, first + 1, ...; the odd ones are late."""
    keys = list(range(first, first + count))
    times = pd.Timestamp(HOURS[0], tz="UTC") + pd.to_timedelta(keys, unit="s")
    return pd.DataFrame({"order_id": keys, "ordered_at": times, "amount": [float(key) for key in keys], **more})


def history(home: Path, frame: pd.DataFrame) -> None:
    file = home / "data" / "shop" / "history.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    frame.assign(late=frame["order_id"] % 2).to_parquet(file)


def hour(number: int, first: int, labelled: int = 4) -> None:
    """Commit four orders of an hour, and labels for some of them."""
    commit("contract", number, orders(first))
    label(number, *range(first, first + labelled))


def label(number: int, *keys: int) -> None:
    with warehouse.write() as conn:
        record_labels(conn, FLOW, "outcome", "test", [(str(key), HOURS[number], key % 2) for key in keys], "late")


def confirmed(hour: int, **given: Any) -> StageResult:
    options = {"model": "late_order", "columns": ["amount"], "each": 20, **given}
    return run(job("confirmed", "baton.steps.confirmed:rows", hour, options=options))


def amounts(result: StageResult) -> list[float]:
    return list(read(result.ref)["amount"])


@pytest.fixture
def early(home: Path) -> Path:
    """A history of four orders, from before the first hour."""
    history(home, orders(-9))
    return home


def test_neither_this_partition_nor_a_later_one_counts(early: Path) -> None:
    for number in range(4):
        hour(number, 100 * (number + 1))
    before = [-9.0, -8, -7, -6, 100, 101, 102, 103]
    result = confirmed(1)
    assert amounts(result) == before
    assert {name: result.facts[name] for name in ("rows", "classes", "recent")} == {
        "rows": 8,
        "classes": 2,
        "recent": 4,
    }
    frame = read(result.ref)
    assert frame["late"].tolist() == [int(amount) % 2 for amount in before]
    assert frame["partition"].tolist() == [""] * 4 + [HOURS[0]] * 4


def test_a_history_that_knows_of_later_times_does_not_tell(home: Path) -> None:
    history(
        home, orders(3598, ordered_at=pd.Timestamp(HOURS[0], tz="UTC") + pd.to_timedelta([0, 3599, 3600, 3601], "s"))
    )
    assert amounts(confirmed(1)) == [3598.0, 3599]


def test_a_repeated_partition_finds_what_it_found(early: Path) -> None:
    hour(0, 100, labelled=1)
    first = confirmed(1)
    assert amounts(first)[4:] == [100.0]
    label(0, 101, 102)  # known since
    again = confirmed(1)
    assert again.cached
    assert amounts(again) == amounts(first)
    anew = confirmed(1, each=19)  # computed again, for another reason
    assert not anew.cached
    assert amounts(anew) == amounts(first)
    assert anew.facts["heard_by"] == first.facts["heard_by"]
    assert amounts(confirmed(2))[4:] == [100.0, 101, 102]


def test_what_earlier_partitions_hold_is_followed(early: Path) -> None:
    hour(0, 100)
    first = confirmed(1)
    commit("contract", 0, orders(100, amount=[100.5, 101, 102, 103]))  # repaired
    again = confirmed(1)
    assert not again.cached
    assert amounts(again) == [*amounts(first)[:4], 100.5, 101, 102, 103]


def test_the_newest_distinct_rows_of_every_class_are_taken(early: Path) -> None:
    hour(0, 100)
    hour(1, 200)
    commit("contract", 2, orders(300, amount=[100.0, 300, 301, 300]))
    label(2, 300, 301, 302, 303)
    # not late: 100 once, 301; late: 300 once
    assert amounts(confirmed(3, each=2)) == [203.0, 100, 301, 300]
    assert amounts(confirmed(3, each=3)) == [201.0, 202, 203, 100, 301, 300]
    assert amounts(confirmed(3, partitions=1)) == [-9.0, -8, -7, -6, 100, 301, 300]


def test_without_anything_known_there_is_an_empty_frame(pack: Path) -> None:
    yaml = pack / "models/late_order.yaml"
    yaml.write_text(yaml.read_text().replace("  history: {source: orders}\n", ""))
    hour(0, 100, labelled=0)
    result = confirmed(1)
    assert (result.facts["rows"], result.facts["classes"]) == (0, 0)
    assert list(read(result.ref)) == ["amount", "late", "partition"]


def test_a_column_that_is_not_there_is_named(early: Path) -> None:
    with pytest.raises(
        BatonError, match="model late_order: the rows with a known truth have no column weight; they have"
    ):
        confirmed(0, columns=["amount", "weight"])
