"""The console's small parts: words, lines, a registry that does not answer, and what is imported when."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from baton.console import wording
from baton.console.pages.sparkline import Point, sparkline
from baton.console.queries import alias_watch


def test_a_slow_registry_costs_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    release, asked = threading.Event(), []

    def slow(models: tuple[str, ...]) -> Any:
        asked.append(models)
        release.wait(10)
        return {"m": {"champion": 1}}

    monkeypatch.setattr(alias_watch, "fetch", slow)
    monkeypatch.setattr(alias_watch, "PATIENCE", 0.2)
    monkeypatch.setattr(alias_watch, "KEEP", 0.0)
    watch = alias_watch.AliasWatch()
    began = time.monotonic()
    assert watch.look(["m"]) is None
    assert watch.look(["m"]) is None
    assert time.monotonic() - began < 2
    assert len(asked) == 1, "one question at a time"
    release.set()
    deadline = time.monotonic() + 5
    while watch.look(["m"]) != {"m": {"champion": 1}}:
        assert time.monotonic() < deadline


def test_words() -> None:
    assert (
        wording.in_words([["v14", 3.0], ["v10", 1.0], ["amount", -0.5]])
        == "v14 strongly and v10 raise it, amount lowers it"
    )
    assert wording.in_words([["a", 1.0], ["b", 1.0], ["c", 1.0]]) == "a, b and c raise it"
    assert wording.in_words([["a", -1.0]]) == "a strongly lowers it"
    assert wording.in_words(None) == wording.in_words([["a", 0.0]]) == ""
    assert [wording.cell(v) for v in (0.12345678, True, '["late", "twice"]', "[NAME_1] wrote", "[]", '["a", 1]')] == [
        "0.1234568", "yes", "late; twice", "[NAME_1] wrote", "[]", '["a", 1]',
    ]  # fmt: skip
    assert (
        wording.meaning("JSON list of sentences: why this route")
        == wording.meaning("why this route")
        == "why this route"
    )
    assert wording.sentence(["risk is high.", " ", "no number;"]) == "Risk is high; no number."
    assert wording.sentence(["lost_card at 0.9"]) == "lost_card at 0.9."
    assert wording.sentence(None) == wording.sentence([""]) == ""
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    assert wording.when("2026-11-22T10:31:05.000000Z", now) == "10:31"
    assert wording.when("2026-11-20T10:31:05+02:00", now) == "20 Nov 08:31"
    assert wording.when("2025-01-02T03:04:05", now) == "2 Jan 2025 03:04"
    assert wording.partition("2026-11-20T09:00:00") == "20 Nov 09:00"
    assert wording.partition("version-3") == "version-3"
    assert [wording.ago(f"2026-11-22T{t}Z", now) for t in ("11:59:20", "11:58:59", "10:30:00", "09:00:00")] == [
        "40 s",
        "1 min",
        "90 min",
        "3 h",
    ]
    assert wording.plural(1, "row") + wording.plural(2000, "row") == "1 row2,000 rows"
    assert (
        wording.details({"models": {"m": 1}, "sha": "x" * 300, "reasons": ["a", "b"], "none": None})
        == "models: m 1 · reasons: a; b"
    )
    digest = "0123456789abcdef" * 4
    assert wording.short(f"<b>: {digest}, f/{digest}; {digest}0") == (
        f'&lt;b&gt;: <abbr title="{digest}">0123456789ab…</abbr>, f/<abbr title="{digest}">0123456789ab…</abbr>; {digest}0'
    )


def test_sparkline() -> None:
    drawn = sparkline([Point("a", 0.8), Point("b", None), Point("<c>", 0.4, bad=True)], 0.84, "metric")
    assert drawn.count("<circle") == 1
    assert 'class="reference"' in drawn
    assert "&lt;c&gt;" in drawn
    assert sparkline([Point("a", None)]) == ""
    assert sparkline([Point("a", 0.5)]).count("<circle") == 1


def test_nothing_heavy_is_imported_before_the_first_request() -> None:
    code = (
        "import sys; import baton.airflow.server.console_mount; "
        "early = {'airflow', 'fastapi', 'sqlalchemy', 'jinja2'} & set(sys.modules); assert not early, early; "
        "import baton.console.pages.app, baton.console.queries.state; "
        "late = {'pandas', 'numpy', 'mlflow', 'great_expectations', 'sklearn', 'pyarrow', 'airflow'} & set(sys.modules); "
        "assert not late, late"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_of_many_answers_none_is_given_by_one_careless_click() -> None:
    from baton.console.pages.rendering import environment

    links: Any = environment().get_template("links.html.j2").module
    many: Any = {answer: {} for answer in ("accepted", "rejected", "it is: card_arrival", "none of them")}
    form = links.decide("/baton", "flow", "key", "token", "today", many, None)
    assert '<option value="" disabled selected>' in form
    assert "required" in form
    assert form.count("selected") == 1
