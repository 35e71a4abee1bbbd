"""The stage of the tests of changed files: the pack `shop` with a contract, a table of rules, and people who agree. Loaded by path."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.actions import requests
from baton.actions.votes import Voter
from baton.effects import firewall
from baton.governance import content
from baton.record import ledger
from baton.stages.run import run

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
job, commit = STAGE["job"], STAGE["commit"]
ORDERS = pd.DataFrame({"order_id": [1, 2, 3], "amount": [10.0, 20.0, 30.0]})
CONTRACT, GOVERNANCE, LIMITS = "contract:shop/orders", "rules:shop/governance", "rules:shop/policy/limits"
POLICY = """\
actions:
  block: {description: blocks, recovery: irreversible, reach: network}
policy:
  - {name: all, level: two_approvers}
"""
ANN, BOB, CY = Voter("ann"), Voter("bob"), Voter("cy")


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The pack's folder, every asset of medium impact."""
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        high = (folder / "governance.yaml").read_text().replace("impact: low", "impact: medium")
        (folder / "governance.yaml").write_text(high)
        orders = folder / "contracts" / "orders.yaml"
        orders.write_text(orders.read_text().partition("expectations:")[0])
        (folder / "policy").mkdir()
        (folder / "policy" / "limits.yaml").write_text("most: 5\n")
        yield folder


def doubled(hour: int = 0, **given: Any) -> Any:
    return run(job("double", hour=hour, inputs={"orders": commit("ingest", hour, ORDERS)}, **given))


def checked(hour: int = 0, **given: Any) -> Any:
    """A stage whose result has to keep the contract, which is what it works by."""
    return doubled(hour, output_contract="orders", **given)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def activated(asset: str) -> list[dict[str, Any]]:
    return [one.payload for one in reversed(ledger.entries(asset, content.ACTIVATED))]


def agree(asked: requests.Request, *people: Voter) -> requests.Request:
    for person in people:
        asked = firewall.vote(asked.id, person, "approved", asked.seen)
    return asked
