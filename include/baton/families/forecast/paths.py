"""Joint demand of the periods ahead: sums over lead times need more than one quantile per period."""

import zlib
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.special import ndtr

CHUNK = 4_000_000  # numbers held at a time


def levels_of(frame: pd.DataFrame) -> list[float]:
    """The quantile levels that a scored frame has columns for, rising."""
    found = []
    for name in map(str, frame.columns):
        try:
            found.append(float(name.removeprefix("q")) if name.startswith("q") else np.nan)
        except ValueError:
            continue
    return sorted(level for level in found if 0 < level < 1)


def sample_paths(scored: pd.DataFrame, n: int, seed: int, floor: float | None = 0.0) -> dict[str, np.ndarray]:
    """Draw joint demand paths per series.

    A Gaussian copula with AR(1) correlation `dependence` over each period's quantile function: straight lines between
    the levels, the outermost ones continued. A series' paths depend on the seed and its name, not on the other series.

    Args:
        scored: rows of a scored frame, any number of series, each with the same steps.
        n: paths per series.
        floor: no demand lies below it; None: any value.

    Returns:
        series -> shape (n, steps), in units of the target.
    """
    ordered = scored.sort_values(["series", "step"], kind="stable")
    found: dict[str, np.ndarray] = {}
    for name, rows in ordered.groupby("series", sort=True):
        drawn = _noise([str(name)], n, len(rows), seed)
        found[str(name)] = _demand(rows, levels_of(scored), drawn, 1, floor)[0]
    return found


def case_paths(
    frame: pd.DataFrame, steps: int, n: int, seed: int, floor: float | None
) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
    """Draw paths for (series, origin) cases, chunk by chunk.

    Args:
        frame: sorted by series, origin and step, with exactly the steps 1..`steps` of each case.

    Yields:
        the chunk's rows of step 1 and its paths of shape (cases, n, steps). A case's draws depend on its series and
        origin only, so that two models are compared under the same luck.
    """
    levels = levels_of(frame)
    size = max(1, CHUNK // (n * steps)) * steps
    for begin in range(0, len(frame), size):
        rows = frame.iloc[begin : begin + size]
        first = rows.iloc[::steps]
        names = (first["series"].astype(str) + "@" + first["origin"].astype(str)).tolist()
        yield first, _demand(rows, levels, _noise(names, n, steps, seed), len(first), floor)


def _noise(names: list[str], n: int, steps: int, seed: int) -> np.ndarray:
    """Standard normal draws, shape (cases, n, steps)."""
    return np.stack([
        np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal((n, steps)) for name in names
    ])  # fmt: skip


def _demand(rows: pd.DataFrame, levels: list[float], noise: np.ndarray, cases: int, floor: float | None) -> np.ndarray:
    steps = noise.shape[2]
    quantiles = rows[[f"q{level:g}" for level in levels]].to_numpy(dtype=float).reshape(cases, steps, len(levels))
    rho = rows["dependence"].to_numpy(dtype=float).reshape(cases, steps)[:, :1]
    state = noise[:, :, 0]
    grid = np.asarray(levels)
    made = np.empty_like(noise)
    which = np.arange(cases)[:, None]
    for step in range(steps):
        if step:
            state = rho * state + np.sqrt(1 - rho**2) * noise[:, :, step]
        share = ndtr(state)
        right = np.clip(np.searchsorted(grid, share), 1, len(grid) - 1)
        low, high = quantiles[which, step, right - 1], quantiles[which, step, right]
        made[:, :, step] = low + (high - low) * (share - grid[right - 1]) / (grid[right] - grid[right - 1])
    return made if floor is None else np.maximum(made, floor)
