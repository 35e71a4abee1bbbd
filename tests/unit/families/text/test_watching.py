"""Drift of texts: like texts are stable, other texts are not, and known classes tell the accuracy."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from baton.errors import ModelError
from baton.families.text import watching
from baton.families.text.family import Text
from baton.families.text.watching import accuracy

NOTHING = pd.DataFrame({"entity_key": pd.Series(dtype=str), "value": pd.Series(dtype=str)})


@pytest.fixture(scope="module")
def watched(made, case):
    """A model that sees vectors, and its reference."""
    spec = case.spec(candidates=[made.spec.candidates[1].model_dump()])
    family, _, model = case.train(spec, made.frame)
    reference = family.reference(spec, model, made.frame, family.evaluate(spec, model, made.frame))
    return spec, family, model, json.loads(json.dumps(reference))


def window(watched, data, truth=NOTHING):
    spec, family, model, reference = watched
    return family.watch(spec, reference, [(data, family.score(spec, model, data, 0.0), truth)])


def test_texts_like_those_of_the_training_are_stable(watched, case):
    found = window(watched, case.texts(200, seed=11))
    assert (found.table.drifted, found.performance, found.truths) == ([], None, 0)
    assert {"direction_1", "unknown_words", "words", "category", "accepted", "prediction"} <= {
        row.feature for row in found.table.rows
    }


def test_texts_about_something_else_drift(watched, case):
    garden = {"garden": ["tulip", "spade", "soil", "seed", "rain", "hedge"]}
    drifted = window(watched, case.texts(200, seed=12, kinds=garden)).table.drifted
    assert "unknown_words" in drifted
    assert "off_directions" in drifted
    assert any(name.startswith("direction_") for name in drifted)


def test_what_texts_are_about_is_watched_whichever_candidate_won(made, case):
    terms = made.spec.candidates[0].model_dump()
    spec = case.spec(candidates=[terms])
    encoder = case.WordVectors()
    family, _, model = case.train(spec, made.frame, encoder)
    assert model.encoder is None
    reference = family.reference(spec, model, made.frame, {})
    assert (reference["encoder"], encoder.asked > 0) == (encoder.sha256, True)
    garden = {"garden": ["tulip", "spade", "soil", "seed", "rain", "hedge"]}
    found = window((spec, family, model, reference), case.texts(200, seed=12, kinds=garden))
    assert "off_directions" in found.table.drifted
    assert window((spec, family, model, reference), case.texts(200, seed=11)).table.drifted == []
    off = spec.model_copy(update={"drift": spec.drift.model_copy(update={"embeddings": False})})
    plain = family.reference(off, model, made.frame, {})
    assert (plain["encoder"], plain["directions"]) == (None, None)
    assert not [name for name in plain["features"] if "direction" in name]


def test_of_long_texts_a_seeded_sample_makes_the_reference(made, case, monkeypatch):
    monkeypatch.setattr(watching, "EMBEDDED", 9_000)
    spec, encoder = case.spec(candidates=[made.spec.candidates[0].model_dump()]), case.WordVectors()
    family, _, model = case.train(spec, made.frame, encoder)
    reference = family.reference(spec, model, made.frame, {})
    counts = reference["features"]["direction_1"]["counts"]
    assert all(row == counts[0] for row in counts)  # the texts of a day alone would be too few
    assert 40 < sum(counts[0]) < 100 < np.sum(reference["features"]["words"]["counts"])
    assert counts[0][-1] == 0  # what is not encoded is not null
    assert family.reference(spec, model, made.frame, {}) == reference
    found = window((spec, family, model, reference), case.texts(200, seed=11))
    assert found.table.drifted == []


def test_other_shares_of_the_classes_drift(watched, case):
    one = {"invoice": case.KINDS["invoice"]}
    assert "category" in window(watched, case.texts(200, seed=13, kinds=one)).table.drifted


def test_a_small_window_flags_nothing(watched, case):
    garden = {"garden": ["tulip", "spade", "soil"]}
    table = window(watched, case.texts(20, seed=14, kinds=garden)).table
    assert (table.too_few, table.drifted) == (True, [])


def test_known_classes_tell_the_accuracy(watched, case):
    data = case.texts(200, seed=15)
    truth = pd.DataFrame({"entity_key": data["mail_id"], "value": data["kind"]})
    found = window(watched, data, truth)
    assert (found.performance.status, found.truths) == ("held", 200)
    found = window(watched, data, truth.assign(value=np.roll(data["kind"], 1)))
    assert found.performance.status == "dropped"
    found = window(watched, data, truth.head(60))
    assert (found.performance.status, found.truths) == ("partial", 60)
    assert window(watched, data, truth.head(5)).performance.status == "too_few"


def test_an_interval_that_holds_the_bound_is_open(case):
    policy = case.spec().drift.performance
    right = np.arange(40) < 34
    assert accuracy(right, np.ones(40, dtype=bool), 0.95, policy, 1).status == "open"


def test_the_reference_of_another_encoder_is_refused(watched, case):
    spec, family, model, reference = watched
    data = case.texts(60, seed=16)
    scored = family.score(spec, model, data, 0.0)
    with pytest.raises(ModelError, match="drift reference of kind_of_mail"):
        Text(case.WordVectors("c" * 64)).watch(spec, reference, [(data, scored, NOTHING)])


def test_the_reference_holds_shared_words_and_no_others(watched, made):
    held = watched[3]["words"]
    assert "payment" in held
    assert not [word for word in held if any(sign.isdigit() or sign == "@" for sign in word)]
