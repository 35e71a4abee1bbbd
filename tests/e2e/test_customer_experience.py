"""Documents and messages on the really started Airflow, MLflow and model server: the demo's story, then what it left."""

from __future__ import annotations

import email
import json
import re
from collections import Counter
from email import policy
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from baton.data.datasets import read
from baton.effects import outbox
from baton.record import ledger, tables
from baton.record.warehouse import read as connection
from baton.services.supervisor import Services
from baton.stages.slots import Slot, head, partitions
from baton_demo.customer_experience import story
from baton_demo.customer_experience.playbook import ADDED, DOCUMENTS, MESSAGES, CustomerExperiencePlaybook
from baton_demo.story import Demo

pytestmark = [pytest.mark.services, pytest.mark.timeout(1500)]
FLOWS = (DOCUMENTS, MESSAGES)


@pytest.fixture(scope="module")
def played(demo: Demo) -> tuple[CustomerExperiencePlaybook, dict[str, Any]]:
    """The story; it stops at the first thing that is not as told."""
    from baton.packs.demos import prepare_data

    prepare_data("customer_experience")
    books: list[CustomerExperiencePlaybook] = []
    patch = pytest.MonkeyPatch()
    patch.setattr(
        story, "CustomerExperiencePlaybook", lambda given: books.append(CustomerExperiencePlaybook(given)) or books[0]
    )
    try:
        summary = story.play(demo)
    finally:
        patch.undo()
    return books[0], summary


@pytest.fixture(scope="module")
def hours(played: Any) -> list[str]:
    """Partitions that were played."""
    return [row["partition"] for row in played[1]["hours"]]


def sent(services: Services) -> list[email.message.EmailMessage]:
    """All mails in the file outbox."""
    files = sorted((services.settings.home / "outbox").rglob("*.eml"))
    return [email.message_from_bytes(path.read_bytes(), policy=policy.default) for path in files]


def test_every_answer_left_once_to_the_one_who_asked(played: Any, hours: list[str], services: Services) -> None:
    book, _ = played
    wanted: Counter[str] = Counter()
    table = tables.cases
    with connection() as conn:
        taken = (
            conn.execute(select(table.c.entity_key).where(table.c.resolution.in_(["accepted", "edited"])))
            .scalars()
            .all()
        )
    for flow in FLOWS:
        for partition in hours:
            decided = book.published(flow, partition)
            leaves = decided["route"].isin(["reply", "follow_up", "approve", "send"])
            going = decided[leaves | decided["entity_key"].isin(taken)]  # suggestions that a person accepted leave too
            wanted.update(going["sender"].tolist())
    mails = sent(services)
    assert Counter(str(mail["To"]) for mail in mails) == wanted
    assert len({str(mail["Message-ID"]) for mail in mails}) == len(mails)
    with connection() as conn:
        states = conn.execute(select(tables.outbox.c.state).where(tables.outbox.c.kind == "mail")).scalars().all()
    assert set(states) == {outbox.SENT}


def test_what_a_person_changed_left_as_they_wrote_it(played: Any, services: Services) -> None:
    _, summary = played
    assert summary["reviewed"]
    bodies = [mail.get_content() for mail in sent(services)]
    assert sum(ADDED in body for body in bodies) == len(summary["reviewed"])
    assert not any("[NAME_" in body or "[MAIL_" in body for body in bodies)
    assert {entry.payload["answer"] for entry in ledger.entries(kind="answers_reviewed")} >= {"approved"}


def test_documents_that_cannot_be_read_are_named_and_the_others_went_on(played: Any, hours: list[str]) -> None:
    book, _ = played
    found = book.quarantined(hours[1])
    planted = Counter(book.documents[hours[1]].query("bad != ''")["bad"])
    assert Counter(found) == planted
    assert len(planted) >= 4
    assert len(book.published(DOCUMENTS, hours[1])) == len(book.documents[hours[1]]) - sum(planted.values())


def test_the_model_server_was_asked_and_its_calls_are_traced(played: Any, hours: list[str], services: Services) -> None:
    asked = tokens = 0
    for flow in FLOWS:
        for partition in hours:
            drafts = head(Slot(flow, "draft", partition))
            if drafts is not None:
                asked += drafts.facts["asked"]
                tokens += drafts.facts["output_tokens"]
                assert drafts.facts["model"] == "openai-chat:smollm2-135m"
                assert drafts.facts["traced"] == drafts.facts["asked"]
    assert asked >= 4
    assert tokens > 0


def test_personal_data_stay_out_of_xcom_logs_mlflow_and_reports(
    played: Any, hours: list[str], services: Services
) -> None:
    book, _ = played
    planted: set[str] = set()
    for partition in hours:
        messages = book.messages[partition]
        planted.update(messages["customer"], messages["address"], messages["account"])
        for cell in book.documents[partition]["personal"]:
            planted.update(value for _, value in json.loads(cell))
    planted = {value for value in planted if len(value) >= 8}
    assert len(planted) > 300
    home = services.settings.home
    places = [home / "airflow", home / "mlflow", home / "logs", home / "reports"]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert len(files) > 50
    needles = [value.lower() for value in planted]  # a model's terms are in small letters
    leaks: Counter[str] = Counter()
    for path in files:
        leaks.update({str(path.relative_to(home)): _holds(path.read_bytes(), needles)})
    with httpx.Client(base_url=services.airflow_url, trust_env=False) as client:  # somebody who may read, not decide
        client.headers["Authorization"] = f"Bearer {services.token('viewer')}"
        for page in ("/baton/today", "/baton/api/today"):
            body = client.get(page, headers={"Accept": "text/html"}).raise_for_status().content
            assert DOCUMENTS.encode() in body
            leaks[page] = _holds(body, needles)
    assert {path: count for path, count in leaks.items() if count} == {}


