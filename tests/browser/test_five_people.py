"""Who may what, played by five log-ins in five real browsers: propose, vote, second vote, activate; what is refused and put back.

`make test-browser`; not part of `make test`. Tests build on each other, in the order of this file. An author proposes a version
of one model, and the owner one of another; the reviewer and the owner vote.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from desks import STATUS
from people import Company

from baton.actions import promotions, requests
from baton.errors import BatonError
from baton.names import APPROVE, promote_of, train_of
from baton.record import ledger, tables, warehouse
from baton.registry.client import Registry

pytestmark = [
    pytest.mark.services,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs a real browser (Debian: apt-get install chromium chromium-driver)",
    ),
]
AUTHORS, OWNERS = "card_fraud", "transaction_anomaly"  # the model whose version the author proposes, and the owner
AUTHOR, REVIEWER, OWNER, OPERATOR, AUDITOR = "ada", "rosa", "omar", "opal", "axel"
GUARD = "registry_guard"
BY_HAND = """const form = [...document.forms].find(form => form.action.endsWith(arguments[0]))
form.insertAdjacentHTML('beforeend', "<button name='answer' value='approved'>made by hand</button>")
return form.lastElementChild"""


def until(found: Callable[[], Any], what: str, seconds: float = 240) -> Any:
    """What a look finds, once it finds something."""
    over = time.monotonic() + seconds
    while not (seen := found()):
        assert time.monotonic() < over, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.5)
    return seen


def asked_about(model: str) -> int:
    """Number of the open request about the model's version, which people are asked by now in Airflow as well."""

    def look() -> int | None:
        found = requests.still_open(promote_of(model))
        return found[0].id if found else None

    return int(until(look, f"a request about {model}"))


def request(number: int) -> requests.Request:
    with warehouse.read() as conn:
        return requests.find(conn, number)


def votes(number: int) -> list[tuple[str, str]]:
    """Name and answer of everybody who voted, the first one first."""
    c = tables.votes.c
    with warehouse.read() as conn:
        query = c.request == number
        return [(row.name, row.answer) for row in conn.execute(tables.votes.select().where(query).order_by(c.at))]


def ended(company: Company, dag_id: str) -> str:
    """State of the DAG's newest run once it has one."""
    return str(until(
        lambda: next((r["state"] for r in company.airflow.runs(dag_id, 1) if r["state"] in ("success", "failed")), ""),
        f"the end of {dag_id}", 90,
    ))  # fmt: skip


def test_an_author_proposes_and_may_not_answer(company: Company) -> None:
    ada = company(AUTHOR)
    ada.start(train_of(AUTHORS))
    company(OWNER).start(train_of(OWNERS))
    number = asked_about(AUTHORS)
    assert request(number).needs == 2
    assert request(number).barred == {AUTHOR: "started its training"}
    said = ada.asked(number)
    assert f"Promote model:{AUTHORS} 0 of 2 approvals" in said
    assert "What it would change is for those who may decide." in said
    ada.picture("proposed")
    with pytest.raises(BatonError, match="no button 'Approve'"):
        ada.press("actions", f"/requests/{number}", "Approve")


def test_one_vote_is_not_enough_and_nobody_votes_twice(company: Company) -> None:
    rosa, number = company(REVIEWER), asked_about(AUTHORS)
    assert "champion – 1" in rosa.asked(number)
    rosa.picture("is_asked")
    rosa.press("actions", f"/requests/{number}", "Approve", typed={"reason": "the card is complete"})
    rosa.picture("voted")
    said = rosa.asked(number)
    assert f"Promote model:{AUTHORS} 1 of 2 approvals" in said
    assert f"approved by {REVIEWER}, " in said
    assert "You cannot approve it: you have agreed already." in said
    with pytest.raises(BatonError, match="no button 'Approve'"):
        rosa.press("actions", f"/requests/{number}", "Approve")
    assert votes(number) == [(REVIEWER, "approved")]
    assert promotions.recorded_champion(AUTHORS) is None
    assert Registry().alias(AUTHORS, "champion") is None


def test_nobody_agrees_to_what_they_proposed_themselves(company: Company) -> None:
    """The owner may vote, but not on the version whose training they started: not on Baton's page, not in Airflow's own."""
    omar, number = company(OWNER), asked_about(OWNERS)
    said = omar.asked(number)
    assert f"You cannot approve it: {OWNER} started its training; somebody else has to agree." in said
    omar.picture("may_not_agree")
    with pytest.raises(BatonError, match="no button 'Approve'"):
        omar.press("actions", f"/requests/{number}", "Approve")
    omar.window.click_on(omar.window.run(BY_HAND, f"/requests/{number}"))
    omar.window.wait(
        "return location.pathname.endsWith(arguments[0]) && document.readyState === 'complete'", f"/requests/{number}"
    )
    assert omar.window.run(STATUS) == 409
    omar.window.see(f"{OWNER} started its training; somebody else has to agree")
    omar.picture("is_refused")
    omar.answer(promote_of(OWNERS), "Approve", "tries_in_airflow")
    until(lambda: _asks_again(company, promote_of(OWNERS)), "that it is asked again")
    assert votes(number) == []
    assert request(number).state == requests.OPEN


