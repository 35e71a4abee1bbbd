"""Which rows get reason codes: the highest scores, of a small batch enough of them where people are told the reasons."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.families import family
from baton.families.tabular.family import EXPLAINED
from baton.specs.tabular import ReasonSpec

REASONS = (ReasonSpec(code="x", features=("x",), text="It is x."),)


class Fitted:
    """Scores rows by their number; counts the rows that it explains."""

    explained = 0

    def predict(self, frame: pd.DataFrame) -> Any:
        return SimpleNamespace(probability=frame["x"].to_numpy(dtype=float) / 1000)

    def explain(self, frame: pd.DataFrame) -> list[list[tuple[str, float]]]:
        self.explained += len(frame)
        return [[("x", 1.0)]] * len(frame)


@pytest.mark.parametrize(
    ("rows", "share", "reasons", "wanted"),
    [(100, 0.02, (), 2), (100, 0.02, REASONS, EXPLAINED), (10, 0.02, REASONS, 10), (1000, 0.1, REASONS, 100), (100, 0.0, REASONS, 0)],
)  # fmt: skip
def test_the_highest_scores_get_codes_and_no_other_row_costs_any(
    rows: int, share: float, reasons: Any, wanted: int
) -> None:
    spec: Any = SimpleNamespace(reasons=reasons, data=SimpleNamespace(entity="id"))
    x = np.random.default_rng(3).permutation(rows)
    data, fitted = pd.DataFrame({"id": x, "x": x, "_row": x}), Fitted()
    scored = family("classification").score(spec, fitted, data, share)  # type: ignore[arg-type]
    with_codes = scored[scored["reasons"].notna()]
    assert (len(with_codes), fitted.explained) == (wanted, wanted)
    assert set(with_codes["_row"]) == set(range(rows - wanted, rows))
