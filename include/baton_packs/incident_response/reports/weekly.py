"""The week's report: a stage that reads what the flow did in a week, and its page with plots."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import Field
from sqlalchemy import select

from baton.data.datasets import read
from baton.data.pages import store_page
from baton.data.partitions import format_key, parse_key, safe_name
from baton.names import PUBLISH
from baton.record import tables, warehouse
from baton.specs.base import Spec
from baton.stages import StageJob, StageOutput, engine_step
from baton.stages.slots import heads_of, partitions
from baton_packs.incident_response.reports import measures
from baton_packs.incident_response.reports.page import render

if TYPE_CHECKING:
    import pandas as pd

    from baton.stages.slots import StageResult

WEEKS = 12  # the last ones, this one among them, that a page compares
TRENDS = {"detect": "min to detect", "triage": "min to triage", "contain": "min to contain", "undone": "% taken back",
          "false_positives": "% false positives"}  # fmt: skip
_READ = ["incident_id", "severity_id", "route", "alerts_total", "first_seen", "opened_at", "state"]


class WeekOptions(Spec):
    """Options of `stage`."""

    flow: str = Field(description="the flow that the report is about")


def _heads(job: StageJob[WeekOptions]) -> dict[str, StageResult]:
    start = parse_key(job.partition)
    end = format_key(start + timedelta(weeks=1))
    known = [one for one in partitions(job.options.flow, PUBLISH, before=end) if one >= job.partition]
    return heads_of(job.options.flow, PUBLISH, known)


def _warehouse(job: StageJob[WeekOptions]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Cases and effects of the week's partitions."""
    end = format_key(parse_key(job.partition) + timedelta(weeks=1))
    case, effect = tables.cases, tables.outbox
    of_case = select(case.c.entity_key, case.c.opened_at, case.c.updated_at, case.c.resolution)
    of_effect = select(effect.c.entity_key, effect.c.kind, effect.c.state, effect.c.sent_at, effect.c.undone_at)
    with warehouse.read() as conn:
        found = [
            [
                dict(row)
                for row in conn.execute(
                    query.where(
                        table.c.flow == job.options.flow, table.c.partition >= job.partition, table.c.partition < end
                    )
                ).mappings()
            ]
            for query, table in ((of_case, case), (of_effect, effect))
        ]
    return found[0], found[1]


def _earlier(job: StageJob[WeekOptions]) -> dict[str, dict[str, Any]]:
    """Week -> its numbers, of the weeks before that have a report."""
    known = partitions(job.flow, job.stage, before=job.partition, newest=WEEKS - 1)
    found = heads_of(job.flow, job.stage, known)
    return {week: {name: one.facts.get(name) for name in TRENDS} for week, one in found.items()}


def _state(job: StageJob[WeekOptions]) -> Mapping[str, Any]:
    cases, effects = _warehouse(job)
    said = sorted(str(sorted(row.items(), key=lambda pair: pair[0])) for row in (*cases, *effects))
    return {
        "earlier": _earlier(job),
        "heads": {key: one.ref.content_sha256 for key, one in _heads(job).items()},
        "rows": hashlib.sha256("\n".join(said).encode()).hexdigest(),
    }


@engine_step(WeekOptions, fingerprint=_state)
def stage(job: StageJob[WeekOptions]) -> StageOutput:
    """Measure a week and write its page.

    Returns:
        a row per incident, see `measures.COLUMNS`; facts: the numbers of `measures.WeekNumbers`, report (address below the reports
        folder), bytes, pictures.
    """
    import pandas as pd

    parts = [read(one.ref).reindex(columns=_READ) for one in _heads(job).values() if one.ref.rows]
    decisions = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_READ)
    cases, effects = _warehouse(job)
    rows = measures.rows(
        decisions,
        pd.DataFrame(cases, columns=["entity_key", "opened_at", "updated_at", "resolution"]),
        _effects(effects),
    )
    numbers = measures.week(rows)
    html, pictures = page(job.partition, rows, numbers, _earlier(job))
    digest = hashlib.sha256(html.encode()).hexdigest()[:16]
    address = store_page(f"{job.flow}/{safe_name(job.partition)}-{digest}.html", html)
    return StageOutput(rows, {**numbers.facts(), "report": address, "bytes": len(html.encode()), "pictures": pictures})