def _asks_again(company: Company, dag_id: str) -> bool:
    """Whether the task waits for another answer: it has taken the last one."""
    run = company.airflow.runs(dag_id, 1)[0]["dag_run_id"]
    path = f"/dags/{dag_id}/dagRuns/{run}/hitlDetails?response_received=false"
    state = next(one["state"] for one in company.airflow.tasks(dag_id, run) if one["task_id"] == APPROVE)
    return state == "deferred" and bool(company.airflow.request("GET", path)["hitl_details"])


def test_the_second_vote_activates(company: Company) -> None:
    """Given in Airflow's own menu: it is the same request."""
    omar, number = company(OWNER), asked_about(AUTHORS)
    omar.answer(promote_of(AUTHORS), "Approve", "votes_in_airflow")
    assert ended(company, promote_of(AUTHORS)) == "success"
    assert votes(number) == [(REVIEWER, "approved"), (OWNER, "approved")]
    assert Registry().alias(AUTHORS, "champion") == 1
    (moved,) = promotions.moves(AUTHORS)
    assert (moved["version"], moved["actor"], moved["request"]) == (1, f"{REVIEWER}, {OWNER}", number)
    assert omar.asked(number) == ""
    assert f"by {REVIEWER}, {OWNER}" in omar.sees("today")
    omar.picture("activated")


def test_what_a_reviewer_refuses_is_not_promoted(company: Company) -> None:
    rosa, number = company(REVIEWER), asked_about(OWNERS)
    rosa.press("actions", f"/requests/{number}", "Refuse", typed={"reason": "too few labels"})
    assert ended(company, promote_of(OWNERS)) == "success"
    assert request(number).state == requests.REFUSED
    assert promotions.recorded_champion(OWNERS) is None


def test_an_alias_that_is_moved_past_the_vote_goes_back_within_a_minute(company: Company) -> None:
    """By SQL on MLflow's database: the version that was refused becomes champion, and is none any more."""
    opal = company(OPERATOR)
    began = time.monotonic()
    with closing(sqlite3.connect(company.services.settings.home / "mlflow" / "mlflow.db", timeout=15)) as conn, conn:
        conn.execute("insert into registered_model_aliases (name, alias, version) values (?, 'champion', 1)", (OWNERS,))
    assert Registry().alias(OWNERS, "champion") == 1
    reverted = until(lambda: ledger.entries(subject=OWNERS, kind="alias_reverted"), "the alias back", 60)
    assert time.monotonic() - began < 60
    assert Registry().alias(OWNERS, "champion") is None
    assert (reverted[0].payload["from"], reverted[0].payload["to"]) == (1, None)
    until(lambda: ended(company, GUARD) == "failed", "the guard to say so", 60)
    said = opal.sees("today")
    assert GUARD in said
    opal.picture("sees_what_was_put_back")
    opal.start(GUARD)
    until(lambda: ended(company, GUARD) == "success", "the guard well again", 60)
    with pytest.raises(BatonError, match="no button 'Stop everything'"):
        opal.press("actions", "/actions/switch", "Stop everything")


def test_an_auditor_reads_and_changes_nothing(company: Company) -> None:
    axel = company(AUDITOR)
    said = axel.sees(f"assets/model:{AUTHORS}")
    assert f"{REVIEWER}, {OWNER}" in said
    axel.picture("looks")
    buttons = "return [...document.querySelectorAll('form[method=post] button')].map(one => one.textContent.trim())"
    for page in ("today", "actions", f"assets/model:{AUTHORS}", "models", "cases"):
        axel.read(page)
        assert axel.window.run(buttons) == [], page


def baton(*words: str) -> str:
    """What a command of the owner's shell prints."""
    done = subprocess.run([shutil.which("baton") or "baton", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_pack_of_evidence_is_verified_on_a_machine_without_baton(company: Company, tmp_path: Path) -> None:
    """An empty folder, an empty environment, a Python without its packages."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    baton("evidence", f"model:{AUTHORS}@1", "--to", str(elsewhere / "pack.zip"))
    (elsewhere / "verify.py").write_text(baton("evidence", "--verifier"))
    (elsewhere / "evidence.pub").write_text(baton("ledger", "key"))

    def verify() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", "verify.py", "pack.zip", "--key", "evidence.pub"]
        return subprocess.run(command, cwd=elsewhere, env={}, capture_output=True, text=True, check=False)

    done = verify()
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert ["proven", "approvals.jsonl: answer, reviewer, channel of 1 of 1 are as an entry `approval` says"] in said
    with zipfile.ZipFile(elsewhere / "pack.zip") as pack:
        at = pack.getinfo("approvals.jsonl").header_offset
        assert f'"reviewer": "{REVIEWER}, {OWNER}"' in pack.read("approvals.jsonl").decode()
    forged = bytearray((elsewhere / "pack.zip").read_bytes())
    where = forged.index(REVIEWER.encode(), at)
    forged[where : where + len(REVIEWER)] = AUTHOR.ljust(len(REVIEWER), "x").encode()
    (elsewhere / "pack.zip").write_bytes(forged)
    assert verify().returncode == 1
