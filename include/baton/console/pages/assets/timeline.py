"""Versions of a model on a time line: a lane each, from when it was registered over verdict and answers to when it was champion."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup

from baton.console import wording
from baton.console.pages.drawing import LEFT, RIGHT, WIDTH, svg, tag, text

LANE = 22.0


def versions(shown: Sequence[Mapping[str, Any]], now: datetime) -> Markup:
    """A lane per version, newest on top; a bar while it was champion, a point for what happened to it; empty without any time."""
    known = [(one, _moments(one)) for one in shown]
    known = [(one, moments) for one, moments in known if moments]
    times = [at for _, moments in known for at, _, _ in moments]
    if not times:
        return Markup("")
    first = min(times)
    span = max((now - first).total_seconds(), 1.0)
    place = lambda at: LEFT + (WIDTH - LEFT - RIGHT) * (at - first).total_seconds() / span  # noqa: E731
    parts = []
    for lane, (one, moments) in enumerate(known):
        middle = LANE * lane + 14
        begin, end = place(moments[0][0]), place(moments[-1][0])
        drawn = [text(LEFT - 12, middle + 4, f"version {one['version']}", "end")]
        drawn.append(tag("line", x1=begin, x2=max(end, begin + 1), y1=middle, y2=middle, class_="reference"))
        for reign in one["reigns"]:
            since, until = wording.moment(reign["at"]), wording.moment(reign["until"]) or now
            if since is not None:
                left, width = place(since), max(place(until) - place(since), 3.0)
                said = f"champion from {wording.when(since)} to {wording.when(reign['until']) or 'now'}, by {reign['actor']}"
                bar = {"x": left, "y": middle - 7, "width": width, "height": 14.0, "class_": f"c{lane % 2}"}
                drawn.append(tag("rect", tag("title", said), **bar))
        for at, said, kind in moments:
            drawn.append(
                tag("circle", tag("title", f"{said}, {wording.when(at)}"), cx=place(at), cy=middle, r=4.0, class_=kind)
            )
        parts.append(tag("g", *drawn, aria_label="; ".join(f"{said} {wording.when(at)}" for at, said, _ in moments)))
    height = LANE * len(known) + 22
    parts += [
        text(LEFT, height - 4, wording.when(first), class_="tick"),
        text(WIDTH - RIGHT, height - 4, "now", "end", "tick"),
    ]
    return svg(WIDTH, height, f"{len(known)} versions on a time line", *parts)


def _moments(one: Mapping[str, Any]) -> list[tuple[datetime, str, str]]:
    """What happened to a version, in order: when, in words, class of the point."""
    told = [(one["registered_at"], "registered", "point")]
    told += [(one["judged_at"], f"gate: {one['decision']}", "point" if one["decision"] == "PROMOTE" else "bad")]
    told += [(each["at"], f"{each['answer']} by {each['reviewer']}", "point" if each["answer"] == "approved" else "bad")
             for each in one["answers"]]  # fmt: skip
    told += [(each["at"], f"champion, by {each['actor']}", "point") for each in one["reigns"]]
    found = [(at, said, kind) for when, said, kind in told if (at := wording.moment(when)) is not None]
    return sorted(found, key=lambda moment: moment[0])
