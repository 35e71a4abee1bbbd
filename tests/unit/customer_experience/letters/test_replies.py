"""Answers leave once, to the address they came from, and a person approves them without seeing personal data."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import select

from baton.data.datasets import DatasetRef
from baton.effects import attempts, outbox
from baton.errors import BatonError
from baton.feedback import cases
from baton.record import ledger, warehouse
from baton.record import tables as tables_of
from baton.stages import answers
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import Slot, StageOutput, run_stage
from baton_packs.customer_experience.letters import replies

SEED = runpy.run_path(str(Path(__file__).parents[3] / "published_rows.py"))["seed"]
FLOW, PARTITION = "document_intake", "2026-11-20T09:00:00"


@pytest.fixture(autouse=True)
def tables(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # names in free text are found by a model of their own tests; here the known values are enough
    monkeypatch.setattr("baton_packs.customer_experience.letters.privacy.names", lambda text: iter(()))
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def decision(key: str, route: str, **given: Any) -> dict[str, Any]:
    return {
        "entity_key": key, "route": route, "sender": f"{key}@example.org", "sender_name": "Ann Example", "subject": "My order",
        "language": "en", "money": 0.0, "risk": 0.5, "queue": "customer_care", "priority": 1, **given,
    }  # fmt: skip


def joined(*rows: dict[str, Any], body: str = "We look into it.") -> pd.DataFrame:
    frame = pd.DataFrame(list(rows))
    bodies = {row["entity_key"]: body for row in rows if row["route"] != "file"}
    return replies.join(frame, None, ("reply", "approve"), bodies, on_file=True).frame


def published_ref(frame: pd.DataFrame, stage: str = "composed") -> DatasetRef:
    return run_stage(
        Slot(FLOW, stage, PARTITION), lambda inputs: StageOutput(frame), inputs={},
        params={"frame": frame.to_json()}, models={}, code="test", run_id="test",
    ).ref  # fmt: skip


def place(frame: pd.DataFrame, **answer: Any) -> Any:
    inputs: dict[str, DatasetRef] = {"decisions": published_ref(frame, "publish")}
    options = {"answer": answer} if answer else {}
    stage = "answer_reviewed" if answer else "answer"
    if answer:
        answers.note(FLOW, PARTITION, "review", answer)
    return run(StageJob("customer_experience", FLOW, stage, PARTITION, "baton_packs.customer_experience.letters.replies:place",
                        inputs=inputs, options=options))  # fmt: skip


def open_cases() -> dict[str, Any]:
    with warehouse.read() as conn:
        found = conn.execute(select(tables_of.cases).where(tables_of.cases.c.status == "open")).mappings()
        return {row["entity_key"]: row for row in found}


def mails() -> dict[str, dict[str, Any]]:
    return {
        one.entity_key: one.payload for one in outbox.effects(FLOW, PARTITION, "mail") if one.state != outbox.WITHDRAWN
    }


def test_answers_that_need_nobody_go_to_the_outbox_and_the_others_wait() -> None:
    frame = joined(decision("a", "reply"), decision("b", "approve"), decision("c", "file"))
    assert place(frame).facts == {"answers": 1, "changed": 0, "held_back": 1, "left_before": 0}
    assert {key: one["to"] for key, one in mails().items()} == {"a": ["a@example.org"]}
    assert mails()["a"]["subject"] == "Re: your message"
    assert mails()["a"]["body"].startswith("Dear Ann Example,")
    assert "written" not in mails()["a"]


def test_who_approves_sees_placeholders_and_what_leaves_has_the_names() -> None:
    frame = joined(decision("b", "approve"), body="Your address b@example.org is on file.")
    shown = frame["masked"].iloc[0]
    assert "Ann Example" not in shown
    assert "b@example.org" not in shown
    changed = shown.replace("is on file", "was noted")
    facts = place(frame, answer="approved", changes={"b": changed}, actor="ada").facts
    assert (facts["changed"], facts["held_back"]) == (1, 0)
    assert "Dear Ann Example," in mails()["b"]["body"]
    assert "Your address b@example.org was noted." in mails()["b"]["body"]
    assert mails()["b"]["written"] == "edited"
    (record,) = ledger.entries(kind="answers_reviewed")
    assert record.payload["changed"] == ["b"]
    assert "Ann" not in str(record.payload)


@pytest.mark.parametrize("answer", ["rejected", "timeout", "none"])
def test_without_approval_nothing_more_leaves(answer: str) -> None:
    frame = joined(decision("a", "reply"), decision("b", "approve"))
    facts = place(frame, answer=answer, changes={}, actor="").facts
    assert facts["held_back"] == 1
    assert set(mails()) == {"a"}
    assert set(open_cases()) == ({"b"} if answer != "none" else set())
    assert ("degraded" in facts) == (answer != "none")


def test_a_case_of_an_answer_that_was_held_back_has_its_queue_and_its_own_answers() -> None:
    own = json.dumps({"right: complaint": {"type": "complaint"}})
    frame = joined(decision("b", "approve", resolutions=own, queue="legal", priority=2))
    facts = place(frame, answer="timeout", changes={}, actor="").facts
    assert facts["degraded"] == ["1 answers are held back (nobody answered in time): see their cases"]
    case = open_cases()["b"]
    assert (case["route"], case["queue"], case["priority"], case["partition"]) == ("approve", "legal", 2, PARTITION)
    assert case["resolutions"] == {
        "answered otherwise": {}, "no answer needed": {}, "right: complaint": {"type": "complaint"},
    }  # fmt: skip
    (record,) = ledger.entries(kind="answers_reviewed")
    assert record.payload["held_back"] == ["b"]


def test_an_emptied_text_keeps_that_answer_back_and_no_other() -> None:
    frame = joined(decision("b", "approve"), decision("c", "approve"))
    facts = place(frame, answer="approved", changes={"b": None}, actor="ada").facts
    assert "unusable" not in facts
    assert facts["degraded"] == ["1 answers are held back (their text was emptied): see their cases"]
    assert (set(mails()), set(open_cases())) == ({"c"}, {"b"})


def test_who_is_asked_again_and_approves_settles_the_case_unless_somebody_decided_it() -> None:
    frame = joined(decision("b", "approve"), decision("c", "approve"))
    place(frame, answer="timeout", changes={}, actor="")
    cases.decide(FLOW, "c", "answered otherwise", "grace")
    place(frame, answer="approved", changes={}, actor="ada")
    assert set(mails()) == {"b"}
    assert open_cases() == {}
    assert cases.decided(FLOW) == {"c"}


def test_cases_of_other_stages_stay_and_ours_are_opened_again_after_publishing_anew() -> None:
    frame = joined(decision("e", "escalate"), decision("b", "approve"))

    def publish() -> None:
        with warehouse.write() as conn:
            escalated = frame[frame["route"] == "escalate"]
            cases.open_cases(conn, FLOW, PARTITION, escalated, {"right": {}})

    for _ in range(2):
        publish()
        place(frame)
        place(frame, answer="rejected", changes={}, actor="ada")
        assert set(open_cases()) == {"e", "b"}
        place(frame)  # a stage that was cleared leaves them, too
        assert set(open_cases()) == {"e", "b"}


def test_a_request_whose_decisions_were_superseded_opens_no_case_and_withdraws_no_mail() -> None:
    ref = published_ref(joined(decision("b", "approve")), "publish")
    place(joined(decision("b", "file"), decision("n", "reply")))
    job = StageJob("customer_experience", FLOW, "answer_reviewed", PARTITION,
                   "baton_packs.customer_experience.letters.replies:place", inputs={"decisions": ref},
                   options={"answer": {"answer": "timeout", "changes": {}, "actor": ""}})  # fmt: skip
    facts = run(job).facts
    assert facts["degraded"] == ["the partition was decided anew after this request, which counts for nothing"]
    assert (set(mails()), open_cases()) == ({"n"}, {})


def test_a_placeholder_of_nothing_and_an_answer_nobody_asked_for_are_refused() -> None:
    frame = joined(decision("b", "approve"), decision("c", "approve"))
    facts = place(frame, answer="approved", changes={"b": "Dear [NAME_7], all is well."}, actor="ada").facts
    assert facts["unusable"] == ["b"]
    assert set(mails()) == {"c"}
    with pytest.raises(BatonError, match="names z, which was not asked about"):
        place(frame, answer="approved", changes={"z": "Hello"}, actor="ada")


@pytest.mark.parametrize("text", ["", " \n", None, 7, ["Hello"], "Bell \x07", "x" * 100_001])
def test_an_approved_text_that_is_no_mail_holds_up_no_other(text: Any) -> None:
    frame = joined(decision("a", "reply"), decision("b", "approve"), decision("c", "approve"))
    facts = place(frame, answer="approved", changes={"b": text}, actor="ada").facts
    assert set(mails()) == {"a", "c"}
    assert (facts["answers"], facts["changed"], facts["held_back"]) == (2, 0, 1)
    assert set(open_cases()) == {"b"}


def test_an_answer_that_nobody_can_send_holds_up_no_other_and_is_named() -> None:
    frame = joined(decision("a", "reply", sender_name="Ann\x07 Example"), decision("b", "reply"),
                   decision("c", "reply", sender="nobody"))  # fmt: skip
    facts = place(frame).facts
    assert set(mails()) == {"b"}
    assert (facts["answers"], facts["unusable"]) == (1, ["a", "c"])
    assert facts["degraded"] == [
        "2 answers cannot be sent: see their cases; the first: "
        "mail: body: holds control characters or half of a surrogate pair; remove them"
    ]
    assert "Ann" not in str(facts)
    assert {key: case["route"] for key, case in open_cases().items()} == {"a": "reply", "c": "reply"}
    place(frame, answer="approved", changes={}, actor="ada")
    assert set(open_cases()) == {"a", "c"}
    place(joined(decision("a", "reply"), decision("b", "reply"), decision("c", "file")))
    assert open_cases() == {}


@pytest.mark.parametrize("mark", ["\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_line_breaks_of_other_programs_become_line_breaks(mark: str) -> None:
    frame = joined(decision("a", "reply"), decision("b", "approve"), body=f"We look{mark}into it.")
    place(frame, answer="approved", changes={"b": f"Dear [NAME_1],{mark}all is well."}, actor="ada")
    assert "We look\ninto it." in mails()["a"]["body"]
    assert mails()["b"]["body"] == "Dear Ann Example,\nall is well."


def test_a_name_that_looks_like_a_placeholder_leaves_as_it_is() -> None:
    frame = joined(decision("b", "approve", sender_name="[NAME_9]"))
    place(frame, answer="approved", changes={}, actor="ada")
    assert "Dear [NAME_9]," in mails()["b"]["body"]
    assert mails()["b"]["written"] == "read"


def test_a_word_on_decisions_that_were_made_anew_sends_nothing() -> None:
    old = joined(decision("b", "approve"))
    ref = published_ref(old, "publish")
    published_ref(joined(decision("b", "file")), "publish")
    job = StageJob("customer_experience", FLOW, "answer_reviewed", PARTITION,
                   "baton_packs.customer_experience.letters.replies:place", inputs={"decisions": ref},
                   options={"answer": {"answer": "approved", "changes": {}, "actor": "ada"}})  # fmt: skip
    answers.note(FLOW, PARTITION, "review", job.options["answer"])
    with pytest.raises(BatonError, match="decided anew after this request"):
        run(job)
    assert mails() == {}


def test_nobody_is_answered_in_two_partitions() -> None:
    place(joined(decision("a", "reply")))
    later = StageJob("customer_experience", FLOW, "answer", "2026-11-20T10:00:00",
                     "baton_packs.customer_experience.letters.replies:place",
                     inputs={"decisions": published_ref(joined(decision("a", "reply"), decision("n", "reply")))})  # fmt: skip
    assert run(later).facts["answers"] == 1
    assert [one.entity_key for one in outbox.effects(FLOW, "2026-11-20T10:00:00", "mail")] == ["n"]


def test_what_has_left_stays_whatever_is_decided_later() -> None:
    place(joined(decision("a", "reply")))
    (effect,) = outbox.effects(FLOW, PARTITION, "mail")
    claimed = attempts.claim(effect, 30.0)
    assert claimed is not None
    with warehouse.write() as conn:
        assert attempts.settle(conn, claimed, outbox.SENT, None, {}, {})
    facts = place(joined(decision("a", "reply"), decision("d", "reply"), body="Another text.")).facts
    assert facts["left_before"] == 1
    assert "We look into it." in mails()["a"]["body"]
    assert "Another text." in mails()["d"]["body"]
    place(joined(decision("a", "file"), decision("d", "file")))
    assert set(mails()) == {"a"}


LATER, THIRD = "2026-11-20T10:00:00", "2026-11-20T11:00:00"


def suggested(*keys: str) -> None:
    """Suggestions of an earlier partition, published as the flow does, and their cases."""
    frame = joined(*(decision(key, "suggest") for key in keys), decision("r", "reply"))
    frame["reply"] = [f"Dear {key}, it takes two days.\n" for key in keys] + ["Hello."]
    place(frame)
    assert set(mails()) == {"r"}
    answers = {"accepted": {"intent": "x"}, "edited": {"intent": "x"}, "rejected": {}}
    opened = frame[frame["route"] == "suggest"].assign(risk=0.5, edits='{"edited": "reply"}')
    with warehouse.write() as conn:
        cases.open_cases(conn, FLOW, PARTITION, opened, answers)


def later(partition: str = LATER) -> Any:
    """Answers of a later hour, in which nothing new may leave."""
    ref = published_ref(joined(decision("t", "file")))
    return run(StageJob("customer_experience", FLOW, "answer", partition,
                        "baton_packs.customer_experience.letters.replies:place", inputs={"decisions": ref}))  # fmt: skip


def left_with(partition: str) -> dict[str, dict[str, Any]]:
    return {one.entity_key: one.payload for one in outbox.effects(FLOW, partition, "mail")}


def test_a_suggestion_that_is_accepted_later_leaves_once_with_a_later_partition() -> None:
    suggested("s")
    cases.decide(FLOW, "s", "accepted", "ada")
    assert later().facts["answers"] == 1
    assert list(left_with(LATER)) == ["s"]
    assert later(THIRD).facts["answers"] == 0
    assert later().facts["answers"] == 1  # it stays in the plan of the partition that sends it


def test_who_accepts_on_a_case_is_the_one_who_logged_in_not_what_they_are_called() -> None:
    """Else they could agree a second time where people vote, under their id."""
    suggested("s")
    cases.decide(FLOW, "s", "accepted", "Ada Lovelace", actor_id="7")
    later()
    (vote,) = ledger.entries(kind="action_voted")
    assert (vote.payload["person"], vote.payload["channel"]) == ("7", "case")


def test_a_suggestion_in_other_words_leaves_in_these_once_and_a_rejected_one_never() -> None:
    suggested("s", "e", "n")
    cases.decide(FLOW, "s", "accepted", "ada")
    cases.decide(FLOW, "e", "edited", "ada", text="Dear e,\r\nit takes a week.")
    cases.decide(FLOW, "n", "rejected", "ada")
    assert later().facts["answers"] == 2
    sent = left_with(LATER)
    assert {key: one["body"] for key, one in sent.items()} == {
        "s": "Dear s, it takes two days.\n", "e": "Dear e,\nit takes a week.",
    }  # fmt: skip
    assert sent["e"]["to"] == ["e@example.org"]
    assert {key: one["written"] for key, one in sent.items()} == {"s": "read", "e": "edited"}
    keys = [outbox.key_of(FLOW, LATER, key, "mail") for key in ("e", "s")]
    assert sorted(keys) == sorted(one.key for one in outbox.effects(FLOW, LATER, "mail"))
    assert later(THIRD).facts["answers"] == 0
    assert later().facts["answers"] == 2
    place(joined(decision("e", "reply"), decision("n", "reply")))  # decided anew: a person's word stays
    assert not {"e", "n"} & set(mails())


def test_an_edited_suggestion_without_a_change_leaves_as_it_was_offered() -> None:
    suggested("e")
    with warehouse.read() as conn:
        found = conn.execute(select(tables_of.commits.c.id).where(tables_of.commits.c.stage == "publish")).scalar_one()
    # as the decision stage's own publication records it
    SEED(FLOW, PARTITION, commit_id=found, decisions=[{"entity_key": "e", "risk": 0.5, "route": "suggest"}])
    assert cases.decide(FLOW, "e", "edited", "ada", text="Dear e, it takes two days.")["text"] is None
    assert later().facts["answers"] == 1
    assert left_with(LATER)["e"]["body"] == "Dear e, it takes two days.\n"


def test_an_edited_answer_from_before_there_were_texts_sends_nothing() -> None:
    suggested("e")
    with warehouse.write() as conn:
        conn.execute(
            tables_of.cases.update().values(
                edits=None, status="closed", resolution="edited", updated_at=warehouse.now()
            )
        )
    assert later().facts["answers"] == 0


def test_an_accepted_suggestion_leaves_when_the_hour_is_cleared_and_no_other_comes() -> None:
    frame = joined(decision("s", "suggest"), decision("r", "send"))
    place(frame)
    with warehouse.write() as conn:
        cases.open_cases(conn, FLOW, PARTITION, frame[frame["route"] == "suggest"], {"accepted": {}})
    cases.decide(FLOW, "s", "accepted", "ada")
    assert place(frame).facts["answers"] == 2
    assert set(mails()) == {"r", "s"}
