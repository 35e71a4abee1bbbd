"""The page of a trial: one file, no script, nothing fetched; leaderboard, and pictures of rows that the winner did not see."""

from collections.abc import Sequence
from html import escape
from importlib import resources

import numpy as np
import pandas as pd

from baton.lifecycle.trial import Trial

_WIDTH, _HEIGHT, _PAD = 360, 240, 34
_CLASSES, _MISTAKES, _SERIES, _FEATURES = 8, 15, 6, 12  # drawn at most
_FEW = 10  # rows of a point of the calibration at least


def page(trial: Trial) -> str:
    """A complete HTML document (UTF-8)."""
    spec, seen = trial.spec, trial.evidence
    kept_out = f", {trial.rejected:,} kept out by the contract" if trial.rejected else ""
    parts = [
        f"<h1>{escape(spec.model)}</h1><p>{escape(spec.description.strip())}</p>",
        f'<p class="dim">{trial.rows:,} rows{kept_out}; nothing was registered.</p>',
        "<h2>Candidates</h2>", _leaderboard(trial),
        "<h2>The winner on rows that it did not see</h2>", _figures(trial.metrics),
    ]  # fmt: skip
    if trial.better:
        lines = [
            f"{name}: {{{', '.join(f'{key}: {value}' for key, value in p.items())}}}"
            for name, p in trial.better.items()
        ]
        parts.append(f"<h2>Better parameters</h2><pre>{escape(chr(10).join(lines))}</pre>")
    figures = []
    if seen.cases is not None and len(seen.cases):
        figures += [confusion(seen.cases), calibration(seen.cases), risk(seen.cases)]
    if seen.series is not None and len(seen.series):
        figures += [coverage(seen.series), *forecasts(seen.series)]
    if seen.importance:
        figures.append(importance(seen.importance))
    parts.append(f'<div class="charts">{"".join(figures)}</div>')
    style = resources.files(__package__).joinpath("trial.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(spec.model)}: trial</title><style>{style}</style></head><body>{''.join(parts)}</body></html>"
    )


def _leaderboard(trial: Trial) -> str:
    metrics = sorted(
        {metric for row in trial.table.values() for metric in row}, key=lambda name: name != trial.board.metric
    )
    head = "".join(f"<th>{escape(metric.replace('_', ' '))}</th>" for metric in metrics)
    priced = any(row.get("cost") is not None for row in trial.board.rows)
    rows = []
    for row in trial.board.rows or [{"candidate": trial.board.best, "error": None}]:
        name, values = str(row["candidate"]), trial.table.get(str(row["candidate"]), {})
        cells = "".join(f"<td>{_number(values.get(metric))}</td>" for metric in metrics)
        cells += f"<td>{_number(row.get('spread'))}</td>" + (f"<td>{_number(row.get('cost'))}</td>" if priced else "")
        why = f'<td class="why">{escape(row["error"])}</td>' if row.get("error") else "<td></td>"
        best = ' class="best"' if name == trial.board.best else ""
        seconds = f"{row.get('seconds') or 0:.1f}"
        rows.append(f"<tr{best}><td>{escape(name)}</td>{cells}<td>{seconds}</td>{why}</tr>")
    return (
        f"<table><thead><tr><th>candidate</th>{head}<th>spread</th>{'<th>cost a case</th>' if priced else ''}<th>seconds</th><th></th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
        f'<p class="dim">Ranked by {escape(trial.board.metric.replace("_", " "))}'
        f"{', less is better' if trial.board.errors else ''}; spread: its standard deviation over the folds.</p>"
    )


def _figures(metrics: dict[str, float]) -> str:
    if not metrics:
        return '<p class="dim">Nobody knows the truth of them.</p>'
    cells = "".join(
        f"<div><b>{_number(value)}</b><span>{escape(name.replace('_', ' '))}</span></div>"
        for name, value in metrics.items()
    )
    return f'<div class="figures">{cells}</div>'


def _number(value: float | None) -> str:
    return "" if value is None or not np.isfinite(value) else f"{value:.4g}"


# --- pictures ---


