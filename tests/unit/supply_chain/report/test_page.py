"""The weekly report: complete in itself, the same bytes for the same input, small, and nothing in it is executed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton_packs.supply_chain.ordering import alternatives, inventory
from baton_packs.supply_chain.ordering.policies import Budget, ItemPolicy
from baton_packs.supply_chain.ordering.rules import OrderingPolicy
from baton_packs.supply_chain.report import page as report_page
from baton_packs.supply_chain.report.page import MOST, Week, page

MakeWeek = Callable[..., Week]
ORIGIN = pd.Timestamp("2012-01-06")  # the last week with sales; the forecasts of `scored` begin a week later
SEED = 7


def sales(items: dict[str, float], weeks: int = 120, horizon: int = 8) -> pd.DataFrame:
    """Weekly sales around a level with promotions and holidays, and rows of the future without sales."""
    rng = np.random.default_rng(SEED)
    parts = []
    for item, level in items.items():
        times = ORIGIN + pd.to_timedelta(np.arange(1 - weeks, horizon + 1), unit="W")
        units = np.round(level * (1 + 0.2 * rng.standard_normal(len(times)))).clip(0)
        units[times > ORIGIN] = np.nan
        parts.append(pd.DataFrame({
            "item": item, "week": times.tz_localize("UTC"), "units": units, "promotion": np.arange(len(times)) % 5 * 3.0,
            "is_holiday": (np.arange(len(times)) % 26 == 0).astype(int),
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def offers(item: str, quantity: int, horizon: int = 8) -> list[dict[str, Any]]:
    """Alternatives as a simulation would summarise them."""
    rows = []
    for rank, (name, units) in enumerate([("as_proposed", quantity), ("more", quantity + 48), ("wait", 0)], 1):
        cost = 1000.0 + 2.0 * abs(units - quantity)
        fans = {f"stock_p{p}": json.dumps([float(p * 3 + w) for w in range(horizon)]) for p in (5, 25, 50, 75, 95)}
        kinds = {
            kind: {"cost_mean": cost * by, "fill_rate": 0.9} for kind, by in (("normal", 0.9), ("late_supplier", 1.2))
        }
        rows.append({
            "item": item, "alternative": name, "quantity": units, "amount": 10.0 * units, "text": name, "runs": 20,
            "cost_mean": cost, "cost_p5": 0.5 * cost, "cost_p95": 2.0 * cost, "fill_rate": 0.96, "rank": rank,
            "keeps_service": True, "saving": 0.0, "saving_low": 0.0, "saving_high": 0.0, **fans,
            "by_scenario": json.dumps(kinds),
        })  # fmt: skip
    return rows


@pytest.fixture
def week(scored: Callable[..., pd.DataFrame], policy: Callable[..., ItemPolicy]) -> MakeWeek:
    def make(
        items: dict[str, float], *, order: int = 96, exceptional: frozenset[str] | set[str] = frozenset(),
        text: str = "96 units cover the demand.", simulate: bool = True, kinds: dict[str, str] | None = None, **changes: Any,
    ) -> Week:  # fmt: skip
        """A week in which every item is ordered alike; the larger an item's demand, the dearer its order."""
        forecast = scored(items)
        forecast["kind"] = [(kinds or {}).get(item, "regular") for item in forecast["series"]]
        rows = [
            {"entity_key": item, "item": item, "supplier": "north", "quantity": order, "unlearned": order, "express": False,
             "money": order * (10.0 + at), "risk": 0.05, "route": "none" if not order else "approve" if at % 3 == 0 else "order",
             "alternative": "as_proposed", "text": text, "source": "rule", "exceptional": item in exceptional, "reasons": "[]"}
            for at, item in enumerate(items)
        ]  # fmt: skip
        simulated = [row for item in items for row in offers(item, order)] if simulate else []
        given: dict[str, Any] = {
            "partition": "2012-01-06T00:00:00", "version": 3, "dry_run": False,
            "rules": OrderingPolicy(
                approval_limit=1000.0, budget=Budget(amount=5000.0), runs=20, seed=SEED,
                items=tuple(policy(item) for item in items),
            ),
            "decisions": pd.DataFrame(rows), "forecast": forecast, "history": sales(items),
            "simulated": pd.DataFrame(simulated, columns=list(offers("x", 1)[0])),
            "stock": pd.DataFrame({"item": list(items), "on_hand": 150, "due_1": 40, "due_2": 0}),
        }  # fmt: skip
        return Week(**{**given, **changes})

    return make


