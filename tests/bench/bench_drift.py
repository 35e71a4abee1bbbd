"""Drift decision: speed, power, false alarms, independence of the number of rows; beside Evidently and KS.

    python tests/bench/bench_drift.py [seed]

Reference and windows are drawn from the same 20 distributions (normal, heavy-tailed, skewed, with ties). On
the converted card transactions (`baton data`), if they are there, the untouched hours and the simulated refit
are judged too. The peer is Evidently's `DataDriftPreset` with its defaults, in the same run; its per-column
verdicts on a frame with all 20 columns changed stand for 20 windows with one changed column each.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from baton.drift import compare as drift
from baton.drift.decision import MonitorVerdict, Window, decide
from baton.drift.report import report_html

ROWS, COLUMNS, NULL_WINDOWS, NULL_ROWS = 100_000, 20, 200, 8_000
NAMES = [f"x{i:02d}" for i in range(COLUMNS)]
SPEC = SimpleNamespace(
    min_rows=500, p_value=0.001, effect=0.2, fdr=0.01, persistence=SimpleNamespace(k=2, n=3), cooldown="1s",
    budget=SimpleNamespace(retrains=10_000, per="7d"), min_labelled_positives=0,
)  # fmt: skip


def draw(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """20 columns of unit scale, five of each shape."""
    table = rng.normal(size=(rows, COLUMNS))
    table[:, 5:10] = rng.standard_t(3, size=(rows, 5)) / np.sqrt(3)
    table[:, 10:15] = rng.gamma(4.0, size=(rows, 5)) / 2
    table[:, 15:] = np.round(table[:, 15:], 1)
    return pd.DataFrame(table, columns=NAMES)


def moved(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """One column up by 0.3 standard deviations."""
    return frame.assign(**{column: frame[column] + 0.3 * frame[column].std()})


def widened(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """One column 1.3 times as wide around its mean."""
    mean = frame[column].mean()
    return frame.assign(**{column: mean + 1.3 * (frame[column] - mean)})


def evidently(before: pd.DataFrame, after: pd.DataFrame) -> tuple[float, list[str]]:
    """Seconds of the preset with its defaults, and the columns that it calls drifted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import Report
        from evidently.presets import DataDriftPreset

        started = time.perf_counter()
        result = Report([DataDriftPreset()]).run(current_data=after, reference_data=before).dict()
        seconds = time.perf_counter() - started
    found = []
    for metric in result["metrics"]:
        config = metric.get("config", {})
        if config.get("type", "").endswith("ValueDrift"):
            p_value = "p_value" in config["method"]
            value, threshold = float(metric["value"]), config["threshold"]
            if (value < threshold) if p_value else (value >= threshold):
                found.append(config["column"])
    return seconds, found


def ks_flags(before: pd.DataFrame, after: pd.DataFrame) -> bool:
    """The plain recipe: a Kolmogorov-Smirnov test per column at 0.05."""
    return any(stats.ks_2samp(before[name], after[name]).pvalue < 0.05 for name in NAMES)


def found_alone(reference: dict[str, Any], change: Callable, rng: np.random.Generator) -> int:
    """In how many of 20 windows exactly the one changed column is named."""
    windows = ((name, change(draw(rng, ROWS), name)) for name in NAMES)
    return sum(drift.compare(reference, window, SPEC).drifted == [name] for name, window in windows)


def verdicts(reference: dict[str, Any], rng: np.random.Generator) -> tuple[float, float]:
    """Share of changes with one verdict at 10k, 100k and 1M rows: ours, and KS against 100k rows."""
    before = draw(rng, ROWS)
    changes: list[Callable] = [
        lambda frame: frame,
        lambda frame: frame + 0.05,  # real, too small to matter
        lambda frame: moved(frame, NAMES[3]),
        lambda frame: moved(frame, NAMES[12]),
        lambda frame: widened(frame, NAMES[7]),
        lambda frame: widened(frame, NAMES[17]),
    ]
    same = plain = 0
    for change in changes:
        windows = [change(draw(rng, rows)) for rows in (10_000, 100_000, 1_000_000)]
        same += len({tuple(drift.compare(reference, window, SPEC).drifted) for window in windows}) == 1
        flags = [tuple(stats.ks_2samp(before[n], w[n]).pvalue < 0.05 for n in NAMES) for w in windows]
        plain += len(set(flags)) == 1
    return same / len(changes), plain / len(changes)


