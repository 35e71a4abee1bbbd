"""The drift report: one self-contained page per judged window, a table and a small chart per moved feature.

No script, no foreign host, inline SVG; far below 300 kB however many features a model has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from baton.drift.decision import Window
from baton.drift.table import DriftRow, DriftTable

CHARTS = 12  # features drawn: all drifted ones first, then the strongest
ROWS = 200  # lines of the table
_WIDTH, _HEIGHT = 420, 120

_STYLE = Path(__file__).with_name("report.css").read_text(encoding="utf-8")


def report_html(
    table: DriftTable, *, model: str, partition: str, version: int | str | None = None, window: Window | None = None
) -> str:
    """The page of one window.

    Args:
        table: what `drift.compare` returned.
        model, partition, version: what was judged, and against which champion.
        window: adds the labelled performance.

    Returns:
        A complete HTML document (UTF-8).
    """
    title = f"Drift of {escape(model)} at {escape(partition)}"
    state = "too few rows" if table.too_few else "drifted" if table.drifted else "stable"
    errors = any(row.kind == "error" for row in table.rows) or (window is not None and window.status == "pending")
    words = _ERRORS if errors else _FEATURES
    alike = f" · most alike in training: {', '.join(map(escape, table.alike))}" if table.alike else ""
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>",
        f'<p class="dim">champion version {escape(str(version or "unknown"))} · {table.n:,} {words.rows} · '
        f"{table.reference_rows:,} in the reference{alike}</p>",
        f'<p>This window: <span class="badge {state}">{state}</span> '
        f"{len(table.drifted)} of {len(table.rows)} {words.moved}</p>",
    ]
    if table.drifted:
        parts.append(f"<h2>What moved</h2>{_list(table.sentences(ROWS))}")
    if window is not None and window.performance is not None:
        parts.append(_performance(window, errors))
    parts.append(_table(table.rows[:ROWS], words))
    charts = "".join(_chart(row) for row in table.rows[:CHARTS])
    parts.append(f'<h2>Shares per bin</h2><p class="dim">{words.bins}</p>')
    parts.append(f'<div class="charts">{charts}</div><p class="dim">{words.legend}</p>')
    return "".join([*parts, "</body></html>"])


@dataclass(frozen=True)
class _Words:
    """How a page speaks of what it compares: columns of rows, or errors of forecasts."""

    heading: str
    head: tuple[str, ...]
    rows: str
    moved: str
    bins: str
    legend: str


_FEATURES = _Words(
    "Features",
    ("feature", "effect", "", "ordinary up to", "shift (sd)", "spread", "null", "new", "q"),
    "rows",
    "features moved more than they ordinarily do.",
    "grey: training, line: this window",
    "Effect: square root of the population stability index, corrected for the number of rows; it reads as standard "
    "deviations of shift. The mark on the bar is what the feature may move ordinarily. A feature is flagged when the "
    "effect lies above it and the G-test is significant after Benjamini-Hochberg.",
)
_ERRORS = _Words(
    "Errors by series",
    ("series", "bias", "", "tolerated", "direction", "error / expected", "not known yet", "", "q"),
    "periods known by now",
    "series are forecast too high or too low by more than is tolerated.",
    "share of periods below and above the forecast; grey: half and half, line: this window",
    "Bias: mean error in units of the error that the backtest expects of that series and step; a direction above 0 "
    "means that more was sold than forecast. A series is flagged when the bias lies above the mark and the t-test, which "
    "knows that neighbouring weeks err alike, is significant after Benjamini-Hochberg. A season is in the forecast: it is no bias.",
)


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _performance(window: Window, errors: bool) -> str:
    measured = window.performance
    assert measured is not None
    basis = f"{measured.positives} positives among {measured.rows:,} labels"
    expected, heading = "at promotion", "Performance on labels"
    if errors:
        basis, expected, heading = f"{measured.rows:,} known periods", "expected", "Errors of what is known by now"
    if measured.value is None:
        said = f"not judged ({escape(measured.status)}): {basis}"
    else:
        interval = f"interval {measured.low:.3f} to {measured.high:.3f}"
        said = (
            f"{escape(measured.metric)} {measured.value:.3f}, {interval}, "
            f"{expected} {measured.reference:.3f}, on {basis}: <b>{escape(measured.status)}</b>"
        )
    return f"<h2>{heading}</h2><p>{said}</p>"


def _table(rows: Sequence[DriftRow], words: _Words) -> str:
    top = max([max(row.effect, row.threshold) for row in rows], default=1.0) or 1.0
    lines = [f"<h2>{words.heading}</h2><table><tr>", *(f"<th>{name}</th>" for name in words.head), "</tr>"]
    for row in rows:
        bar = (
            f'<span class="bar"><i style="width:{100 * row.effect / top:.1f}%"></i>'
            f'<b style="left:{100 * row.threshold / top:.1f}%"></b></span>'
        )
        cells = (
            escape(row.feature), f"{row.effect:.2f}", bar, f"{row.threshold:.2f}", _number(row.shift, "+.2f"),
            _number(row.spread, ".2f"), f"{row.nulls:.1%}", f"{row.new_levels:.1%}", f"{row.q_value:.1e}",
        )  # fmt: skip
        lines.append('<tr class="moved">' if row.drifted else "<tr>")
        lines.extend(f"<td>{cell}</td>" for cell in cells)
        lines.append("</tr>")
    return "".join([*lines, "</table>"])


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _chart(row: DriftRow) -> str:
    """Bars: the reference's share per bin; stepped line: the window's."""
    size = len(row.expected)
    top = max([*row.expected, *row.observed, 1e-9])
    step = _WIDTH / max(size, 1)
    bars: list[str] = []
    line: list[str] = []
    for i, (old, new) in enumerate(zip(row.expected, row.observed, strict=True)):
        left, height, level = i * step, old / top * _HEIGHT, _HEIGHT - new / top * _HEIGHT
        tip = escape(f"{row.labels[i]}: {old:.1%} in training, {new:.1%} now")
        bars.append(
            f'<rect x="{left:.1f}" y="{_HEIGHT - height:.1f}" width="{step * 0.9:.1f}" height="{height:.1f}" '
            f'fill="#b9c3d4"><title>{tip}</title></rect>'
        )
        line.append(f"{left:.1f},{level:.1f} {left + step:.1f},{level:.1f}")
    stroke = "#c2571a" if row.drifted else "#1d2433"
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(row.feature)}">'
        f'{"".join(bars)}<polyline points="{" ".join(line)}" fill="none" stroke="{stroke}" stroke-width="2"/>'
        f"</svg><figcaption>{escape(row.sentence())}</figcaption></figure>"
    )