class Tags(HTMLParser):
    """All tags with their attributes, and the text outside of styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._inside = "", ""
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " "
        self._inside = tag

    def handle_data(self, data: str) -> None:
        self.text += data if self._inside != "style" else ""


def test_the_same_input_gives_the_same_bytes_in_whatever_order_the_rows_come(week: MakeWeek) -> None:
    one = week({"a": 100.0, "b": 60.0}, exceptional={"b"})
    turned = {
        name: getattr(one, name).iloc[::-1] for name in ("decisions", "simulated", "forecast", "history", "stock")
    }
    html, table, pictures = page(one)
    again, other, _ = page(week({"a": 100.0, "b": 60.0}, exceptional={"b"}, **turned))
    assert html == again
    pd.testing.assert_frame_equal(table, other)
    assert pictures == html.count('role="img"') == 8
    assert page(week({"a": 100.0, "b": 61.0}, exceptional={"b"}))[0] != html


def test_the_page_needs_no_other_host_no_script_and_its_hidden_ids_are_its_own(week: MakeWeek) -> None:
    html, _, _ = page(week({"a": 100.0, "b": 60.0, "c": 30.0}))
    found = Tags(html)
    assert not re.search(r"https?:|//|@import|javascript|xmlns|DOCTYPE svg", html)
    assert {tag for tag, _ in found.tags} & {"script", "link", "iframe", "object", "img", "foreignobject"} == set()
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on") or name == "src"]
    ids = Counter(attributes["id"] for _, attributes in found.tags if "id" in attributes)
    assert ids
    assert max(ids.values()) == 1  # pictures on one page must not share a clip or a marker
    assert set(re.findall(r'(?:url\(|href=")#([\w-]+)', html)) == set(ids)
    assert "2012" in found.text  # labels of axes are text, not outlines
    assert "Matplotlib" not in html


def test_names_and_texts_are_shown_and_never_executed(week: MakeWeek) -> None:
    evil = '<script>alert("x")</script>'
    html, table, _ = page(
        week({evil: 100.0, "$a_b$ & 'c'": 60.0}, text="<img src=x onerror=y>", notes=[f"note {evil}"])
    )
    found = Tags(html)
    assert {tag for tag, _ in found.tags} & {"script", "img"} == set()
    assert f"note {evil}" in found.text
    assert "<img src=x onerror=y>" in found.text
    assert [a["aria-label"] for t, a in found.tags if t == "svg" and evil in (a.get("aria-label") or "")]
    assert "$a_b$ & 'c'" in found.text
    assert set(table["item"]) == {evil, "$a_b$ & 'c'"}


def test_two_hundred_items_stay_small_and_the_page_says_which_are_drawn(week: MakeWeek) -> None:
    items = {f"item_{at:03d}": 20.0 + at for at in range(200)}
    html, table, pictures = page(week(items, text="x" * 500, exceptional={"item_003", "item_004"}))
    assert len(html.encode()) < 600_000
    shown = table.loc[table["drawn"], "item"].tolist()
    assert {"item_003", "item_004", "item_199", "item_188"} <= set(shown)
    assert "item_187" not in shown
    assert pictures == 4 * len(shown) == 4 * 14
    text = Tags(html).text
    assert "Pictures of 14 of 200 items" in text
    assert all(item in text for item in items)


def test_however_many_are_exceptional_the_largest_orders_are_drawn_too() -> None:
    rows = [{"item": f"i{at:03d}", "money": float(at), "expected": 1.0, "exceptional": at < 150} for at in range(200)]
    found = report_page.drawn(rows)
    assert len(found) == MOST
    assert {"i199", "i198", "i197", "i196", "i195", "i194"} <= found  # the largest
    assert {"i149", "i148"} <= found  # the largest exceptional ones


def test_irregular_items_are_named_and_drawn_without_a_past(week: MakeWeek) -> None:
    items = {"fine": 100.0, "gone": 0.0, "young": 50.0}
    given = week(items, kinds={"gone": "dead", "young": "new"})
    history = given.history[(given.history["item"] != "young") | given.history["units"].isna()]
    history.loc[history["item"] == "gone", "units"] *= 0.0
    html, table, _ = page(week(items, kinds={"gone": "dead", "young": "new"}, history=history))
    text = Tags(html).text
    assert "gone: nothing has been sold for so long" in text
    assert "young: too new for a forecast of its own" in text
    assert "fine: " not in text
    assert "nan" not in html.lower()
    assert table.set_index("item").loc["gone", "risk_before"] == 0.0


def test_a_week_without_orders_exceptional_items_and_notes(week: MakeWeek) -> None:
    html, table, pictures = page(week({"a": 10.0, "b": 5.0}, order=0))
    text = Tags(html).text
    assert "Nothing is ordered this week" in text
    assert "Nothing: every row of this week passed its contract" in text
    assert "0 orders wait for a person" in text
    assert "Exceptional." not in text
    assert table["quantity"].sum() == 0
    assert pictures == 8


def test_the_head_adds_up_what_is_ordered_and_what_waits(week: MakeWeek) -> None:
    given = week({"a": 100.0, "b": 60.0, "c": 30.0, "d": 20.0})  # 960 + 1,056 + 1,152 + 1,248; a and d wait
    text = Tags(page(given)[0]).text
    assert "$4,416 88.3% of the budget of $5,000" in text
    assert "2 orders wait for a person, $2,208" in text
    assert "96.0% of the demand is expected to be met" in text
    assert "4 of 4 simulated items keep their service level" in text
    dry = page(week({"a": 100.0}, dry_run=True, rules=given.rules.model_copy(update={"budget": None})))[0]
    assert "dry run: nothing is ordered" in dry
    assert "no budget is set" in dry


def test_what_was_not_simulated_is_said(week: MakeWeek) -> None:
    html, table, pictures = page(week({"a": 100.0, "b": 60.0}, simulate=False))
    assert "a, b: not simulated" in Tags(html).text
    assert table["demand_met"].isna().all()
    assert pictures == 4
    given = week({"a": 100.0, "b": 60.0})
    sent = given.decisions.assign(quantity=[120, 96])  # an order of an earlier run that stays as it is
    html, table, pictures = page(week({"a": 100.0, "b": 60.0}, decisions=sent))
    assert "a: the decided quantity is none of those simulated" in Tags(html).text
    assert table.set_index("item")["demand_met"].isna().to_dict() == {"a": True, "b": False}
    assert pictures == 8


def test_risks_are_those_of_the_proposal_and_fall_with_a_real_express_order(
    week: MakeWeek, scored: Callable[..., pd.DataFrame], policy: Callable[..., ItemPolicy]
) -> None:
    mine = policy("a", expedite_cost=2.0, lead_time={2: 0.5, 3: 0.5})
    given = week({"a": 100.0}, rules=OrderingPolicy(approval_limit=1e6, runs=20, seed=SEED, items=(mine,)))
    coming = pd.DataFrame({"item": ["a"], "quantity": [40], "due_week": [1]})
    proposed = inventory.propose(given.forecast, given.stock, {"a": mine}, None, seed=SEED, open_orders=coming).iloc[0]
    outcomes = alternatives.simulate_alternatives(
        proposed.to_dict(), given.forecast, mine, seed=SEED, open_orders=[(40, 1)], runs=20
    )
    simulated = alternatives.best(alternatives.summarise(outcomes), mine)
    for name in [c for c in simulated if c.startswith("stock_p") or c == "by_scenario"]:
        simulated[name] = [json.dumps(cell) for cell in simulated[name]]
    changes = {"rules": given.rules, "simulated": simulated}
    decided = given.decisions.assign(quantity=int(proposed["quantity"]), money=float(proposed["amount"]))
    plain = page(week({"a": 100.0}, decisions=decided, **changes))[1].iloc[0]
    assert plain["risk_before"] == proposed["stockout_without"]
    assert plain["risk_after"] == proposed["stockout_with"]
    express = decided.assign(express=True, alternative="express")
    html, table, _ = page(week({"a": 100.0}, decisions=express, **changes))
    assert table.iloc[0]["risk_after"] < plain["risk_after"]
    assert "most likely arrives after 1 week" in Tags(html).text