def _effects(found: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    told = [
        {"incident_id": one["entity_key"], "action": one["kind"], "state": one["state"], "sent_at": one["sent_at"], "undone": bool(one["undone_at"])}
        for one in found
    ]  # fmt: skip
    return pd.DataFrame(told, columns=["incident_id", "action", "state", "sent_at", "undone"])


def page(
    partition: str, rows: pd.DataFrame, numbers: measures.WeekNumbers, earlier: Mapping[str, Mapping[str, Any]] = {}
) -> tuple[str, int]:
    """The page, and the number of its pictures; `earlier`: the numbers of the weeks before, as facts, the oldest first."""
    from markupsafe import Markup

    weeks = {**earlier, partition: numbers.facts()}
    figures = [(title, Markup(svg)) for title, svg in _pictures(rows, weeks)]  # noqa: S704 - drawn here, without a text of others
    said = lambda pair: "none timed" if pair is None else f"{pair[0]:,.1f} min"  # noqa: E731
    below = lambda pair: "" if pair is None else f"90 % below {pair[1]:,.1f}"  # noqa: E731
    share = lambda value: "none" if value is None else f"{value:.0%}"  # noqa: E731
    totals = [
        ("to detect", said(numbers.detect), below(numbers.detect)), ("to triage", said(numbers.triage), below(numbers.triage)),
        ("to contain", said(numbers.contain), below(numbers.contain)),
        ("of the remedies were taken back", share(numbers.undone), f"{numbers.remedies} remedies"),
        ("false positives", share(numbers.false_positives), f"of {numbers.answered} answered cases"),
    ]  # fmt: skip
    html = render(
        "week.html.j2",
        partition=partition,
        week=numbers,
        totals=totals,
        figures=figures,
        severities=measures.by_severity(rows),
    )
    return html, len(figures)


def _pictures(rows: pd.DataFrame, weeks: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(title, SVG) of the weeks side by side, of this one's incidents by day and of its times."""
    if rows.empty and len(weeks) == 1:
        return []
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    week = parse_key(list(weeks)[-1])
    days = sorted({*rows["day"], *((week + timedelta(days=day)).strftime("%Y-%m-%d") for day in range(7))})
    routes = (("contain", "#b3261e"), ("watch", "#1565a7"), ("noise", "#a9b4c4"))
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "incidents", "font.size": 8.0, "axes.spines.top": False, "axes.spines.right": False,
                  "text.color": "#7a8698", "axes.labelcolor": "#7a8698", "xtick.color": "#7a8698", "ytick.color": "#7a8698", "axes.edgecolor": "#7a8698"}  # fmt: skip
    found = []
    with mpl.rc_context(style):
        found.append(("Week by week", _svg(_trends(weeks), "Times and shares, a point a week")))
        if rows.empty:
            return found
        figure = Figure(figsize=(7.2, 2.2), layout="constrained")
        axes, base = figure.add_subplot(), [0] * len(days)
        for name, colour in routes:
            counts = [int(((rows["day"] == day) & (rows["route"] == name)).sum()) for day in days]
            axes.bar(days, counts, bottom=base, color=colour, label=name, width=0.6)
            base = [one + more for one, more in zip(base, counts, strict=True)]
        axes.set_xticks(range(len(days)), [day[5:] for day in days])
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(frameon=False, ncols=3, loc="outside upper left")
        found.append(("Incidents by day", _svg(figure, "Incidents by day and route")))
        timed = [(name, rows[name].dropna().tolist()) for name in ("detect", "triage", "contain")]
        timed = [(name, minutes) for name, minutes in timed if minutes]
        if timed:
            figure = Figure(figsize=(7.2, 1.0 + 0.4 * len(timed)), layout="constrained")
            axes = figure.add_subplot()
            axes.boxplot(
                [minutes for _, minutes in timed],
                orientation="horizontal",
                tick_labels=[f"to {name}" for name, _ in timed],
                widths=0.5,
                medianprops={"color": "#1565a7"},
            )
            axes.set_xlabel("minutes")
            found.append(("Times", _svg(figure, "Minutes to detect, triage and contain")))
    return found


def _trends(weeks: Mapping[str, Mapping[str, Any]]) -> Any:
    """A small picture for each number, a point a week: of times the median, of shares per cent; what was not measured is a gap."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 1.7), layout="constrained")
    labels = [week[5:10] for week in weeks]
    for place, (name, title) in enumerate(TRENDS.items(), 1):
        axes, timed = figure.add_subplot(1, len(TRENDS), place), not title.startswith("%")
        told = [one.get(name) for one in weeks.values()]
        values = [float("nan") if one is None else one[0] if timed else 100 * one for one in told]
        axes.plot(range(len(values)), values, color="#1565a7", marker="o", markersize=3, linewidth=1.2)
        last = values[-1]
        axes.set_title(f"{title}: {'–' if last != last else f'{last:,.1f}' if timed else f'{last:.0f}'}", fontsize=8)
        axes.set_ylim(0, max([one for one in values if one == one], default=1.0) * 1.15 or 1.0 if timed else 105)
        axes.set_xticks(sorted({0, len(labels) - 1}), [labels[at] for at in sorted({0, len(labels) - 1})])
        axes.set_xlim(-0.4, len(labels) - 0.6)
    return figure


def _svg(figure: Any, label: str) -> str:
    """The figure as an inline `svg` element."""
    import io
    import re

    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(
        r"^<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>", rf'<svg viewBox="\1" role="img" aria-label="{label}">', text.strip()
    )
