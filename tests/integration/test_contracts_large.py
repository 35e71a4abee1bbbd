"""Contracts on large frames: what Great Expectations is shown in another form is judged all the same."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.contracts import engine


@pytest.mark.parametrize("nulls", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("rare", [0, 30])
def test_a_text_column_judged_by_number_gives_the_same_result(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, nulls: float, rare: int
) -> None:
    """Of a large frame GX sees columns of few texts as categorical ones; all it says stays letter for letter."""
    rng = np.random.default_rng([rare, int(nulls * 10)])
    texts = np.array(["card", "cash", "x", *(f"rare{number}" for number in range(rare))], dtype=object)
    word = pd.Series(rng.choice(texts, 300), dtype=object)
    word[rng.random(300) < nulls] = None
    only = {"row_condition": 'word != "x"', "condition_parser": "pandas"}
    rules: list[tuple[str, dict[str, Any]]] = [
        ("be_in_set", {"value_set": ["card", "cash", "nowhere"]}), ("be_in_set", {"value_set": ["card"], **only}),
        ("be_in_set", {"value_set": ["card"], "mostly": 0.5}), ("be_in_set", {"value_set": [1, 2]}),
        ("not_be_in_set", {"value_set": ["x"]}), ("be_null", {}), ("not_be_null", {}), ("not_be_null", only),
    ]  # fmt: skip
    entries = [
        bench.expectation(f"column_values_to_{what}", "warning", number, column="word", **given)
        for number, (what, given) in enumerate(rules)
    ]
    spec = bench.contract({"id": "int", "word": "str"}, entries, 1.0)
    seen = []
    monkeypatch.setattr(engine, "LARGE", -1)
    for few in (64, -1):
        monkeypatch.setattr(engine, "FEW", few)
        verdict, good = bench.ours(pd.DataFrame({"id": range(300), "word": word}), spec)
        seen.append((verdict.gx_result, verdict.violations, verdict.info, verdict.status, good.to_json()))
    assert len(seen[0][1]) > 0
    assert seen[0] == seen[1]