def confusion(cases: pd.DataFrame) -> str:
    """Truth by what was said, each row's shares as shades; of many classes the most frequent mistakes."""
    counts = cases["truth"].value_counts()
    if len(counts) > _CLASSES:
        return _mistakes(cases, counts)
    names = list(counts.index)
    table = pd.crosstab(cases["truth"], cases["said"]).reindex(index=names, columns=names, fill_value=0).to_numpy()
    head = "".join(f"<th>{escape(_short(name))}</th>" for name in names)
    rows = ""
    for name, line, of in zip(names, table, counts, strict=True):
        cells = "".join(f'<td style="--share:{n / of:.3f}">{n:,}</td>' for n in line)
        rows += f"<tr><th>{escape(_short(name))}</th>{cells}</tr>"
    return _figure(
        f'<table class="matrix"><thead><tr><td>truth \\ said</td>{head}</tr></thead><tbody>{rows}</tbody></table>',
        "Confusion: the stronger, the larger the share of the true class.",
    )


def _mistakes(cases: pd.DataFrame, counts: pd.Series) -> str:
    wrong = cases[cases["truth"] != cases["said"]]
    pairs = wrong.groupby(["truth", "said"]).size().sort_values(ascending=False, kind="stable")
    rows = "".join(
        f"<tr><th>{escape(_short(str(truth)))}</th><td>{escape(_short(str(said)))}</td><td>{n} of {counts[truth]}</td></tr>"
        for truth, said, n in pairs.head(_MISTAKES).reset_index().itertuples(index=False)
    )
    return _figure(
        f'<table class="matrix"><thead><tr><th>truth</th><th>said</th><th>rows</th></tr></thead><tbody>{rows}</tbody></table>',
        f"Confusion: the most frequent mistakes among {len(counts)} classes; {len(wrong):,} of {len(cases):,} rows are wrong.",
    )


def calibration(cases: pd.DataFrame, bins: int = 10) -> str:
    """How often it is right, by how sure it says it is; where fewer than ten rows lie nothing is drawn."""
    sure, right = cases["probability"].to_numpy(), (cases["truth"] == cases["said"]).to_numpy()
    place = np.minimum((sure * bins).astype(int), bins - 1)
    groups = [np.flatnonzero(place == number) for number in np.unique(place)]
    groups = [part for part in groups if len(part) >= _FEW] or groups
    points = [(float(sure[part].mean()), float(right[part].mean())) for part in groups]
    marks = "".join(f'<circle cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="4"/>' for x, y in points)
    ideal = f'<line class="faint" x1="{_x(0):.1f}" y1="{_y(0):.1f}" x2="{_x(1):.1f}" y2="{_y(1):.1f}"/>'
    gap = float(np.average([abs(x - y) for x, y in points], weights=[len(part) for part in groups]))
    caption = f"Calibration: on the diagonal it is as right as it says; {gap:.3f} from it on average."
    return _chart(ideal + _line(points) + marks, "probability that it states", "share that is right", caption)


def risk(cases: pd.DataFrame) -> str:
    """Share of errors among the rows that it is most sure of, by how many of them are taken."""
    order = np.argsort(-cases["probability"].to_numpy(), kind="stable")
    wrong = np.cumsum((cases["truth"] != cases["said"]).to_numpy()[order])
    count = np.arange(1, len(order) + 1)
    share = wrong / count
    top = max(0.01, float(share[count >= 0.02 * len(order)].max()))
    at = np.unique(np.linspace(0, len(order) - 1, 200).astype(int))
    at = at[count[at] >= 0.02 * len(order)]
    points = [(count[n] / len(order), share[n] / top) for n in at]
    return _chart(_line(points), "share of rows that it decides", "share wrong of them",
                  f"Risk against coverage: deciding all, {share[-1]:.2%} are wrong.", (f"{top:.1%}", "0"))  # fmt: skip


