"""A batch in parts is judged as the same rows in one: by random contracts, wherever it is cut, whatever people repair."""

from __future__ import annotations

import random
import re
import runpy
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from baton import quarantine
from baton.contracts import check as contracts
from baton.contracts import page as result_pages
from baton.contracts.check import ContractVerdict
from baton.contracts.parts import Judging
from baton.data import datasets, identity, parts
from baton.data import typed as parsing
from baton.errors import BatonError, NoData, SpecError
from baton.quarantine import batch, spool
from baton.quarantine.rows import Where
from baton.record import warehouse
from baton.settings import settings
from baton.specs.contract import ContractSpec
from baton.stages.job import StageJob
from baton.stages.slots import StageResult
from baton.steps import contract as step

SHOP: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("quarantine_orders.py")))
FLOW, HOUR, SPEC, raw = (SHOP[name] for name in ("FLOW", "HOUR", "SPEC", "raw"))
COLUMNS = {
    "id": "int",
    "shop": "str",
    "amount": "float",
    "count": "int",
    "at": "timestamp",
    "flag": "bool",
    "note": "str",
}


def rules(rng: random.Random) -> list[tuple[str, dict[str, Any]]]:
    """Each kind of rule that parts can be judged by, with bounds that are met or not."""
    some = [{}, {"mostly": 0.9}, {"mostly": 0.5}]
    how = rng.choice([{}, *({"allow_relative_error": name} for name in ("linear", "lower", "higher", "midpoint"))])
    quantiles = {"quantiles": [0.1, 0.5, 0.77], "value_ranges": [[None, 5], [0, rng.choice([1, 20])], [None, 50]]}
    only = rng.choice([{}, {"row_condition": "count > 3", "condition_parser": "pandas"}, *some])
    missing = rng.choice([{}, {"ignore_row_if": "any_value_is_missing"}, {"ignore_row_if": "never"}])
    between, column = "column_{}_to_be_between", rng.choice(["amount", "count"])
    return [
        *(("column_values_to_be_unique", {"column": name, **rng.choice(some)}) for name in COLUMNS),
        ("compound_columns_to_be_unique", {"column_list": ["shop", "count"], **missing}),
        ("compound_columns_to_be_unique", {"column_list": ["flag", "at", "amount"], **missing}),
        ("table_row_count_to_be_between", {"min_value": rng.choice([1, 40]), "max_value": 1000}),
        ("table_row_count_to_equal", {"value": rng.choice([50, 60])}),
        ("table_column_count_to_equal", {"value": 7}),
        ("column_to_exist", {"column": "amount"}),
        *((between.format(what), {"column": column, "min_value": rng.choice([-9, 3]), "max_value": rng.choice([6, 90])})
          for what in ("mean", "sum", "median", "stdev", "min", "max")),
        (between.format("quantile_values"), {"column": column, "quantile_ranges": quantiles, **how}),
        (between.format("unique_value_count"), {"column": "shop", "max_value": rng.choice([2, 5])}),
        (between.format("proportion_of_unique_values"), {"column": "id", "min_value": rng.choice([0.5, 1])}),
        (between.format("proportion_of_non_null_values"), {"column": "note", "min_value": rng.choice([0.01, 0.5])}),
        ("column_values_to_be_between", {"column": "amount", "min_value": 0, **only}),
        ("column_values_to_not_be_null", {"column": "amount", **only}),
        ("column_values_to_be_null", {"column": "note", **rng.choice(some)}),
        ("column_values_to_be_in_set", {"column": "shop", "value_set": ["a", "b"], **only}),
        ("column_values_to_not_be_in_set", {"column": "shop", "value_set": ["c"]}),
        ("column_value_lengths_to_be_between", {"column": "note", "max_value": 2}),
        ("column_values_to_match_regex", {"column": "note", "regex": "^x"}),
        ("column_pair_values_a_to_be_greater_than_b", {"column_A": "amount", "column_B": "count", **rng.choice(some)}),
        ("multicolumn_sum_to_equal", {"column_list": ["count", "id"], "sum_total": 7}),
        ("select_column_values_to_be_unique_within_record", {"column_list": ["shop", "note"]}),
    ]  # fmt: skip


