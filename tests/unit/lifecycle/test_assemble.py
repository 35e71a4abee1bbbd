"""What a version learns from and what it is judged on: never the same rows, and the same ones every time."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.data.datasets import read
from baton.errors import BatonError
from baton.families.tabular.family import split
from baton.feedback.known_rows import HOLDOUT, TRAIN, Recent, held_out_by_hash
from baton.feedback.labels import record_labels
from baton.lifecycle import assemble as training
from baton.packs.pack import find_model
from baton.record import warehouse
from baton.stages.run import run
from baton.stages.slots import StageResult

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
job, committed, FLOW, HOURS = (STAGE[name] for name in ("job", "committed", "FLOW", "HOURS"))
START = pd.Timestamp("2026-11-01", tz="UTC")


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        yield folder


def orders(first: int, count: int, start: pd.Timestamp = START) -> pd.DataFrame:
    """Orders by the minute with the keys first, first + 1, ...; every fifth is late."""
    keys = np.arange(first, first + count)
    times = start + pd.to_timedelta(np.arange(count), unit="min")
    return pd.DataFrame({"order_id": keys, "ordered_at": times, "amount": keys / 10, "late": (keys % 5 == 0) * 1})


def history(home: Path, frame: pd.DataFrame) -> None:
    file = home / "data" / "shop" / "history.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(file)


def hour(number: int, frame: pd.DataFrame, labelled: float = 1.0) -> None:
    """Commit an hour of the flow, and labels for the first share of its rows."""
    committed("contract", number, frame.drop(columns="late"))
    known = frame.head(round(len(frame) * labelled))
    with warehouse.write() as conn:
        given = [(str(key), HOURS[number], late) for key, late in zip(known["order_id"], known["late"], strict=True)]
        record_labels(conn, FLOW, "outcome", "test", given, "late")


def assemble(**asked: Any) -> StageResult:
    return run(job("assemble", "baton.lifecycle.assemble:assemble", options={"model": "late_order"}, **asked))


def limited(pack: Path, what: str) -> None:
    yaml = pack / "models/late_order.yaml"
    yaml.write_text(yaml.read_text().replace("stage: contract}", f"stage: contract, {what}}}"))


def parts(frame: pd.DataFrame) -> dict[str, set[int]]:
    return {str(part): set(rows["order_id"]) for part, rows in frame.groupby("_part")}


def spec(**training_fields: Any) -> Any:
    _, found = find_model("late_order")
    return found.model_copy(update={"training": found.training.model_copy(update=training_fields)})


def keys_held(frame: pd.DataFrame, share: float = 0.4) -> set[int]:
    return set(frame["order_id"][held_out_by_hash(frame["order_id"], share)])


# --- split ---


def test_without_recent_rows_the_latest_part_of_the_history_is_held_out() -> None:
    frame = orders(0, 400).sample(frac=1, random_state=1).assign(_part="", _weight=1.0)
    train, holdout = split(spec(), frame)
    assert train["order_id"].tolist() == list(range(300))
    assert holdout["order_id"].tolist() == list(range(300, 400))
    assert train.index.tolist() == list(range(300))
    _, wider = split(spec(holdout=0.5), frame)
    assert wider["order_id"].min() == 200


def test_with_held_out_recent_rows_all_of_the_history_trains() -> None:
    old = orders(0, 200).assign(_part="", _weight=1.0)
    new = orders(1000, 100, START + pd.Timedelta("1d")).assign(_weight=5.0, _part=[TRAIN, HOLDOUT] * 50)
    train, holdout = split(spec(), pd.concat([new, old], ignore_index=True))
    assert set(holdout["order_id"]) == set(range(1001, 1100, 2))
    assert set(train["order_id"]) == set(range(200)) | set(range(1000, 1100, 2))
    assert train["ordered_at"].is_monotonic_increasing


def test_recent_rows_that_all_train_leave_the_history_its_holdout() -> None:
    old = orders(0, 200).assign(_part="", _weight=1.0)
    new = orders(1000, 10, START + pd.Timedelta("1d")).assign(_weight=5.0, _part=TRAIN)
    train, holdout = split(spec(), pd.concat([old, new], ignore_index=True))
    assert holdout["order_id"].tolist() == list(range(150, 200))
    assert len(train) == 160


def test_too_few_rows_or_positives_say_what_there_is_and_what_to_do() -> None:
    frame = orders(0, 120).assign(_part="", _weight=1.0)
    words = (
        "model late_order: 90 training rows with 18 positives; the spec asks for at least 100 and 10: "
        r"wait for more labels or lower training.min_\*"
    )
    with pytest.raises(BatonError, match=words):
        split(spec(), frame)
    with pytest.raises(BatonError, match="at least 50 and 19"):
        split(spec(min_rows=50, min_positives=19), frame)
    assert len(split(spec(min_rows=90, min_positives=18), frame)[0]) == 90


# --- held out by hash ---


def test_the_same_keys_are_held_out_every_time_and_about_the_share() -> None:
    keys = pd.Series(range(20_000))
    held = held_out_by_hash(keys, 0.4)
    assert held.mean() == pytest.approx(0.4, abs=0.02)
    assert held_out_by_hash(keys.astype(str), 0.4).tolist() == held.tolist()
    assert held_out_by_hash(keys.iloc[::-1], 0.4).tolist() == held[::-1].tolist()
    assert held_out_by_hash(keys.iloc[500:600], 0.4).tolist() == held[500:600].tolist()
    assert held_out_by_hash(keys, 0.1)[~held].sum() == 0  # a smaller share is a part of the larger one
    assert np.flatnonzero(held[:12]).tolist() == [4, 6]  # on every machine, under every version


# --- assemble ---


def test_history_and_labelled_recent_rows_are_put_together(home: Path) -> None:
    history(home, orders(0, 100))
    recent = orders(1000, 50, START + pd.Timedelta("19d"))
    hour(0, recent)
    result = assemble()
    assert result.facts == {"rows_in": 150, "recent": 50}
    frame = read(result.ref)
    held = keys_held(recent)
    assert parts(frame) == {"": set(range(100)), HOLDOUT: held, TRAIN: set(recent["order_id"]) - held}
    assert frame.groupby("_partition")["_weight"].unique().map(list).to_dict() == {"": [1.0], HOURS[0]: [5.0]}
    merged = frame[frame["order_id"] >= 1000].set_index("order_id")["late"]
    assert merged.to_dict() == recent.set_index("order_id")["late"].to_dict()
    assert frame["_row"].is_unique


def test_a_history_of_text_goes_with_the_typed_rows_of_a_flow(home: Path, pack: Path) -> None:
    sources = pack / "sources.yaml"
    sources.write_text(sources.read_text().replace("history.parquet", "history.csv"))
    history(home, orders(0, 100))
    orders(0, 100).to_csv(home / "data/shop/history.csv", index=False)
    hour(0, orders(1000, 50))
    assert assemble().facts == {"rows_in": 150, "recent": 50}


def test_a_partition_counts_once_half_of_its_rows_are_labelled(home: Path) -> None:
    history(home, orders(0, 100))
    hour(0, orders(1000, 50), labelled=0.48)
    assert assemble().facts == {"rows_in": 100, "recent": 0}
    hour(0, orders(1000, 50), labelled=0.5)
    assert assemble().facts == {"rows_in": 125, "recent": 25}


def test_held_out_rows_from_before_the_regime_are_learnt_by_nobody(home: Path) -> None:
    history(home, orders(0, 100))
    before, after = orders(1000, 50), orders(2000, 50)
    hour(0, before)
    hour(1, after)
    frame = read(assemble(since=HOURS[1]).ref)
    learnt = set(before["order_id"]) - keys_held(before) | set(after["order_id"]) - keys_held(after)
    assert parts(frame) == {"": set(range(100)), HOLDOUT: keys_held(after), TRAIN: learnt}
    everything = parts(read(assemble().ref))
    assert everything[HOLDOUT] == keys_held(before) | keys_held(after)
    assert everything[TRAIN] == learnt


def test_an_order_of_the_history_that_a_backfill_brings_again_is_there_once(home: Path) -> None:
    history(home, orders(0, 100))
    hour(0, orders(80, 40))
    frame = read(assemble().ref)
    assert frame["order_id"].is_unique
    assert len(frame) == 120
    assert parts(frame)[""] == set(range(80))


def test_held_out_rows_from_before_the_regime_are_not_learnt_from_the_history_either(home: Path) -> None:
    history(home, orders(0, 100))
    before = orders(80, 40)
    hour(0, before)
    hour(1, orders(2000, 50))
    learnt = set(read(assemble(since=HOURS[1]).ref).query(f"_part != '{HOLDOUT}'")["order_id"])
    assert learnt & keys_held(before) == set()


def test_only_the_newest_partitions_count_and_the_result_says_so(home: Path, pack: Path) -> None:
    limited(pack, "partitions: 2")
    history(home, orders(0, 100))
    for number in range(3):
        hour(number, orders(1000 * (number + 1), 50))
    assert assemble().facts == {"rows_in": 200, "recent": 100, "older_left_out": f"partitions before {HOURS[1]}"}


def test_of_too_many_rows_the_large_class_is_sampled_and_counts_for_more(home: Path, pack: Path) -> None:
    limited(pack, "rows: 1000")
    history(home, orders(0, 100))
    frames = [
        orders(10_000 * (number + 1), 2000).assign(late=lambda rows: (rows["order_id"] % 50 == 0) * 1)
        for number in range(2)
    ]
    for number, frame in enumerate(frames):
        hour(number, frame)
    result = assemble()
    assert result.facts["sampled"] == {"1.0": 1.0, "0.0": round(920 / 3920, 6), HOLDOUT: 0.25}
    frame = read(result.ref).query("_partition != ''")
    learnt, judged = (frame[frame["_part"] == part] for part in (TRAIN, HOLDOUT))
    known = pd.concat(frames)
    late = set(known["order_id"][known["late"] == 1])
    assert set(learnt["order_id"][learnt["late"] == 1]) == late - keys_held(known)  # none of what is rare is lost
    assert 480 < len(learnt) < 680
    assert learnt.groupby("late")["_weight"].sum().to_dict() == pytest.approx(
        {0: 5 * 3920 * 0.6, 1: 5 * 80 * 0.6}, rel=0.15
    )
    assert set(judged["order_id"]) < keys_held(known)
    assert len(judged) == pytest.approx(0.4 * 4000 * 0.25, rel=0.15)  # as they come, or figures would flatter
    assert judged["_weight"].unique().tolist() == [5.0]
    assert read(assemble(since=HOURS[0]).ref)["order_id"].tolist() == read(result.ref)["order_id"].tolist()


def test_looking_for_recent_rows_costs_the_same_after_ten_times_as_many_partitions(pack: Path) -> None:
    limited(pack, "partitions: 20")
    sent, found = [], find_model("late_order")[1]
    for many in (50, 500):
        hours = STAGE["grown"](many, ("contract",))
        with warehouse.write() as conn:
            record_labels(conn, FLOW, "outcome", "test", [(hour, hour, 1) for hour in hours], "late")
        with STAGE["statements"]() as seen:
            recent = Recent.of(found)
        assert (list(recent.counts or {}), recent.older) == (hours[-20:], True)
        sent.append(len(seen))
    assert sent[0] == sent[1] <= 6


def test_rows_are_assembled_anew_when_what_they_depend_on_changes(home: Path, pack: Path) -> None:
    history(home, orders(0, 100))
    recent = orders(1000, 50)
    hour(0, recent)
    first = assemble()
    assert assemble().cached
    digests = {first.digest, assemble(since=HOURS[0]).digest}

    hour(0, recent.assign(late=recent["late"].iloc[::-1].to_numpy()))  # as many positives, other ones
    digests.add(assemble().digest)
    history(home, orders(0, 99))
    digests.add(assemble().digest)
    yaml = pack / "models/late_order.yaml"
    yaml.write_text(yaml.read_text().replace("recent_weight: 5.0", "recent_weight: 2.0"))
    digests.add(assemble().digest)
    assert len(digests) == 5
    yaml.write_text(yaml.read_text().replace("owner: tests", "owner: others"))
    assert assemble().cached


def test_a_training_is_named_by_the_last_labelled_partition_that_is_committed() -> None:
    assert training.as_of("late_order") == "history"
    hour(1, orders(1000, 50))
    hour(0, orders(2000, 50))
    committed("contract", 2, orders(3000, 50))  # no labels yet
    with warehouse.write() as conn:
        record_labels(conn, FLOW, "outcome", "test", [("1", HOURS[3], 1)], "late")  # labels without a partition
    assert training.as_of("late_order") == HOURS[1]


def test_without_history_and_labels_there_is_nothing_to_learn_from(pack: Path) -> None:
    yaml = pack / "models/late_order.yaml"
    yaml.write_text(yaml.read_text().replace("  history: {source: orders}\n", ""))
    with pytest.raises(BatonError, match="model late_order: there is no history and no partition with its truth yet"):
        assemble()


def test_the_last_training_is_the_newest_one_that_committed_its_rows() -> None:
    flow, frame = "late_order_train", orders(0, 10)
    assert training.last_training("late_order") is None
    assert training.occasions("late_order") == []
    committed("assemble", 1, frame, flow)
    assert training.last_training("late_order") is None  # its rows have not passed their contract
    committed("contract", 1, frame, flow)
    later = committed("assemble", 0, frame.head(5), flow)  # of an earlier partition, but run later
    committed("contract", 0, frame.head(5), flow)
    assert training.occasions("late_order") == [HOURS[1], HOURS[0]]
    assert training.last_training("late_order") == later.created_at