def _holds(body: bytes, needles: list[str]) -> int:
    """How many of the values stand in a file, in whatever case, also as JSON writes letters beyond ASCII."""
    text = re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), body.decode("utf-8", "replace").lower())
    return sum(needle in text for needle in needles)


def test_an_escalated_case_has_a_queue_a_priority_and_a_card(played: Any, services: Services) -> None:
    with connection() as conn:
        case = conn.execute(
            select(tables.cases).where(tables.cases.c.flow == DOCUMENTS, tables.cases.c.status == "open")
            .order_by(tables.cases.c.priority).limit(1)
        ).mappings().one()  # fmt: skip
    assert case["queue"]
    assert case["priority"] in (1, 2, 3)
    client = httpx.Client(
        base_url=services.airflow_url, headers={"Authorization": f"Bearer {services.token()}"}, trust_env=False
    )
    card = client.get(f"/baton/cases/{DOCUMENTS}/{case['entity_key']}").raise_for_status().json()
    assert {score["model"] for score in card["scores"]} >= {"document_type", "document_intent"}
    assert any(cell["name"] == "type" for cell in card["proposal"])
    assert any(cell["name"] == "text" and cell["value"] for cell in card["row"])
    answer = client.post(f"/baton/cases/{DOCUMENTS}/{case['entity_key']}", json={"resolution": "no such answer"})
    assert answer.status_code == 422
    first = next(iter(case["resolutions"]))
    client.post(f"/baton/cases/{DOCUMENTS}/{case['entity_key']}", json={"resolution": first}).raise_for_status()
    with connection() as conn:
        labels = conn.execute(
            select(tables.labels.c.target).where(tables.labels.c.entity_key == case["entity_key"], tables.labels.c.origin == "analyst")
        ).scalars()  # fmt: skip
        assert set(labels) == set(case["resolutions"][first])


def test_the_weeks_quality_is_on_a_page_behind_log_in(played: Any, services: Services) -> None:
    known = partitions("customer_outcomes", "quality")
    week = head(Slot("customer_outcomes", "quality", max(known)))
    assert week is not None
    assert week.facts["messages"] > 0
    assert 0 < week.facts["accepted"] <= 1.0
    address = f"{services.airflow_url}/baton/pages/{week.facts['report']}"
    assert httpx.get(address, trust_env=False).status_code == 401
    page = httpx.get(address, headers={"Authorization": f"Bearer {services.token()}"}, trust_env=False)
    assert "Quality of the week" in page.raise_for_status().text


def test_a_file_named_in_the_trigger_form_is_a_partition_of_its_own(
    played: Any, services: Services, tmp_path: Path
) -> None:
    book, _ = played
    known = set(partitions(DOCUMENTS, "publish"))
    path = services.settings.landing_dir / "by_hand" / "note.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "Good morning, could you please tell me when the order that I placed last week will be delivered? Thank you."
    )
    run = book.airflow.trigger(DOCUMENTS, conf={"files": "by_hand/note.txt"})
    assert book.airflow.wait(DOCUMENTS, [run], timeout=240) == {run: "success"}
    (own,) = set(partitions(DOCUMENTS, "publish")) - known
    decided = head(Slot(DOCUMENTS, "publish", own))
    assert decided is not None
    assert read(decided.ref)["route"].tolist() == ["escalate"]  # nobody to answer to
    states = {task["task_id"]: task["state"] for task in book.airflow.tasks(DOCUMENTS, run)}
    assert (
        states["earlier__extract"] == states["features"] == states["score__document_risk"] == "skipped"
    )  # nothing at stake
    assert states["draft"] == "skipped"  # no letter
    assert states["publish"] == states["send"] == "success"


def test_a_document_that_cannot_be_read_alone_is_named_and_the_run_is_not_red(played: Any, services: Services) -> None:
    book, _ = played
    known = set(partitions(DOCUMENTS, "contract"))
    path = services.settings.landing_dir / "by_hand" / "cut.pdf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog")
    run = book.airflow.trigger(DOCUMENTS, conf={"files": "by_hand/cut.pdf"})
    assert book.airflow.wait(DOCUMENTS, [run], timeout=240) == {run: "success"}
    states = {task["task_id"]: task["state"] for task in book.airflow.tasks(DOCUMENTS, run)}
    assert states["parse"] == "success"
    assert {state for task, state in states.items() if task not in ("ingest", "parse")} == {"skipped"}
    (own,) = set(partitions(DOCUMENTS, "contract")) - known
    assert book.quarantined(own) == {"damaged": 1}