def contract(rng: random.Random) -> ContractSpec:
    chosen = rng.sample(rules(rng), rng.randint(4, 14))
    return ContractSpec.model_validate({
        "contract": "random", "version": 1, "owner": "team", "description": "rows", "key": "id",
        "columns": {name: {"type": kind, "nullable": name != "id"} for name, kind in COLUMNS.items()},
        "tolerated": rng.choice([0.05, 0.5, 1.0]),
        "expectations": [
            {"type": f"expect_{kind}", "kwargs": given, "meta": {"rule": f"rule_{number}", "advice": "look"},
             "severity": rng.choice(["critical", "warning", "warning", "warning", "info"])}
            for number, (kind, given) in enumerate(chosen)
        ],
    })  # fmt: skip


def rows(rng: random.Random) -> pd.DataFrame:
    """Text as it arrives: keys that occur twice, cells that do not convert, columns that are empty here or throughout."""
    count, gaps = rng.randint(1, 80), rng.choice([0, 0.1, 0.5])

    def cells(made: Any, empty: float = gaps) -> list[str | None]:
        return [None if rng.random() < empty else str(made()) for _ in range(count)]

    frame = pd.DataFrame({
        "id": [number if rng.random() > 0.05 else rng.randint(1, count) for number in range(count)],
        "shop": cells(lambda: rng.choice("aabc")), "amount": cells(lambda: round(rng.gauss(5, 4), 2)),
        "count": cells(lambda: rng.randint(0, 9)), "flag": cells(lambda: rng.choice(["true", "false"])),
        "at": cells(lambda: f"2026-01-01T00:00:{rng.randint(0, 59):02}.{rng.randint(0, 3):09}Z"),
        "note": cells(lambda: rng.choice(["x", "xx", "yyy"]), rng.choice([0, 0.9, 1])),
    }, dtype=object)  # fmt: skip
    frame["id"] = frame["id"].astype(str).astype(object)
    for _ in range(rng.choice([0, 0, 1, 4])):
        frame.loc[rng.randrange(count), rng.choice(list(COLUMNS))] = rng.choice(["x?", "nul\0"])
    frame.loc[: rng.choice([-1, count // 2]), rng.choice(list(COLUMNS)[1:])] = None
    if rng.random() < 0.1:
        frame = frame.drop(columns=rng.choice(["note", "amount"]))
    return identity.with_row_identity(frame, "feed")


def said(verdict: ContractVerdict) -> tuple[Any, ...]:
    """The verdict; numbers to nine digits: a mean of parts may differ in the last."""

    def rounded(text: str) -> str:
        return re.sub(
            r"-?\d+\.\d{6,}(e-?\d+)?", lambda found: f"{float(found[0]) + 0.0:.9g}", text.replace("-0.0,", "0.0,")
        )

    sentences = [list(map(rounded, given)) for given in (verdict.info, verdict.aggregate_failures)]
    counts = (verdict.rows_in, verdict.rows_good, verdict.rows_bad)
    return verdict.status, counts, sentences, verdict.broken_by, verdict.dropped_columns


def cut(frame: pd.DataFrame, rng: random.Random) -> list[pd.DataFrame]:
    places = sorted({0, len(frame), *(rng.randint(0, len(frame)) for _ in range(rng.randint(0, 5)))})
    return [frame.iloc[start:end].reset_index(drop=True) for start, end in pairwise(places)]


@pytest.mark.parametrize("seed", range(24))
def test_the_same_rows_have_the_same_verdict_wherever_they_are_cut(seed: int) -> None:
    rng = random.Random(seed)
    spec, frame = contract(rng), rows(rng)
    parsed = parsing.parse(frame, spec)
    whole = contracts.check(parsed, spec)
    frames = [parsing.parse(some, spec) for some in cut(frame, rng)]
    with Judging(spec) as judging:
        for some in frames:
            judging.add(some)
        verdict = judging.verdict()
    violations = [one for number, some in enumerate(frames) for one in judging.violations(number, some)]
    assert said(verdict) == said(whole)
    assert violations == whole.violations
    if whole.status != "broken":
        good = pd.concat(
            [judging.good(number, some).to_pandas() for number, some in enumerate(frames)], ignore_index=True
        )
        pd.testing.assert_frame_equal(good, contracts.good_rows(parsed, whole))
    assert "Validation by Great Expectations" in result_pages.render_page(verdict)


@pytest.mark.parametrize("seed", range(24))
def test_frames_that_others_judged_come_to_the_verdict_of_one_who_saw_them_all(seed: int) -> None:
    rng = random.Random(seed)
    spec, frame = contract(rng), rows(rng)
    frames = [parsing.parse(some, spec) for some in cut(frame, rng)]
    place = rng.randint(0, len(frames))
    with Judging(spec) as alone, Judging(spec) as together:
        for some in frames:
            alone.add(some)
        for share in [frames[:place], frames[place:]]:
            with Judging(spec) as one:
                for some in share:
                    one.add(some)
                if share and (text := one.noted()) is not None:
                    together.take(text, one.kept())
                elif share:
                    return  # Great Expectations raised: the whole is judged by one
        whole, merged = alone.verdict(), together.verdict()
    left = [replace(one, seconds=0, bad_positions=0) for one in (whole, merged)]
    assert left[0] == left[1]
    for number, some in enumerate(frames):
        assert alone.violations(number, some) == together.violations(number, some)
        if whole.status != "broken":
            assert alone.good(number, some).equals(together.good(number, some), check_metadata=True)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("column_value_z_scores_to_be_less_than", {"column": "amount", "threshold": 3, "double_sided": True}),
        ("column_values_to_be_increasing", {"column": "id"}), ("column_median_to_be_between", {"column": "at"}),
        ("column_most_common_value_to_be_in_set", {"column": "shop", "value_set": ["a"]}),
        ("column_values_to_be_unique", {"column": "id", "row_condition": "id > 3", "condition_parser": "pandas"}),
    ],
)  # fmt: skip
def test_a_rule_that_parts_cannot_tell_is_refused_and_not_judged_part_by_part(kind: str, given: dict[str, Any]) -> None:
    rule = {"type": f"expect_{kind}", "kwargs": given, "severity": "warning", "meta": {"rule": "odd"}}
    spec = ContractSpec.model_validate({**contract(random.Random(1)).model_dump(), "expectations": [rule]})
    frame = parsing.parse(rows(random.Random(1)), spec)
    contracts.check(frame, spec)
    with Judging(spec) as judging, pytest.raises(SpecError, match=f"rule odd \\(expect_{kind}\\): which is not merged"):
        judging.add(frame)


# --- the stage ---


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("BATON_HOME", str(tmp_path))
    (tmp_path / "governance").write_text("single\n")  # who has to agree to a discard is not what these tests are about
    settings.cache_clear()
    warehouse.migrate()
    SHOP["as_pack"](monkeypatch)
    yield tmp_path
    warehouse.engine().dispose()
    settings.cache_clear()


@pytest.fixture
def in_parts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of eight rows, read in frames of three."""
    monkeypatch.setattr(parts, "ROWS", 8)
    monkeypatch.setattr(parts, "STEP", 1)
    monkeypatch.setattr(batch, "FRAME_ROWS", 3)
    monkeypatch.setattr(spool, "AT_ONCE", 2)


def delivered(rng: random.Random, count: int = 30) -> pd.DataFrame:
    """Orders, a fifth of them bad; the kind is empty but at the end."""
    frame = raw(
        [{"id": str(n), "amount": str(rng.randint(1, 99)), "kind": "z" if n > 25 else None} for n in range(count)]
    )
    for row in rng.sample(range(count), count // 5):
        column, cell = rng.choice(
            [("id", str(rng.randrange(count))), ("amount", "-3"), ("amount", "x"), ("amount", None)]
        )
        frame.loc[row, column] = cell
    return frame


def kept_of(result: StageResult) -> tuple[Any, ...]:
    """All that a run leaves, but the times and where it lies."""
    rows = [(row.row, row.row_sha, row.source, row.entity_key, row.rules, row.columns, row.values, row.advice, row.status,
             row.raw, row.repair) for row in quarantine.list_rows()]  # fmt: skip
    facts = {name: fact for name, fact in result.facts.items() if name not in ("seconds", "page")}
    page = (settings().reports_dir / result.facts["page"]).read_text(encoding="utf-8")
    counts = quarantine.accounting(FLOW, HOUR)
    return (
        datasets.read(result.ref).to_json(),
        rows,
        facts,
        counts,
        page.partition("Validation by Great Expectations")[0],
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_stage_leaves_the_same_whether_its_batch_came_in_parts(
    home: Path, request: pytest.FixtureRequest, seed: int
) -> None:
    left = []
    for many in (False, True):
        if many:
            with warehouse.write() as conn:
                for name in ("quarantine", "heads", "commits"):
                    conn.exec_driver_sql(f"DELETE FROM {name}")
            request.getfixturevalue("in_parts")
        rng, seen = random.Random(seed), []
        frame = delivered(rng)
        first = SHOP["deliver"](frame)
        assert (first.ref.kind == "manifest") == (many and first.ref.rows > 8)
        seen.append(kept_of(first))
        waiting = [row.row for row in quarantine.list_rows()]
        for row in rng.sample(waiting, 3):
            quarantine.repair(Where(row=row), {"amount": "7", "id": str(1000 + row)}, actor="ann")
        quarantine.discard(Where(row=rng.choice(waiting), status="open"), "no", actor="ann") if waiting else None
        seen.append(kept_of(SHOP["deliver"](frame)))
        frame["amount"] = "5000"  # broken as a whole, also where rows were repaired and discarded
        frame = raw(frame[["id", "amount", "kind"]].to_dict("records"))
        broken = SHOP["deliver"](frame)
        assert broken.facts["status"] == "broken"
        seen.append(kept_of(broken))
        left.append(seen)
    assert left[0] == left[1]


def test_integers_with_gaps_are_the_same_in_every_frame(home: Path, request: pytest.FixtureRequest) -> None:
    large = 2**60
    rows = [{"id": large + n, "amount": 5, "kind": None if n == 1 else n} for n in range(9)]
    frame = identity.with_row_identity(pd.DataFrame(rows, dtype=object), "feed")
    frame.loc[4, "id"] = None
    read = []
    for fixture in ("home", "in_parts"):
        request.getfixturevalue(fixture)
        result = SHOP["deliver"](frame)
        assert [row.rules for row in quarantine.list_rows()] == [("not_null",)]
        read.append(datasets.read(result.ref))
    assert read[0]["id"].tolist() == [large + n for n in range(9) if n != 4]
    assert read[0]["kind"].tolist()[:3] == ["0", None, "2"]
    pd.testing.assert_frame_equal(*read)


def test_what_a_broken_batch_cannot_keep_row_by_row_is_counted(in_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "HELD", 20)
    monkeypatch.setattr(spool, "EXAMPLES", 4)
    frame = raw([{"id": str(n), "amount": "-1" if n % 5 == 4 else "5000", "kind": "z"} for n in range(40)])
    result = SHOP["deliver"](frame)
    assert (result.facts["status"], result.facts["unlisted"], result.ref.rows) == ("broken", 36, 0)
    assert [row.row for row in quarantine.list_rows()] == [5, 10, 15, 20]
    assert quarantine.accounting(FLOW, HOUR)["open"] == 40
    with pytest.raises(BatonError, match="36 of them are counted and not listed: have the file delivered again"):
        step.require_good_rows(result.facts)


def test_more_bad_rows_than_people_can_repair_one_by_one_break_the_batch(
    in_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "HELD", 9)
    loose = SPEC.model_copy(update={"tolerated": 1.0})
    given = SimpleNamespace(contract=lambda name: loose, models={}, sources={})
    monkeypatch.setattr(StageJob, "load_pack", lambda job: given)
    result = SHOP["deliver"](raw([{"id": str(n), "amount": "-1" if n < 10 else "5", "kind": "z"} for n in range(20)]))
    assert result.facts["broken_by"] == ["too_many_bad_rows"]
    assert "people can repair 9" in result.facts["failures"][0]


def test_a_batch_in_parts_whose_rows_cannot_be_told_apart_is_refused(in_parts: None) -> None:
    frame = delivered(random.Random(5))
    frame["_row"] = [*range(1, 16), *range(1, 16)]
    with pytest.raises(BatonError, match=r"numbered upwards \(`_row`\), but 15 or one behind it does not follow 14"):
        SHOP["deliver"](frame)


def test_a_batch_in_parts_all_discarded_has_no_data(in_parts: None) -> None:
    frame = raw([{"id": str(n), "amount": "-1", "kind": "z"} for n in range(20)])
    SHOP["deliver"](frame)
    quarantine.discard(Where(flow=FLOW), "no", actor="ann")
    with pytest.raises(NoData, match="all 20 rows were discarded"):
        SHOP["deliver"](frame)