def false_alarms(
    reference: dict[str, Any], before: pd.DataFrame, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Shares of 200 windows without drift: any feature flagged, training woken, any feature flagged by KS."""
    windows, woken, plain = [], 0, 0
    for i in range(NULL_WINDOWS):
        frame = draw(rng, NULL_ROWS)
        partition = (pd.Timestamp("2026-01-01") + pd.Timedelta(hours=i)).isoformat()
        named = tuple(drift.compare(reference, frame, SPEC).drifted)
        windows.append(Window(partition, 1, "judged", named, NULL_ROWS))
        woken += decide(windows, SPEC, now=partition).verdict is MonitorVerdict.RETRAIN
        plain += i % 10 == 0 and ks_flags(before, frame)
    flagged = sum(bool(window.drifted) for window in windows)
    return flagged / NULL_WINDOWS, woken / NULL_WINDOWS, plain / (NULL_WINDOWS / 10)


def cards() -> tuple[int, int] | None:
    """Card transactions: how many of the untouched hours 33-47 have a flagged feature, and in how many of the
    shifted hours 37-47 exactly the shifted components are named; None without the converted data."""
    from baton.settings import settings
    from baton_demo.financial_crime.simulate import REFIT, shift

    folder = settings().data_dir / "financial_crime" / "transactions"
    if not (folder / "hour=47.parquet").is_file():
        return None
    hours = [pd.read_parquet(folder / f"hour={hour:02d}.parquet") for hour in range(48)]
    features = [*(f"v{i}" for i in range(1, 29)), "amount"]
    train = pd.concat(hours[:33], ignore_index=True)
    reference = drift.reference(train, features, windows=train["seconds"] // 3600)
    quiet = sum(bool(drift.compare(reference, frame, SPEC).drifted) for frame in hours[33:])
    named = [set(drift.compare(reference, shift(frame), SPEC).drifted) for frame in hours[37:]]
    return quiet, sum(one == set(REFIT) for one in named)


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """All figures; a drift report is left in `out`."""
    load = os.getloadavg()[0]
    rng = np.random.default_rng(seed)
    before, window = draw(rng, ROWS), moved(draw(rng, ROWS), NAMES[4])
    reference = json.loads(json.dumps(drift.reference(before, NAMES)))
    times = []
    for _ in range(9):
        started = time.perf_counter()
        table = drift.compare(reference, window, SPEC)
        times.append(time.perf_counter() - started)
    out.mkdir(parents=True, exist_ok=True)
    (out / "drift_report.html").write_text(
        report_html(table, model="bench", partition="2026-01-01T00:00:00"), encoding="utf-8"
    )
    peer_seconds, _ = evidently(before, window)
    everything = draw(rng, ROWS)
    peer_moved = len(evidently(before, everything + 0.3 * everything.std())[1])
    center = everything.mean()
    peer_widened = len(evidently(before, center + 1.3 * (everything - center))[1])
    same, same_ks = verdicts(reference, rng)
    flagged, woken, flagged_ks = false_alarms(reference, before, rng)
    preset, ks = f"Evidently {version('evidently')} DataDriftPreset", "KS test per column at 0.05"
    seconds = float(np.median(times))
    rows: list[tuple[str, float, str, float, bool, str | None, float | None]] = [
        ("drift_decision_100k_x_20", seconds, "s", 0.25, False, preset, peer_seconds),
        ("drift_found_mean_shift_0.3_sd", found_alone(reference, moved, rng), "of 20", 20, True, preset, peer_moved),
        ("drift_found_1.3x_sd", found_alone(reference, widened, rng), "of 20", 18, True, preset, peer_widened),
        ("drift_same_verdict_10k_100k_1M", same, "share", 1.0, True, ks, same_ks),
        ("drift_null_windows_flagged", flagged, "share of 200", 0.05, False, ks, flagged_ks),
        ("drift_null_windows_wake_training", woken, "share of 200", 0.01, False, None, None),
    ]
    real = cards()
    if real is None:
        sys.stderr.write("bench_drift: no converted card transactions; run `baton data` to judge them too\n")
    else:
        rows.append(("drift_cards_untouched_hours_flagged", real[0], "of 15", 0, False, None, None))
        rows.append(("drift_cards_refit_named_exactly", real[1], "of 11", 11, True, None, None))
    versions = {name: version(name) for name in ("numpy", "scipy", "pandas", "evidently")}
    versions["python"] = platform.python_version()
    common = {"seed": seed, "versions": versions, "load": load}
    results = []
    for name, value, unit, target, larger, peer, theirs in rows:
        ratio = None  # how many times better than the peer
        if theirs and value:
            ratio = value / theirs if larger else theirs / value
        result = {"name": name, "value": value, "unit": unit, "target": target, "larger_is_better": larger}
        results.append({**result, "peer": peer, "peer_value": theirs, "ratio": ratio, **common})
    return results


if __name__ == "__main__":
    results = run(int(sys.argv[1]) if len(sys.argv) > 1 else 7, Path(".baton/bench"))
    sys.stdout.write(json.dumps(results, indent=1) + "\n")