def coverage(rows: pd.DataFrame) -> str:
    """Share of truths inside the 80 % interval, by step ahead."""
    if "low" not in rows:
        return ""
    inside = ((rows["y"] >= rows["low"]) & (rows["y"] <= rows["high"])).groupby(rows["step"]).mean()
    steps, last = inside.index.to_numpy(), max(2, int(inside.index.max()))
    points = [((step - 1) / (last - 1), float(value)) for step, value in zip(steps, inside, strict=True)]
    aim = f'<line class="faint" x1="{_x(0):.1f}" y1="{_y(0.8):.1f}" x2="{_x(1):.1f}" y2="{_y(0.8):.1f}"/>'
    marks = "".join(f'<circle cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="3"/>' for x, y in points)
    return _chart(aim + _line(points) + marks, f"step ahead, 1 to {last}", "inside the 80 % interval",
                  f"Coverage: {inside.mean():.1%} of all truths lie inside.")  # fmt: skip


def forecasts(rows: pd.DataFrame) -> list[str]:
    """The largest series: truth and forecasts of all origins."""
    largest = rows.groupby("series")["y"].mean().nlargest(_SERIES).index
    return [_forecast(str(name), rows[rows["series"] == name]) for name in largest]


def _forecast(name: str, rows: pd.DataFrame) -> str:
    first, last = rows["time"].min(), rows["time"].max()
    width = (last - first) or pd.Timedelta("1D")
    edges = [column for column in ("y", "forecast", "low", "high") if column in rows]
    low, top = min(0.0, float(rows[edges].min().min())), float(rows[edges].max().max())
    scale = (top - low) or 1.0

    def points(part: pd.DataFrame, column: str) -> list[tuple[float, float]]:
        xs = (part["time"] - first) / width
        return list(zip(xs, (part[column] - low) / scale, strict=True))

    drawn = ""
    for origin, part in rows.sort_values("step").groupby("origin"):
        if "low" in part and origin == rows["origin"].max():  # of all of them nobody could tell which is whose
            outline = points(part, "low") + points(part, "high")[::-1]
            drawn += f'<polygon class="band" points="{_points(outline)}"/>'
        drawn += _line(points(part, "forecast"))
    truth = rows.sort_values("time").drop_duplicates("time")
    drawn += _line(points(truth, "y"), "truth")
    ends = f"{truth['label'].iloc[0]} to {truth['label'].iloc[-1]}"
    return _chart(
        drawn,
        ends,
        "",
        f"{name}: truth (thin), forecasts, and the 80 % interval of the last.",
        (f"{top:,.4g}", f"{low:,.4g}"),
    )


def importance(lost: dict[str, float]) -> str:
    """What the metric loses without each feature, as bars."""
    shown = list(lost.items())[:_FEATURES]
    top = max(1e-12, max(value for _, value in shown))
    bars = "".join(
        f'<tr><th>{escape(name)}</th><td><i style="width:{max(0.0, value) / top * 100:.1f}%"></i></td><td>{value:.4f}</td></tr>'
        for name, value in shown
    )
    more = f" {len(lost) - len(shown)} more lose less." if len(lost) > len(shown) else ""
    return _figure(
        f'<table class="bars"><tbody>{bars}</tbody></table>',
        f"Importance: what the metric loses where a feature's cells are dealt anew.{more}",
    )


# --- drawing ---


def _x(share: float) -> float:
    return _PAD + share * (_WIDTH - 2 * _PAD)


def _y(share: float) -> float:
    return _HEIGHT - _PAD - share * (_HEIGHT - 2 * _PAD)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)


def _line(points: Sequence[tuple[float, float]], kind: str = "said") -> str:
    return f'<polyline class="{kind}" points="{_points(points)}"/>'


def _chart(drawn: str, below: str, beside: str, caption: str, ends: tuple[str, str] = ("1", "0")) -> str:
    frame = f'<path class="axis" d="M{_PAD} {_PAD}V{_HEIGHT - _PAD}H{_WIDTH - _PAD}"/>'
    words = (
        f'<text x="{_PAD - 4}" y="{_PAD + 4}" text-anchor="end">{escape(ends[0])}</text>'
        f'<text x="{_PAD - 4}" y="{_HEIGHT - _PAD}" text-anchor="end">{escape(ends[1])}</text>'
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(below)}</text>'
        f'<text x="{_PAD}" y="{_PAD - 12}">{escape(beside)}</text>'
    )
    return _figure(
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(caption)}">{frame}{drawn}{words}</svg>',
        caption,
    )


def _figure(inside: str, caption: str) -> str:
    return f"<figure>{inside}<figcaption>{escape(caption)}</figcaption></figure>"


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
