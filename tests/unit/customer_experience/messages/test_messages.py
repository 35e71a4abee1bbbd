"""The simulator of messages: deterministic, learnable, with planted data, a shift that hurts, and outcomes."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier

from baton.errors import SourceError
from baton_demo.customer_experience.messages import messages
from baton_demo.customer_experience.messages.customers import customers, iban
from baton_demo.customer_experience.messages.phrasing import parts, say
from baton_packs.customer_experience.service.knowledge import intents

START, STEP = datetime(2026, 9, 1, tzinfo=UTC), timedelta(minutes=5)
NEW = {name for name, known in messages.phrases().items() if known["later"]}


@pytest.fixture(scope="module")
def past() -> pd.DataFrame:
    started = time.process_time()
    frame = messages.simulate(4000, 7, START, STEP)
    assert time.process_time() - started < 3.0
    return frame


def test_equal_seeds_give_equal_messages_and_a_longer_run_begins_with_the_shorter(past: pd.DataFrame) -> None:
    again = messages.simulate(300, 7, START, STEP)
    pd.testing.assert_frame_equal(again, past.head(300))
    assert messages.simulate(300, 8, START, STEP)["text"].ne(again["text"]).mean() > 0.9
    assert past["message_id"].is_unique
    assert past["received_at"].is_monotonic_increasing
    assert messages.simulate(0, 7, START, STEP).dtypes.equals(past.dtypes)


def test_truth_and_planted_data(past: pd.DataFrame) -> None:
    assert set(past["intent"]) == set(intents()) | {""}
    assert past["out_of_scope"].equals(past["intent"].eq(""))
    assert 0.035 < past["out_of_scope"].mean() < 0.065
    assert past["sentiment"].value_counts(normalize=True).between(0.1, 0.7).all()
    assert not past["text"].str.contains(r"[{}|()]").any()
    planted = [
        any(value in text for value in (name, mail, account))
        for text, name, mail, account in past[["text", "customer", "address", "account"]].itertuples(index=False)
    ]
    assert 0.2 < sum(planted) / len(past) < 0.35
    assert len({one.account for one in customers()}) == len({one.mail for one in customers()}) == len(customers())


def test_an_account_number_has_right_check_digits() -> None:
    assert iban("GB", "WEST12345698765432") == "GB82WEST12345698765432"  # the standard's own example


def test_a_classifier_learns_the_messages_and_a_shift_hurts_it(past: pd.DataFrame) -> None:
    fresh = messages.simulate(1000, 8, START, STEP)
    moved = messages.simulate(1000, 9, START, STEP, shift=START)
    terms = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(past["text"])

    def right(truth: str, frame: pd.DataFrame) -> float:
        learner = SGDClassifier(alpha=1e-5, random_state=0, max_iter=15, tol=None)
        known = past[past[truth] != ""]
        learner.fit(terms.transform(known["text"]), known[truth])
        asked = frame[frame[truth] != ""]
        return float(learner.score(terms.transform(asked["text"]), asked[truth]))

    before, after = right("intent", fresh), right("intent", moved)
    assert before >= 0.9
    assert after <= before - 0.08
    assert right("sentiment", fresh) >= 0.9


def test_a_shift_begins_at_its_moment_and_changes_what_is_asked() -> None:
    turn = START + 2000 * STEP
    plain, moved = messages.simulate(4000, 5, START, STEP), messages.simulate(4000, 5, START, STEP, shift=turn)
    earlier = plain["received_at"] < turn
    pd.testing.assert_frame_equal(plain[earlier], moved[earlier])
    share = plain["intent"].isin(NEW)[~earlier].mean(), moved["intent"].isin(NEW)[~earlier].mean()
    assert share[1] > share[0] + 0.15
    assert moved["text"].str.contains("Glimpse|Orbit|Beam").sum() > 100
    assert not plain["text"].str.contains("Glimpse|Orbit|Beam").any()


def test_a_mix_leaves_out_and_names_only_known_intents() -> None:
    only = dict.fromkeys(intents(), 0.0) | {"change_pin": 1.0}
    assert set(messages.simulate(100, 1, START, STEP, mix=only)["intent"]) == {"change_pin", ""}
    with pytest.raises(SourceError, match="no such intent: change_pni"):
        messages.simulate(1, 1, START, STEP, mix={"change_pni": 2.0})


def test_a_pattern_says_one_of_its_wordings() -> None:
    rng = random.Random(1)
    said = {say("(can|may) I pay {amount} (now|)?", {"amount": lambda _: "£5"}, rng) for _ in range(60)}
    assert said == {"Can I pay £5 now?", "Can I pay £5?", "May I pay £5 now?", "May I pay £5?"}
    for broken in ("(a|b", "a) b", "(a (b|c))", "{a"):
        with pytest.raises(ValueError, match="bracket"):
            parts(broken)


def test_outcomes_follow_what_was_understood(past: pd.DataFrame) -> None:
    decisions = pd.DataFrame({"message_id": past["message_id"], "route": "suggest", "intent": past["intent"]})
    decisions.loc[::2, "intent"] = "change_pin"
    decisions.loc[::4, "route"] = "send"
    found = messages.outcomes(past, decisions, 3)
    pd.testing.assert_frame_equal(found, messages.outcomes(past, decisions, 3))
    right = (decisions["intent"] == past["intent"]).to_numpy()
    send = (decisions["route"] == "send").to_numpy()
    assert found["intent"].equals(past["intent"])
    assert (found["outcome"][right & ~send] == "accepted").mean() > 0.7
    assert (found["outcome"][~right & ~send] == "rejected").mean() > 0.7
    assert (found["outcome"][~right & send] == "reopened").mean() > 0.8
    assert (found["at"].to_numpy() > past["received_at"].to_numpy()).all()
    assert found["reply_seconds"][send].median() < found["reply_seconds"][~send].median()
    with pytest.raises(SourceError, match="route must be one of"):
        messages.outcomes(past, decisions.assign(route="later"), 3)
    with pytest.raises(SourceError, match="not there"):
        messages.outcomes(past.head(1), decisions, 3)
