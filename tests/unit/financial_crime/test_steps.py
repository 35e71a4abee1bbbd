"""Combining scores into routes: the cheapest answer is taken, no transaction is lost or decided twice."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baton.errors import BatonError
from baton_packs.financial_crime.steps import BLOCK, CLEAR, REVIEW, combine


def frames(rows: list[tuple[float, float, float]]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """(amount, probability of fraud, anomaly quantile) for each transaction."""
    ids = np.arange(1, len(rows) + 1)
    transactions = pd.DataFrame({"transaction_id": ids, "amount": [float(r[0]) for r in rows], "_row": ids})
    transactions["event_time"] = pd.Timestamp("2026-11-20T09:05:00Z")
    shared = {"entity_key": ids.astype(str), "model": "m", "version": 1}
    fraud = pd.DataFrame({**shared, "score": [float(r[1]) for r in rows], "reasons": '[["v14", 2.5], ["v4", -1.0]]'})
    anomaly = pd.DataFrame({**shared, "score": [float(r[2]) for r in rows], "reasons": None})
    return transactions, fraud, anomaly


def decide(*row: float, **params: Any) -> dict[str, Any]:
    return combine(*frames([row]), **params).iloc[0].to_dict()  # type: ignore[arg-type]


def test_an_analyst_calls_it_by_amount_and_time() -> None:
    assert decide(1234.5, 0.95, 0.5)["title"] == "1,234.50 euros, 20 Nov 09:05"
    assert decide(1.0, 0.001, 0.5)["title"] is None  # no case of it


def test_the_cheapest_answer_is_taken() -> None:
    assert decide(500.0, 0.005, 0.5)["route"] == CLEAR  # 2.50 at risk, a review costs 5
    assert decide(1000.0, 0.005, 0.5)["route"] == REVIEW  # 5.00 at risk: equal prices go to the careful answer
    assert decide(1000.0, np.nextafter(0.005, 0), 0.5)["route"] == CLEAR
    assert decide(1000.0, 0.6, 0.5)["route"] == REVIEW  # blocking would cost 10 in expectation
    assert decide(1000.0, 0.95, 0.5)["route"] == BLOCK  # 1.25


def test_a_stolen_card_is_not_cheap_because_the_thief_tries_cents() -> None:
    assert decide(0.5, 0.06, 0.5)["route"] == REVIEW
    assert decide(0.5, 0.06, 0.5, card_exposure=1.0)["route"] == CLEAR
    assert decide(0.0, 0.99, 0.5)["route"] == BLOCK


def test_nothing_is_blocked_below_the_floor_however_cheap_that_would_be() -> None:
    assert decide(5000.0, 0.89, 0.5, false_block_cost=0.01)["route"] == REVIEW
    assert decide(5000.0, 0.90, 0.5, false_block_cost=0.01)["route"] == BLOCK
    assert decide(5000.0, 0.99, 0.5, false_block_cost=1000.0)["route"] == REVIEW


def test_strange_and_large_is_reviewed_without_the_fraud_model() -> None:
    row = decide(100.0, 0.0, 0.9995)
    assert row["route"] == REVIEW
    assert row["risk"] == pytest.approx(0.05)
    assert "Stranger than" in row["reasons"]
    assert decide(99.99, 0.0, 0.9995)["route"] == CLEAR
    assert decide(100.0, 0.0, 0.9994)["route"] == CLEAR
    assert decide(1000.0, 0.99, 1.0)["route"] == BLOCK  # strangeness never softens a block


def test_reasons_are_sentences_for_people_and_only_where_somebody_reads_them() -> None:
    assert decide(50.0, 0.0, 0.1)["reasons"] is None
    (text,) = json.loads(decide(1000.0, 0.6, 0.5)["reasons"])
    assert text == "Probability of fraud 60.0%, expected loss 600.00; driven by v14"
    assert len(json.loads(decide(1000.0, 0.6, 0.9999)["reasons"])) == 2


probability = st.floats(0, 1)
rows = st.lists(st.tuples(st.floats(0, 1e5), probability, probability), min_size=1, max_size=30)


@settings(max_examples=150, deadline=None)
@given(rows)
def test_every_transaction_is_decided_once_in_its_place(rows: list[tuple[float, float, float]]) -> None:
    transactions, fraud, anomaly = frames(rows)
    decided = combine(transactions, fraud.sample(frac=1, random_state=1), anomaly)
    assert decided["entity_key"].tolist() == transactions["transaction_id"].astype(str).tolist()
    assert set(decided["route"]) <= {CLEAR, REVIEW, BLOCK}
    assert decided["risk"].between(0, 1).all()
    assert (decided["risk"] >= fraud["score"].to_numpy()).all()
    assert (decided["money"] >= 0).all()
    cleared = decided[decided["route"] == CLEAR]
    assert (cleared["money"] < 5.0).all()  # nothing dearer than a review is ever cleared
    assert decided["reasons"].isna().equals(decided["route"] == CLEAR)


@settings(max_examples=150, deadline=None)
@given(st.floats(0, 1e5), probability, probability, probability)
def test_more_risk_never_means_less_care(amount: float, p: float, q: float, strangeness: float) -> None:
    care = {CLEAR: 0, REVIEW: 1, BLOCK: 2}
    low, high = sorted((p, q))
    assert care[decide(amount, low, strangeness)["route"]] <= care[decide(amount, high, strangeness)["route"]]


def test_an_empty_partition_stays_empty() -> None:
    transactions, fraud, anomaly = frames([(1.0, 0.0, 0.0)])
    assert combine(transactions.head(0), fraud.head(0), anomaly.head(0)).empty


def test_inputs_that_do_not_fit_are_refused_by_name() -> None:
    transactions, fraud, anomaly = frames([(10.0, 0.1, 0.1), (20.0, 0.2, 0.2)])
    cases = [
        ((transactions, fraud.head(1), anomaly), "card_fraud: 1 transactions have no score"),
        ((transactions.head(1), fraud, anomaly), "1 scores no transaction, e.g. '2'"),
        ((transactions, pd.concat([fraud, fraud.head(1)]), anomaly), "'1' has more than one score"),
        ((pd.concat([transactions, transactions.head(1)]), fraud, anomaly), "'1' occurs more than once"),
        ((transactions, fraud.assign(score=[0.1, np.nan]), anomaly), "score of transaction '2' is not in 0..1"),
        ((transactions, fraud, anomaly.assign(score=[1.1, 0.0])), "transaction_anomaly: the score of transaction '1'"),
        ((transactions.assign(amount=[1.0, -1.0]), fraud, anomaly), "amount of transaction '2' is missing or negative"),
        ((transactions.assign(amount=[np.nan, 1.0]), fraud, anomaly), "amount of transaction '1'"),
    ]
    for inputs, words in cases:
        with pytest.raises(BatonError, match=words):
            combine(*inputs)
    for params in (
        {"review_cost": 0.0},
        {"strange": 1.5},
        {"block_probability": -0.1},
        {"card_exposure": float("nan")},
    ):
        with pytest.raises(BatonError, match=next(iter(params))):
            combine(transactions, fraud, anomaly, **params)
